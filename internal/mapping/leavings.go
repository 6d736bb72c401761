//go:build unix && !aix

package mapping

import (
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// Leavings returns names at a place whose files could be objects that dead
// processes of this user have left. It looks at the first n entries there, and
// at no further one after the deadline. It opens no file: opening a device or a
// FIFO can have an effect, and closing a file drops the POSIX locks that this
// process has on it through other descriptors, such as those of a database.
func Leavings(p *Place, n int, deadline time.Time) iter.Seq[string] {
	return func(yield func(string) bool) {
		if p.vetDir() != nil {
			return
		}
		dir, err := os.Open(p.dir())
		if err != nil {
			return
		}
		defer dir.Close()
		for n > 0 {
			entries, err := dir.ReadDir(min(n, 128))
			for _, e := range entries {
				if time.Now().After(deadline) || couldBeLeft(p.dir(), e) && !yield(e.Name()) {
					return
				}
			}
			if err != nil {
				return
			}
			n -= len(entries)
		}
	}
}

// couldBeLeft reports whether a file, seen from outside, looks like an object
// of this user that this process does not use.
func couldBeLeft(dir string, e fs.DirEntry) bool {
	if !e.Type().IsRegular() || CheckName(e.Name()) != nil {
		return false
	}
	path := filepath.Join(dir, e.Name())
	st, err := lstat(path)
	return err == nil && st.kind == unix.S_IFREG && st.uid == os.Geteuid() && st.links == 1 && st.size > 0 &&
		st.mode&^0o666 == 0 && !openHere(path)
}

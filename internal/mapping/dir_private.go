//go:build unix && !aix && (!linux || sharedseg_portable)

package mapping

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// defaultDir returns the directory of segments whose Place has none. It belongs
// to the user, as these systems have no common directory for shared memory.
func defaultDir() string {
	return filepath.Join(os.TempDir(), fmt.Sprintf("sharedseg-%d", os.Geteuid()))
}

// vetDir refuses a default directory that other users may use, or may have
// created. A directory that passes stays the user's, as its parent is sticky or
// also the user's. A directory that the Place names is not checked: it is the
// caller's choice.
func (p *Place) vetDir() error {
	if p.Dir != "" {
		return nil
	}
	dir := defaultDir()
	st, err := lstat(dir)
	var flaw string
	switch {
	case errors.Is(err, unix.ENOENT):
		return ErrAbsent
	case err != nil:
		return &fs.PathError{Op: "lstat", Path: dir, Err: err}
	case st.kind != unix.S_IFDIR:
		flaw = "is not a directory"
	case st.uid != os.Geteuid():
		flaw = fmt.Sprintf("belongs to user %d, this process is user %d", st.uid, os.Geteuid())
	case st.mode&0o077 != 0:
		flaw = fmt.Sprintf("has mode %v, which gives access to other users", st.mode)
	default:
		return nil
	}
	return fmt.Errorf("%w: %s %s; have it removed, or set Options.Dir to a directory that you trust", fs.ErrPermission, dir, flaw)
}

// makeDir creates the default directory if it does not exist.
func (p *Place) makeDir() error {
	if p.Dir != "" {
		return nil
	}
	if p.Mode&^DefaultMode != 0 {
		return fmt.Errorf("%w: mode %v gives access to other users, but they cannot reach %s; set Options.Dir",
			errors.ErrUnsupported, p.Mode, defaultDir())
	}
	if err := os.Mkdir(defaultDir(), 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return p.vetDir()
}

package mapping

import (
	"os"
	"path/filepath"
)

// openHere reports whether this process has the file at path open, or may have.
// It looks only at the names of the process's descriptors, as an inquiry about
// a file itself may hang.
func openHere(path string) bool {
	const fds = "/proc/self/fd"
	dir, err := os.Open(fds)
	if err != nil {
		return true
	}
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return true
	}
	if real, err := filepath.EvalSymlinks(path); err == nil {
		path = real
	}
	for _, fd := range names {
		if target, err := os.Readlink(filepath.Join(fds, fd)); err == nil && target == path {
			return true
		}
	}
	return false
}

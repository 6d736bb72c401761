//go:build linux && !sharedseg_portable

package mapping

import (
	"os"

	"golang.org/x/sys/unix"
)

// Open file description locks (fcntl(2), F_OFD_SETLK) belong to the open file.
// They conflict between two open files of one process. The kernel drops them
// with the last descriptor, however its process ends. They do not involve
// process IDs.

// openFile is an Object's own descriptor. The kernel keeps its locks.
type openFile struct{ fd int }

func (f *openFile) open(path string, flags int, mode uint32) (err error) {
	f.fd, err = openat(path, flags, mode)
	return err
}

func (f *openFile) lock(kind int16, at int64) (bool, error) {
	err := setLock(f.fd, unix.F_OFD_SETLK, kind, at)
	return err == nil, err
}

func (f *openFile) locked(at, n int64) (first, count int64, err error) {
	return getLock(f.fd, unix.F_OFD_GETLK, at, n)
}

func (f *openFile) close() error {
	if f.fd < 0 {
		return os.ErrClosed
	}
	fd := f.fd
	f.fd = -1
	return closeFile(fd)
}

//go:build linux && !sharedseg_portable

package mapping

import (
	"errors"

	"golang.org/x/sys/unix"
)

// ReadAt reads as io.ReaderAt does, but fewer bytes than asked for are no error.
func (o *Object) ReadAt(b []byte, off int64) (int, error) {
	n, err := again(func() (int, error) { return unix.Pread(o.fd, b, off) })
	return max(n, 0), err
}

// Reserve makes the file to bytes long, if it is shorter, and takes memory for what lies behind from.
func (o *Object) Reserve(from, to int64) error {
	for at := from; at < to; {
		// A signal undoes a whole call on some kernels, so that a long one might never end.
		n := min(to-at, 16<<20)
		_, err := again(func() (int, error) { return 0, unix.Fallocate(o.fd, 0, at, n) })
		if errors.Is(err, unix.EOPNOTSUPP) {
			return o.fill(at, to)
		}
		if err != nil {
			return full(err)
		}
		at += n
	}
	return nil
}

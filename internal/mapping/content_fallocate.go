//go:build linux && !sharedseg_portable

package mapping

import (
	"errors"

	"golang.org/x/sys/unix"
)

// ReadAt reads like io.ReaderAt, but a short read is not an error.
func (o *Object) ReadAt(b []byte, off int64) (int, error) {
	var n int
	err := again(func() (err error) { n, err = unix.Pread(o.fd, b, off); return err })
	return max(n, 0), err
}

// reserve is Reserve without the check that there is enough space.
func (o *Object) reserve(from, to int64) error {
	at, err := o.fallocate(from, to)
	if errors.Is(err, unix.EOPNOTSUPP) {
		return o.fill(at, to)
	}
	return full(err)
}

// reserveHoles is ReserveHoles without the check that there is enough space. If
// the file system does not support fallocate, the holes stay: writing zeros
// would overwrite what other processes have stored meanwhile.
func (o *Object) reserveHoles(n int64) error {
	_, err := o.fallocate(0, n)
	if errors.Is(err, unix.EOPNOTSUPP) {
		return nil
	}
	return full(err)
}

// fallocate allocates the file's bytes from from to to. After an error, the
// bytes before at are allocated.
func (o *Object) fallocate(from, to int64) (at int64, err error) {
	for at = from; at < to; {
		// Some kernels undo a whole call when a signal arrives, so a long call
		// might never finish.
		n := min(to-at, 16<<20)
		if err = again(func() error { return unix.Fallocate(o.fd, 0, at, n) }); err != nil {
			return at, err
		}
		at += n
	}
	return at, nil
}

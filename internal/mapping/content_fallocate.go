//go:build linux && !sharedseg_portable

package mapping

import (
	"errors"

	"golang.org/x/sys/unix"
)

// ReadAt reads as io.ReaderAt does, but fewer bytes than asked for are no
// error.
func (o *Object) ReadAt(b []byte, off int64) (int, error) {
	var n int
	err := again(func() (err error) { n, err = unix.Pread(o.fd, b, off); return err })
	return max(n, 0), err
}

// reserve is Reserve without the question whether it fits.
func (o *Object) reserve(from, to int64) error {
	at, err := o.fallocate(from, to)
	if errors.Is(err, unix.EOPNOTSUPP) {
		return o.fill(at, to)
	}
	return full(err)
}

// reserveHoles is ReserveHoles without the question whether it fits. A file
// system without the call keeps its holes: to fill them with zeros is to
// overwrite what others have stored meanwhile.
func (o *Object) reserveHoles(n int64) error {
	_, err := o.fallocate(0, n)
	if errors.Is(err, unix.EOPNOTSUPP) {
		return nil
	}
	return full(err)
}

// fallocate takes memory for what lies between from and to. After an error it
// has come to at.
func (o *Object) fallocate(from, to int64) (at int64, err error) {
	for at = from; at < to; {
		// A signal undoes a whole call on some kernels, so that a long one
		// might never end.
		n := min(to-at, 16<<20)
		if err = again(func() error { return unix.Fallocate(o.fd, 0, at, n) }); err != nil {
			return at, err
		}
		at += n
	}
	return at, nil
}

//go:build unix && !aix && (!linux || sharedseg_portable)

package mapping

import (
	"errors"

	"github.com/sharedseg/sharedseg/internal/fault"
)

// ReadAt reads as io.ReaderAt does, but fewer bytes than asked for are no
// error. It reads through a mapping: where files and mappings are cached apart,
// as on OpenBSD, read(2) does not show what others have stored in theirs.
func (o *Object) ReadAt(b []byte, off int64) (int, error) {
	info, err := o.Info()
	n := min(int64(len(b)), info.Size-off)
	if err != nil || n <= 0 {
		return 0, err
	}
	view, err := o.Map(int(off+n), false)
	if err != nil {
		return 0, err
	}
	defer view.Unmap()
	err = view.Guard(func() error { copy(b, view.Mem[off:]); return nil })
	if errors.Is(err, fault.ErrLost) {
		return 0, nil // another process has shortened it just now, maybe to begin it anew
	}
	return int(n), err
}

// reserve is Reserve without the question whether it fits. There is no call for
// it that all systems have.
func (o *Object) reserve(from, to int64) error { return o.fill(from, to) }

// reserveHoles does nothing. To write zeros is to overwrite what others have
// stored meanwhile.
func (o *Object) reserveHoles(int64) error { return nil }

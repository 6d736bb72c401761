//go:build unix && !aix && (!linux || sharedseg_portable)

package mapping

import (
	"errors"

	"github.com/sharedseg/sharedseg/internal/fault"
)

// ReadAt reads like io.ReaderAt, but a short read is not an error. It reads
// through a mapping: on systems with separate caches for files and mappings,
// such as OpenBSD, read(2) does not see stores to a mapping.
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
		return 0, nil // another process has just truncated the file, perhaps to initialise it
	}
	return int(n), err
}

// reserve is Reserve without the check that there is enough space. The
// systems have no common system call for it.
func (o *Object) reserve(from, to int64) error { return o.fill(from, to) }

// reserveHoles does nothing. Writing zeros would overwrite what other processes
// have stored meanwhile.
func (o *Object) reserveHoles(int64) error { return nil }

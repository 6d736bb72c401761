package member

import (
	"fmt"
	"io/fs"
	"time"

	"github.com/sharedseg/sharedseg/internal/fault"
	"github.com/sharedseg/sharedseg/internal/layout"
	"github.com/sharedseg/sharedseg/internal/mapping"
)

// Pinning says that the platform cannot replace memory while a call uses it.
// Each call is then counted in and out.
const Pinning = !mapping.Revocable

// Use runs f, which accesses Mem, and returns its error, or that of Loss. Every
// access must be within Use, except on the fast paths of a Direct handle. If
// Leave has begun, Use does not run f and returns fs.ErrClosed.
func (m *Member) Use(f func() error) error {
	if Pinning {
		if !m.pin() {
			return fs.ErrClosed
		}
		defer m.unpin()
	}
	return m.Loss(m.view.Guard(f))
}

// Verdict returns the error of a call whose other outcome is err: fs.ErrClosed
// if the handle was closed, as what the call loaded from Mem is then void, or
// else that of Loss. It must be called after the last access to Mem. It need
// not be called if State is 0 then.
func (m *Member) Verdict(err error) error {
	if m.State.Load()&fault.Closed != 0 {
		return fs.ErrClosed
	}
	return m.Loss(err)
}

// Loss returns err, or the reason why some of Mem has become private zeros.
// What the call did then had no effect on others.
func (m *Member) Loss(err error) error {
	if m.State.Load()&fault.Lost == 0 {
		return err
	}
	m.objMu.Lock()
	defer m.objMu.Unlock()
	if m.objClosed {
		return errTruncated
	}
	return loss(m.obj, len(m.Mem))
}

// loss returns the reason why n mapped bytes of an object have vanished.
func loss(obj *mapping.Object, n int) error {
	if info, err := obj.Info(); err == nil && info.Size >= int64(n) {
		return errStorage
	}
	return errTruncated
}

var errStorage = fmt.Errorf("%w: the file system behind it is full, or its storage failed, or it was truncated and then made longer; free some space, close this handle and open the name again",
	mapping.ErrNoSpace)

var errTruncated = fmt.Errorf("%w: the file was truncated while it was mapped; close this handle and open the name again", layout.ErrCorrupt)

// BeginClose marks the handle as closed, and reports whether it was open.
func (m *Member) BeginClose() bool { return m.State.Or(fault.Closed)&fault.Closed == 0 }

// Closed reports whether the handle is closed.
func (m *Member) Closed() bool { return m.State.Load()&fault.Closed != 0 }

// InPlace reports whether the user may access Mem outside Use: if some of it
// vanishes, the process survives.
func (m *Member) InPlace() bool { return !m.view.Guarded() }

// pin keeps Mem in place until unpin. It returns false once Leave has begun.
func (m *Member) pin() bool {
	m.pins.Add(1)
	if m.leaving.Load() {
		m.pins.Add(-1)
		return false
	}
	return true
}

func (m *Member) unpin() { m.pins.Add(-1) }

// unpinned waits until no call uses Mem. No call can begin to use it
// afterwards.
func (m *Member) unpinned() {
	m.leaving.Store(true)
	for pause := 10 * time.Microsecond; m.pins.Load() != 0; pause = min(2*pause, time.Millisecond) {
		time.Sleep(pause)
	}
}

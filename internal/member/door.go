package member

import (
	"fmt"
	"io/fs"
	"time"

	"github.com/sharedseg/sharedseg/internal/fault"
	"github.com/sharedseg/sharedseg/internal/layout"
	"github.com/sharedseg/sharedseg/internal/mapping"
)

// Pinning says that the platform cannot replace memory while a call uses it,
// so that each call is counted in and out.
const Pinning = !mapping.Revocable

// Use is the door through which every call enters that touches Mem, except the
// fast paths of a Direct handle. It runs f, and returns its error, fs.ErrClosed
// if Leave has begun and f was not run, or what Loss says.
func (m *Member) Use(f func() error) error {
	if Pinning {
		if !m.pin() {
			return fs.ErrClosed
		}
		defer m.unpin()
	}
	return m.Loss(m.view.Guard(f))
}

// Verdict is the error of a call that ends with err, if what it loaded from Mem
// is void in a closed handle. It stands after the last access to Mem. A call
// that finds State to be 0 there has no need of it.
func (m *Member) Verdict(err error) error {
	if m.State.Load()&fault.Closed != 0 {
		return fs.ErrClosed
	}
	return m.Loss(err)
}

// Loss is err, or why some of Mem is private zeros, if it is. Whatever a call
// then did, it did to those.
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

// loss says why n bytes of an object that were mapped are there no longer.
func loss(obj *mapping.Object, n int) error {
	if info, err := obj.Info(); err == nil && info.Size >= int64(n) {
		return errStorage
	}
	return errTruncated
}

var errStorage = fmt.Errorf("%w: the file system behind it is full, or its storage failed, or it was truncated and then made longer; free some space, close this handle and open the name again",
	mapping.ErrNoSpace)

var errTruncated = fmt.Errorf("%w: the file was truncated under the mapping; close this handle and open the name again", layout.ErrCorrupt)

// BeginClose marks the handle as closed, and reports whether it was open.
func (m *Member) BeginClose() bool { return m.State.Or(fault.Closed)&fault.Closed == 0 }

// Closed reports whether the handle was closed.
func (m *Member) Closed() bool { return m.State.Load()&fault.Closed != 0 }

// InPlace reports whether the user may be handed Mem: nothing of it can vanish
// without the process living on.
func (m *Member) InPlace() bool { return !m.view.Guarded() }

// pin keeps Mem in place until unpin. It reports false once Leave has begun.
func (m *Member) pin() bool {
	m.pins.Add(1)
	if m.leaving.Load() {
		m.pins.Add(-1)
		return false
	}
	return true
}

func (m *Member) unpin() { m.pins.Add(-1) }

// unpinned waits until no call uses Mem any more, and none can begin to.
func (m *Member) unpinned() {
	m.leaving.Store(true)
	for pause := 10 * time.Microsecond; m.pins.Load() != 0; pause = min(2*pause, time.Millisecond) {
		time.Sleep(pause)
	}
}

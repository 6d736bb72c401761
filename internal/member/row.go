package member

import (
	"errors"
	"fmt"
	"io/fs"
	"sync/atomic"

	"github.com/sharedseg/sharedseg/internal/fault"
	"github.com/sharedseg/sharedseg/internal/layout"
	"github.com/sharedseg/sharedseg/internal/mapping"
	"github.com/sharedseg/sharedseg/internal/park"
	"github.com/sharedseg/sharedseg/internal/step"
)

// RowEvent is the event count of the waiters for a change of another member's
// row.
const RowEvent = 0

// Event returns an event count of the wait page. The caller must close its
// Queue.
func (m *Member) Event(i int) *park.Event { return park.NewEvent(m.WaitPage, i, m.obj.Family()) }

// EventBroadcast returns the broadcast to all waiters that sleep on the
// sequence number of an event count.
func (m *Member) EventBroadcast(i int) *park.Broadcast {
	return park.NewBroadcast(m.WaitPage.Event(i).Seq, m.obj.Family())
}

// Open reports whether any handle holds a member slot. It makes at most one
// system call. Like Alive, it may return true for a slot that has just become
// free.
func (m *Member) Open(slot int) bool {
	if slot == m.ident.Slot() && !m.reader {
		return true
	}
	held, err := m.obj.Held(slot)
	return held || err != nil
}

// Row returns the handle's row, for the handle's own use. The first call locks
// the registry and, for a reader, takes a member slot. Other handles find the
// row by layout.WaitPage.UsedRows, and tell by the member slot whether the
// row's handle is open. Row must not be called within Use.
//
// It returns an error matching fs.ErrPermission for a reader that may not write
// to the file, ErrTooManyMembers if no slot is left for a reader, and
// fs.ErrClosed if the handle is closed.
func (m *Member) Row() (*atomic.Uint64, error) {
	if row := m.row.Load(); row != nil {
		return row, nil
	}
	m.rowMu.Lock()
	defer m.rowMu.Unlock()
	if row := m.row.Load(); row != nil {
		return row, nil
	}
	if m.State.Load()&fault.Closed != 0 {
		return nil, fs.ErrClosed
	}
	if !m.WaitPage.Usable() {
		return nil, fmt.Errorf("%w: the wait page", fs.ErrPermission)
	}
	if err := m.obj.LockRegistry(registryLimit); err != nil {
		return nil, err
	}
	defer m.obj.UnlockRegistry()
	err := m.Use(func() (err error) {
		ident := m.ident
		if m.reader {
			if ident, err = m.claimForReader(); err != nil {
				return err
			}
		}
		step.At(step.RowClaimed)
		m.rowSlot = ident.Slot()
		m.WaitPage.UseRow(m.rowSlot)
		step.At(step.RowUsed)
		m.row.Store(m.WaitPage.Row(m.rowSlot))
		return nil
	})
	return m.row.Load(), err
}

// Pinned returns the rows of all live members, combined by OR. If ask is set,
// it asks the system whether the members that have bits set are alive.
// Otherwise only those that it knows to be dead do not count. It must be called
// within Use, for a kind that has rows.
func (m *Member) Pinned(ask bool) (bits uint64) {
	dead := m.dead.Load()
	if dead == nil && !ask {
		return m.WaitPage.OrRows()
	}
	for slot := range m.WaitPage.UsedRows() {
		row := m.WaitPage.Row(slot).Load()
		if row&^bits == 0 {
			continue
		}
		if ask || dead != nil && dead[slot].Load() != 0 {
			// The bits were set by a holder of this generation or of an earlier
			// one, as the next holder clears them before it raises the
			// generation. So if the slot has no holder after that, the one that
			// set them is dead.
			generation := m.Words.Generation(slot).Load()
			if m.deadOf(slot).Load() == generation {
				continue
			}
			if ask && !m.holds(slot) {
				if held, err := m.obj.Held(slot); err == nil && !held {
					m.deadOf(slot).Store(generation)
					continue
				}
			}
		}
		bits |= row
	}
	return bits
}

// holds reports whether this handle holds a member slot.
func (m *Member) holds(slot int) bool {
	return m.row.Load() != nil && m.rowSlot == slot
}

// deadOf returns the generation of a member slot whose holder is known to be
// dead. It is 0, which is not a generation, if none is known.
func (m *Member) deadOf(slot int) *atomic.Uint32 {
	dead := m.dead.Load()
	if dead == nil {
		m.dead.CompareAndSwap(nil, new([layout.Members]atomic.Uint32))
		dead = m.dead.Load()
	}
	return &dead[slot]
}

// claimForReader is claim for a handle that has mapped the header read-only.
func (m *Member) claimForReader() (ident layout.Ident, err error) {
	view, err := m.obj.Map(len(m.Mem), true)
	if err != nil {
		return 0, err
	}
	defer view.Unmap()
	err = view.Guard(func() (err error) {
		ident, err = m.claim(layout.NewWords(view.Mem))
		return err
	})
	if errors.Is(err, fault.ErrLost) {
		err = loss(m.obj, len(m.Mem))
	}
	return ident, err
}

// leaveRow clears the row of a handle whose memory is retired, and wakes a
// waiter for it. The registry must be locked.
func (m *Member) leaveRow() error {
	if m.row.Load() == nil {
		return nil
	}
	return m.onFile(func(mem []byte) {
		page := layout.NewWaitPage(mem, m.Geometry)
		if m.Geometry.Kind.RowsNameHolders() && page.Row(m.rowSlot).Load() != 0 {
			return // the other members take it back
		}
		clearRow(m.obj, page, m.rowSlot)
		page.DisuseRow(m.rowSlot)
		step.At(step.RowLeft)
	})
}

// clearRow clears the row of a member slot that this handle holds.
func clearRow(obj *mapping.Object, page layout.WaitPage, slot int) {
	page.Row(slot).Store(0)
	e := park.NewEvent(page, RowEvent, obj.Family())
	e.Signal()
	e.Queue.Close()
}

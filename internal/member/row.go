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

// RowEvent is the event count of those that wait for another member's row to
// change.
const RowEvent = 0

// Event is an event count of the wait page. The caller closes its Queue.
func (m *Member) Event(i int) *park.Event { return park.NewEvent(m.WaitPage, i, m.obj.Family()) }

// EventBroadcast wakes all who sleep on the sequence number of an event count.
func (m *Member) EventBroadcast(i int) *park.Broadcast {
	return park.NewBroadcast(m.WaitPage.Event(i).Seq, m.obj.Family())
}

// Open reports whether a handle has that member slot. It is one system call,
// and errs on the side of true, as Alive does.
func (m *Member) Open(slot int) bool {
	if slot == m.ident.Slot() && !m.reader {
		return true
	}
	held, err := m.obj.Held(slot)
	return held || err != nil
}

// Row is the handle's row, for its own use. The first call takes the registry
// lock, and for a reader a member slot. Others find the row by
// layout.WaitPage.UsedRows, and know by the member slot whether its handle is
// open. Row must not be called within Use.
//
// Errors: fs.ErrPermission for a reader that may not write to the file,
// ErrTooManyMembers if there is no slot left for a reader, fs.ErrClosed.
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

// Pinned is what the rows of all members that live have in common with OR: the
// bits that some of them has set. It asks the system whether a member lives
// only if ask says so, and only about those that have bits set; without, those
// that it does not know to be dead count. It is called within Use, of a kind
// that has rows.
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
			// A holder of this generation, or of an earlier one, has set the
			// bits: the next clears them before it raises the generation. So if
			// nobody holds the slot after that, their holder is dead, and stays
			// so.
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

// holds reports whether a member slot is this handle's.
func (m *Member) holds(slot int) bool {
	return m.row.Load() != nil && m.rowSlot == slot
}

// deadOf is the generation of a member slot whose holder is known to be dead; 0
// if none is, which no holder of a slot has.
func (m *Member) deadOf(slot int) *atomic.Uint32 {
	dead := m.dead.Load()
	if dead == nil {
		m.dead.CompareAndSwap(nil, new([layout.Members]atomic.Uint32))
		dead = m.dead.Load()
	}
	return &dead[slot]
}

// claimForReader is claim by a handle that has mapped the header read-only.
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

// leaveRow clears the row of a handle whose memory is retired, and wakes one
// that waits for it. The registry is locked.
func (m *Member) leaveRow() error {
	if m.row.Load() == nil {
		return nil
	}
	view, err := m.obj.Map(len(m.Mem), true)
	if err != nil {
		return err
	}
	defer view.Unmap()
	err = view.Guard(func() error {
		page := layout.NewWaitPage(view.Mem, m.Geometry)
		if m.Geometry.Kind.RowsNameHolders() && page.Row(m.rowSlot).Load() != 0 {
			return nil // the others take it back
		}
		clearRow(m.obj, page, m.rowSlot)
		page.DisuseRow(m.rowSlot)
		step.At(step.RowLeft)
		return nil
	})
	if errors.Is(err, fault.ErrLost) {
		return nil // the file was truncated, and nobody sees the row any more
	}
	return err
}

// clearRow clears the row of a member slot that this handle holds.
func clearRow(obj *mapping.Object, page layout.WaitPage, slot int) {
	page.Row(slot).Store(0)
	e := park.NewEvent(page, RowEvent, obj.Family())
	e.Signal()
	e.Queue.Close()
}

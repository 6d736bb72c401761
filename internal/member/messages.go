package member

import (
	"github.com/sharedseg/sharedseg/internal/layout"
	"github.com/sharedseg/sharedseg/internal/park"
	"github.com/sharedseg/sharedseg/internal/ring"
	"github.com/sharedseg/sharedseg/internal/step"
)

// giveBack frees the messages of a queue that this handle, whose memory is
// retired, has taken. It also wakes those whom a call that was still under way
// could not wake any more in other memory.
func (m *Member) giveBack() error {
	if m.Geometry.Kind != layout.KindQueue {
		return nil
	}
	view, err := m.obj.Map(len(m.Mem), true)
	if err != nil {
		return err
	}
	defer view.Unmap()
	return view.Guard(func() error {
		m.lent = m.free(view.Mem, func(taker layout.Ident) bool { return taker == m.ident }) > 0
		m.pass(view.Mem, layout.MessageEvent)
		m.pass(view.Mem, layout.RoomEvent)
		step.At(step.MessagesGivenBack)
		return nil
	})
}

// forget frees the messages of a queue that were taken by any holder of a
// member slot. This handle holds it now, and its generations are about to begin
// again, so that those that took them would be taken for alive. The registry is
// locked.
func (m *Member) forget(slot int) {
	if m.Geometry.Kind == layout.KindQueue {
		n := m.free(m.Mem, func(taker layout.Ident) bool {
			return taker != 0 && taker != layout.DoneIdent && taker.Slot() == slot
		})
		if n > 0 {
			m.pass(m.Mem, layout.MessageEvent)
		}
	}
}

// free gives back, in memory to which the queue is mapped, the messages of some
// takers.
func (m *Member) free(mem []byte, mine func(taker layout.Ident) bool) (n int) {
	return ring.New(mem, m.Geometry, m.ident, m.Alive, m.Key).GiveBack(mine)
}

// pass wakes one that waits for an event count.
func (m *Member) pass(mem []byte, event int) {
	e := park.NewEvent(layout.NewWaitPage(mem, m.Geometry), event, m.obj.Family())
	e.Pass()
	e.Queue.Close()
}

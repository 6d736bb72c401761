package member

import (
	"github.com/sharedseg/sharedseg/internal/layout"
	"github.com/sharedseg/sharedseg/internal/park"
	"github.com/sharedseg/sharedseg/internal/ring"
	"github.com/sharedseg/sharedseg/internal/step"
)

// giveBack returns the messages of a queue that this handle has taken. The
// handle's memory is retired. giveBack also wakes the waiters that a call still
// under way can no longer wake in the retired memory.
func (m *Member) giveBack() error {
	if m.Geometry.Kind != layout.KindQueue {
		return nil
	}
	return m.onFile(func(mem []byte) {
		m.free(mem, func(taker layout.Ident) bool { return taker == m.ident })
		m.pass(mem, layout.MessageEvent)
		m.pass(mem, layout.RoomEvent)
		step.At(step.MessagesGivenBack)
	})
}

// forget returns the messages of a queue that any holder of a member slot has
// taken. This handle now holds the slot, whose generations are about to begin
// again, so the earlier takers would seem to be alive. The registry must be
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

// free returns the messages of some takers to the queue that is mapped at mem,
// and returns their number.
func (m *Member) free(mem []byte, mine func(taker layout.Ident) bool) (n int) {
	return ring.New(mem, m.Geometry, m.ident, m.Alive, m.Key).GiveBack(mine)
}

// pass wakes one waiter for an event count.
func (m *Member) pass(mem []byte, event int) {
	e := park.NewEvent(layout.NewWaitPage(mem, m.Geometry), event, m.obj.Family())
	e.Pass()
	e.Queue.Close()
}

package park

import (
	"strconv"

	"github.com/sharedseg/sharedseg/internal/kernel"
	"github.com/sharedseg/sharedseg/internal/layout"
	"github.com/sharedseg/sharedseg/internal/step"
)

// Event is an event count of a mapping, with the place where threads sleep
// until its sequence number changes. One of them is woken at a time. Its
// methods may be called concurrently.
//
// Whoever waits for something loads Seq, sets Flag, looks whether it is there,
// and sleeps while Seq is the same: in this order, each time. Whoever has set
// Flag and waits no longer, whatever the reason, calls Pass. So a wake-up is
// not lost with a thread that has no use for it, nor with one whose process was
// killed.
type Event struct {
	layout.Event
	*Queue
}

// NewEvent returns the event count i of a wait page.
func NewEvent(page layout.WaitPage, i int, family *kernel.Family) *Event {
	e := page.Event(i)
	return &Event{e, NewQueue(e.Seq, family, "event"+strconv.Itoa(i))}
}

// Signal wakes one sleeper if there may be any. It stands after an atomic
// operation that makes what they wait for visible. It does not block.
func (e *Event) Signal() {
	if e.Flag.Load() != 0 && e.Flag.Swap(0) != 0 {
		e.Pass()
	}
}

// Pass wakes one sleeper if there is any.
func (e *Event) Pass() {
	step.At(step.EventSignalling)
	e.Seq.Add(1)
	step.At(step.EventRaised)
	e.Queue.Wake()
	step.At(step.EventSignalled)
}

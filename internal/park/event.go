package park

import (
	"strconv"

	"github.com/sharedseg/sharedseg/internal/kernel"
	"github.com/sharedseg/sharedseg/internal/layout"
	"github.com/sharedseg/sharedseg/internal/step"
)

// Event is an event count of a mapping, with the queue of threads that sleep
// until its sequence number changes. One of them is woken at a time. Its
// methods may be called concurrently.
//
// A waiter loads Seq, sets Flag, checks for what it waits for, and sleeps while
// Seq is unchanged. It does this in the same order each time. A waiter that has
// set Flag must call Pass when it stops waiting, for whatever reason. So no
// wake-up is lost if it reaches a thread that does not need it, or one whose
// process was killed.
type Event struct {
	layout.Event
	*Queue
}

// NewEvent returns event count i of a wait page.
func NewEvent(page layout.WaitPage, i int, family *kernel.Family) *Event {
	e := page.Event(i)
	return &Event{e, NewQueue(e.Seq, family, "event"+strconv.Itoa(i))}
}

// Signal wakes one sleeper if there may be any. The caller must have made what
// they wait for visible with an atomic operation. Signal does not block.
func (e *Event) Signal() {
	if e.Flag.Load() != 0 && e.Flag.Swap(0) != 0 {
		e.Pass()
	}
}

// Pass wakes one sleeper, if there is one.
func (e *Event) Pass() {
	step.At(step.EventSignalling)
	e.Seq.Add(1)
	step.At(step.EventRaised)
	e.Queue.Wake()
	step.At(step.EventSignalled)
}

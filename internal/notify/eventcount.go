package notify

import (
	"context"
	"io/fs"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sharedseg/sharedseg/internal/park"
	"github.com/sharedseg/sharedseg/internal/step"
)

// EventCount waits for what one waiter takes, a message or the room for one,
// where a Notifier waits for what all want to see. One goroutine of the handle
// at a time waits for the event; the others wait for it to have done. Its
// methods may be called concurrently. The event is what is known as an
// eventcount: Reed and Kanodia, "Synchronization with Eventcounts and
// Sequencers" (1979).
type EventCount struct {
	event *park.Event
	use   func(f func() error) error
	limit func() time.Duration
	count func()

	policy spinPolicy
	gate   chan struct{} // held by the goroutine that waits for the event
	done   chan struct{} // closed by Close
	closed atomic.Bool
	close  sync.Once
}

// NewEventCount returns an EventCount of e. use is as [Source.Use]. limit is
// how long to sleep at most before the next look, as whoever was to wake this
// waiter may have died. count is as [Source.Count].
func NewEventCount(e *park.Event, use func(f func() error) error, limit func() time.Duration, count func()) *EventCount {
	return &EventCount{
		event: e, use: use, limit: limit, count: count,
		gate: make(chan struct{}, 1), done: make(chan struct{}),
	}
}

// Signal tells one waiter of a change. It stands, within Use, after an atomic
// operation that makes the change visible.
func (e *EventCount) Signal() { e.event.Signal() }

// KickAtEnd has the waiters look again when a process ends, until stop is
// called, as park.Queue.KickAtEnd.
func (e *EventCount) KickAtEnd(pid uint32) (stop func()) { return e.event.KickAtEnd(pid) }

// Waited reports whether a Signal may have somebody to wake. It stands where
// Signal does.
func (e *EventCount) Waited() bool { return e.event.Flag.Load() != 0 }

// Wait returns nil once ready has reported true, and does not call it again
// then, so that ready may take what it finds. It returns ctx's error when ctx
// is done, fs.ErrClosed after Close, and the error of Use if that fails; ready
// may have reported true then.
//
// ready is called within Use, must be quick, and must not wait for the
// EventCount.
func (e *EventCount) Wait(ctx context.Context, ready func() bool) error {
	w := eventWaits.Get().(*eventWait)
	defer func() {
		w.EventCount, w.ctx, w.ready = nil, nil, nil
		eventWaits.Put(w)
	}()
	w.EventCount, w.ctx, w.ready, w.found = e, ctx, ready, false
	if err := e.use(w.look); err != nil || w.found {
		return err
	}
	select {
	case e.gate <- struct{}{}:
		defer func() { <-e.gate }()
	case <-ctx.Done():
		return ctx.Err()
	case <-e.done:
		return fs.ErrClosed
	}
	if ctx.Done() != nil {
		stop := context.AfterFunc(ctx, e.kick)
		defer stop()
	}
	return w.wait()
}

// kick ends the sleep of the goroutine that waits, and maybe others. The
// sequence number changes, so that it does not begin to sleep either.
func (e *EventCount) kick() {
	e.use(func() error { e.event.Seq.Add(1); return nil })
	e.event.Kick()
}

// Close ends all waits with fs.ErrClosed. It returns when none uses the event
// any more. It must not be called by ready or within Use.
func (e *EventCount) Close() {
	e.close.Do(func() {
		e.closed.Store(true)
		close(e.done)
		for gone := false; !gone; {
			e.kick()
			select {
			case e.gate <- struct{}{}:
				gone = true
			case <-time.After(time.Millisecond):
			}
		}
		e.event.Queue.Close()
	})
}

// eventWait is a call of Wait. It is used again for another, as functions that
// are handed to Use are on the heap.
type eventWait struct {
	*EventCount
	ctx   context.Context
	ready func() bool
	found bool

	look, spin, sleep, pass func() error // for Use
}

var eventWaits = sync.Pool{New: func() any {
	w := new(eventWait)
	w.look, w.spin, w.sleep, w.pass = w.doLook, w.doSpin, w.doSleep, w.doPass
	return w
}}

// wait waits for the event. The gate is held.
func (w *eventWait) wait() error {
	begun := time.Now()
	if err := w.use(w.spin); err != nil || w.found {
		return err
	}
	if w.count != nil {
		w.count()
	}
	// Whatever ends this wait, it may have been woken in place of another.
	defer w.use(w.pass)
	for {
		if err := w.use(w.sleep); err != nil {
			return err
		}
		switch {
		case w.found:
			w.policy.waited(time.Since(begun))
			return nil
		case w.closed.Load():
			return fs.ErrClosed
		case w.ctx.Err() != nil:
			return w.ctx.Err()
		}
	}
}

func (w *eventWait) doLook() error {
	w.found = w.ready()
	return nil
}

func (w *eventWait) doSpin() error {
	w.found = w.policy.spin(w.ready, &w.closed, true)
	return nil
}

// doSleep sleeps once, if there still is a reason.
func (w *eventWait) doSleep() error {
	seq := w.event.Seq.Load()
	w.event.Flag.Store(1)
	step.At(step.EventArmed)
	if w.found = w.ready(); w.found || w.closed.Load() || w.ctx.Err() != nil {
		return nil
	}
	runtime.Gosched() // parked, this goroutine keeps its P from others for a while
	step.At(step.EventParking)
	w.event.Queue.Wait(seq, w.limit())
	step.At(step.EventAwake)
	return nil
}

func (w *eventWait) doPass() error {
	w.event.Pass()
	return nil
}

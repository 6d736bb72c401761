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

// EventCount waits for things that one waiter takes, such as a message or room
// for one. A Notifier, in contrast, waits for changes that all waiters see. One
// goroutine of the handle at a time waits for the event, and the others wait
// for their turn. The methods of an EventCount may be called concurrently. The
// event is an eventcount: Reed and Kanodia, "Synchronization with Eventcounts
// and Sequencers" (1979).
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

// NewEventCount returns an EventCount of e. use is as [Source.Use]. limit
// returns the longest sleep before the next look, which is needed if the
// process that should wake this waiter died. count is as [Source.Count].
func NewEventCount(e *park.Event, use func(f func() error) error, limit func() time.Duration, count func()) *EventCount {
	return &EventCount{
		event: e, use: use, limit: limit, count: count,
		gate: make(chan struct{}, 1), done: make(chan struct{}),
	}
}

// Signal tells one waiter about a change. It must be called within Use, after
// an atomic operation that makes the change visible.
func (e *EventCount) Signal() { e.event.Signal() }

// KickAtEnd makes the waiters look again when a process exits, until stop is
// called, as park.Queue.KickAtEnd.
func (e *EventCount) KickAtEnd(pid uint32) (stop func()) { return e.event.KickAtEnd(pid) }

// Waited reports whether Signal may have a waiter to wake. It must be called
// where Signal may be called.
func (e *EventCount) Waited() bool { return e.event.Flag.Load() != 0 }

// Wait returns nil once ready has reported true. It does not call ready again
// after that, so ready may take what it finds. It returns ctx's error when ctx
// is done, fs.ErrClosed after Close, and the error of Use if Use fails. In the
// last case ready may have reported true.
//
// ready is called within Use. It must be quick and must not wait for the
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

// kick wakes the goroutine that sleeps, and possibly others. It also changes
// the sequence number, so that a goroutine that is about to sleep does not.
func (e *EventCount) kick() {
	e.use(func() error { e.event.Seq.Add(1); return nil })
	e.event.Kick()
}

// Close ends all waits with fs.ErrClosed. When it returns, no wait uses the
// event any more. Neither ready nor a function within Use may call it.
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

// eventWait is the state of a call of Wait. It is pooled because the functions
// that it passes to Use escape to the heap.
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
	// However this wait ends, it may have been woken in place of another.
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

// doSleep sleeps once, unless the wait has ended.
func (w *eventWait) doSleep() error {
	seq := w.event.Seq.Load()
	w.event.Flag.Store(1)
	step.At(step.EventArmed)
	if w.found = w.ready(); w.found || w.closed.Load() || w.ctx.Err() != nil {
		return nil
	}
	runtime.Gosched() // a parked goroutine keeps its P from others for a while
	step.At(step.EventParking)
	w.event.Queue.Wait(seq, w.limit())
	step.At(step.EventAwake)
	return nil
}

func (w *eventWait) doPass() error {
	w.event.Pass()
	return nil
}

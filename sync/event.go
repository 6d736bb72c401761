package ipcsync

import (
	"context"
	"runtime"
	"sync/atomic"

	"github.com/sharedseg/sharedseg/internal/fence"
	"github.com/sharedseg/sharedseg/internal/layout"
	"github.com/sharedseg/sharedseg/internal/step"
)

// Event is a flag that processes set, reset, and wait for. It stays set until a
// process resets it, however many have waited for it. It has no owner, so the
// death of a process does not affect it. Its methods may be called
// concurrently.
//
// For an event that resets itself, so that each Set releases one waiter, use a
// [Semaphore] with one permit: Acquire waits for the event, and Release sets
// it. Only the handle that acquired can release, so if the two are different
// handles, use a [Cond].
type Event struct {
	m       *Mutex // never locked; it has the state and use
	word    *atomic.Uint32
	changes *broadcast
}

// OpenEvent opens the event with the given name. If it does not exist,
// OpenEvent creates one that is not set. Name, options and errors are as for
// [OpenMutex]. Options.Repair is not used.
//
// Close the handle after use. An unreachable handle is eventually closed by the
// garbage collector.
func OpenEvent(name string, o *Options) (*Event, error) {
	mb, err := open(name, o, layout.KindEvent, 0)
	if err != nil {
		return nil, err
	}
	m := named(mb, name, nil)
	e := &Event{m: m, changes: newBroadcast(m)}
	e.word = e.changes.seq // odd while the event is set
	return e, nil
}

// Set sets the event and releases all waiters, even if the event is reset at
// once. Errors: fs.ErrClosed, ErrCorrupt. It does not block.
func (e *Event) Set() error { return e.change("set", e.set) }

// Reset resets the event. Errors: fs.ErrClosed, ErrCorrupt. It does not block.
func (e *Event) Reset() error { return e.change("reset", e.reset) }

// IsSet reports whether the event is set. It returns false after Close.
func (e *Event) IsSet() bool {
	set := false
	err := e.m.use(func() error {
		set = e.word.Load()&1 != 0
		return nil
	})
	set = set && e.m.verdict(err) == nil
	if set {
		fence.Acquire(e.m.key)
	}
	runtime.KeepAlive(e.m)
	return set
}

// Wait waits until the event is set, or has been set since the call began. If
// ctx is done, even before the call, Wait returns an error that wraps ctx's.
// Other errors: fs.ErrClosed, ErrCorrupt. A process that dies or is stopped in
// Set can delay waiters by at most a second.
func (e *Event) Wait(ctx context.Context) error {
	err := ctx.Err()
	if err == nil {
		begun, first := uint32(0), true
		err = e.changes.notifier.Wait(ctx, func() bool {
			now := e.word.Load()
			if first {
				begun, first = now, false
			}
			return now&1 != 0 || now != begun
		})
		fence.Acquire(e.m.key)
	}
	return e.m.wrap("wait", e.m.verdict(err))
}

// Close closes the handle. Goroutines that wait return fs.ErrClosed. The error
// says what could not be cleaned up. The handle is closed even so. A second
// Close returns nil.
func (e *Event) Close() error {
	e.changes.close()
	return e.m.Close()
}

// set may run beside other Sets and Resets. The flag that it finds may be that
// of waiters that saw an earlier value than the one that it changes. So each of
// them calls Changed.
func (e *Event) set() error {
	changes := e.changes.notifier
	armed := changes.Disarm()
	for {
		now := e.word.Load()
		if now&1 != 0 { // the process that set it may have died before it woke the waiters
			changes.Notify(now-1, armed)
			return nil
		}
		step.At(step.EventChanging)
		if e.word.CompareAndSwap(now, now+1) {
			step.At(step.EventChanged)
			changes.Changed(now)
			changes.Notify(now, armed)
			return nil
		}
	}
}

// reset notifies no waiter, as none sleeps while the event is set, except those
// that a Set is about to wake. So it must not clear the flag that tells the
// next Set of waiters. A thread that watches the word for goroutines can sleep
// while the event is set, until the word changes again.
func (e *Event) reset() error {
	for {
		now := e.word.Load()
		if now&1 == 0 {
			return nil
		}
		step.At(step.EventChanging)
		if e.word.CompareAndSwap(now, now+1) {
			step.At(step.EventChanged)
			e.changes.notifier.Changed(now)
			return nil
		}
	}
}

// change calls f, which is set or reset.
func (e *Event) change(op string, f func() error) error {
	fence.Release(e.m.key)
	return e.m.wrap(op, e.m.verdict(e.m.use(f)))
}

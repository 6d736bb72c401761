package ipcsync

import (
	"context"
	"runtime"
	"sync/atomic"

	"github.com/sharedseg/sharedseg/internal/fence"
	"github.com/sharedseg/sharedseg/internal/layout"
	"github.com/sharedseg/sharedseg/internal/step"
)

// Event is set or not, and processes wait until it is set. It stays set until
// somebody resets it, whoever has waited meanwhile. Nobody owns it, so nothing
// becomes of it when a process dies. Its methods may be called concurrently.
//
// An event that resets itself, so that each Set lets one waiter go on, is a
// [Semaphore] of one: who waits for it acquires, and who sets it releases what
// it had acquired before. If the two are different handles, use a [Cond].
type Event struct {
	m     *Mutex // nobody locks it; it has the state and the door
	word  *atomic.Uint32
	tells *broadcast
}

// OpenEvent opens the event of that name, and creates it, not set, if there is
// none. Name, options and errors are as of [OpenMutex]. Options.Repair is not
// used.
//
// Close the handle when it is no longer used. An unreachable handle is
// eventually closed by the garbage collector.
func OpenEvent(name string, o *Options) (*Event, error) {
	mb, err := open(name, o, layout.KindEvent, 0)
	if err != nil {
		return nil, err
	}
	m := named(mb, name, nil)
	e := &Event{m: m, tells: newBroadcast(m)}
	e.word = e.tells.seq // odd while the event is set
	return e, nil
}

// Set sets the event: those who wait go on, even if somebody resets it at once.
// Errors: fs.ErrClosed, ErrCorrupt. It does not block.
func (e *Event) Set() error { return e.change(true) }

// Reset makes the event one that is not set. Errors as of Set. It does not
// block.
func (e *Event) Reset() error { return e.change(false) }

// IsSet reports whether the event is set. It reports false after Close.
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

// Wait waits until the event is set, or was set since the call began. It
// returns an error that wraps ctx's when ctx is done, also if it was from the
// beginning; fs.ErrClosed, or ErrCorrupt. A process that dies in Set may delay
// those who wait by a second at most.
func (e *Event) Wait(ctx context.Context) error {
	err := ctx.Err()
	if err == nil {
		begun, first := uint32(0), true
		err = e.tells.notifier.Wait(ctx, func() bool {
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
// says what could not be cleaned up; the handle is closed all the same. A
// second Close returns nil.
func (e *Event) Close() error {
	e.tells.close()
	return e.m.Close()
}

func (e *Event) change(set bool) error {
	fence.Release(e.m.key)
	op := "reset"
	if set {
		op = "set"
	}
	err := e.m.use(func() error {
		armed := e.tells.notifier.Disarm()
		for {
			now := e.word.Load()
			if now&1 != 0 == set {
				if set { // by one, perhaps, that died before it woke anybody
					e.tells.notifier.Notify(now-1, armed)
				}
				return nil
			}
			step.At(step.EventChanging)
			if e.word.CompareAndSwap(now, now+1) {
				step.At(step.EventChanged)
				e.tells.notifier.Notify(now, armed)
				return nil
			}
		}
	})
	return e.m.wrap(op, e.m.verdict(err))
}

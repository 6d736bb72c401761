package notify

import (
	"context"
	"runtime"
	"sync"
	"time"

	"github.com/sharedseg/sharedseg/internal/park"
	"github.com/sharedseg/sharedseg/internal/step"
)

// many is the number of goroutines that wait through one Notifier from which on
// none spins.
const many = 8

// Wait returns nil once ready has reported true. It also returns when ctx is
// done, with ctx's error, when the Notifier is closed, with fs.ErrClosed, and
// when Use fails, with its error.
//
// ready is called within Use, many times at first, and then after each change
// of the word. It is to look at the shared memory, must be quick, and must not
// call the Notifier. What makes it true must be done when the word changes.
func (n *Notifier) Wait(ctx context.Context, ready func() bool) error {
	n.waits.Add(1)
	defer n.waits.Add(-1)
	if err := n.err(); err != nil {
		return err
	}
	w := calls.Get().(*wait)
	w.n, w.ctx, w.ready, w.begun, w.limit = n, ctx, ready, time.Time{}, n.set.first
	err := w.run()
	w.n, w.ctx, w.ready = nil, nil, nil
	calls.Put(w)
	return err
}

// wait is a call of Wait. It is used again for another, as functions that are
// handed to Use are on the heap.
type wait struct {
	n     *Notifier
	ctx   context.Context
	ready func() bool

	begun     time.Time // when the first look was in vain
	found     bool      // ready reported true
	seen      uint32    // the word at the last look that was in vain, or before
	unchanged bool      // it is seen still

	limit time.Duration // of the next park
	spot  [1]*park.Spot

	spin, arm, look func() error // for Use
}

var calls = sync.Pool{New: func() any {
	w := &wait{spot: [1]*park.Spot{new(park.Spot)}}
	w.spin, w.arm, w.look = w.doSpin, w.doArm, w.doLook
	return w
}}

func (w *wait) run() error {
	for {
		if err := w.use(w.spin); err != nil {
			return err
		}
		if err := w.ctx.Err(); err != nil {
			return err
		}
		if w.found {
			if !w.begun.IsZero() {
				w.n.policy.waited(time.Since(w.begun))
			}
			return nil
		}
		if w.begun.IsZero() {
			w.begun = time.Now()
			if w.n.src.Count != nil {
				w.n.src.Count()
			}
		}
		var err error
		if s := w.n.goSolo(); s != nil {
			err = w.park(s)
		} else {
			err = w.subscribe()
		}
		if err != nil {
			return err
		}
	}
}

// use calls f within Use.
func (w *wait) use(f func() error) error {
	err := w.n.src.Use(f)
	if e := w.n.err(); e != nil {
		return e
	}
	return err
}

// doSpin looks for a short while. The while is longer if that promises
// something, but not for a goroutine that was in vain once, nor for more than
// one at a time. Beside many, which need the processor, it looks once.
func (w *wait) doSpin() error {
	n := w.n
	w.seen = n.src.Word.Load()
	if w.found = w.ready(); w.found || n.subscribers.Load() >= many {
		return nil
	}
	w.found = n.policy.spin(w.ready, &n.ended, w.begun.IsZero())
	return nil
}

// goSolo returns what a goroutine that nobody else waits beside parks with by
// itself: it then goes on without another that tells it. It returns nil if the
// goroutine is to subscribe.
func (n *Notifier) goSolo() *park.Sleeper {
	if n.src.Flag == nil || n.subscribers.Load() > 0 || n.set.words() < 2 {
		return nil
	}
	s := n.set.takeThread(fewThreads)
	if s == nil {
		return nil
	}
	n.mu.Lock()
	if alone := n.solo == nil && n.subscribers.Load() == 0; alone && n.failed == nil {
		n.solo = s
	} else {
		n.mu.Unlock()
		n.set.returnThread(s)
		return nil
	}
	n.mu.Unlock()
	return s
}

// park parks the goroutine with its thread, once.
func (w *wait) park(s *park.Sleeper) error {
	n := w.n
	defer func() {
		w.spot[0].Close()
		n.mu.Lock()
		n.solo = nil
		n.mu.Unlock()
		n.set.returnThread(s)
	}()
	if err := w.use(w.arm); err != nil || !w.unchanged {
		return err
	}
	if w.ctx.Done() != nil {
		stop := context.AfterFunc(w.ctx, s.Kick)
		defer stop()
	}
	if w.limit == n.set.first {
		// Parked, this goroutine keeps its P from others for a while. When
		// nothing happens there are none, and this would wake a thread that
		// looks for some.
		runtime.Gosched()
	}
	step.At(step.WatchParking)
	if s.Sleep(w.spot[:], untilTick(w.limit)) {
		w.limit = min(2*w.limit, n.set.last)
	}
	step.At(step.WatchAwake)
	return nil
}

// doArm sets the flag, and then looks. The word is loaded before: whoever
// clears the flag changes the word after that, so the park does not begin.
// Loaded after the flag was cleared and the word changed, it would be parked on
// without a flag.
func (w *wait) doArm() error {
	n := w.n
	now := n.src.Word.Load()
	n.src.Flag.Store(1)
	step.At(step.WatchArmed)
	w.found = w.ready()
	w.unchanged = !w.found && w.spot[0].Prepare(n.src.Sleep, now)
	return nil
}

// subscribe waits until the owner of n tells of a change since w.seen.
func (w *wait) subscribe() error {
	n := w.n
	n.mu.Lock()
	if n.failed != nil {
		n.mu.Unlock()
		return n.failed
	}
	n.subscribers.Add(1)
	defer func() {
		n.mu.Lock()
		n.subscribers.Add(-1)
		n.mu.Unlock()
	}()
	if n.changed == nil {
		n.changed = make(chan struct{})
	}
	changed := n.changed
	owned := n.owner != nil
	if !owned {
		n.seen = w.seen
		n.set.place(n)
	}
	n.mu.Unlock()
	if owned {
		// It may have told the others of the change before this goroutine
		// subscribed.
		if err := w.use(w.look); err != nil || w.found {
			return err
		}
	}
	select {
	case <-changed:
	case <-w.ctx.Done():
	}
	return nil
}

func (w *wait) doLook() error {
	w.found = w.ready()
	return nil
}

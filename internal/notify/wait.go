package notify

import (
	"context"
	"runtime"
	"sync"
	"time"

	"github.com/sharedseg/sharedseg/internal/park"
	"github.com/sharedseg/sharedseg/internal/step"
)

// many is the number of subscribers of a Notifier from which on waiters do not
// spin.
const many = 8

// Wait returns nil once ready has reported true. It returns ctx's error when
// ctx is done, fs.ErrClosed when the Notifier is closed, and the error of Use
// if Use fails.
//
// ready is called within Use, many times at first, and then after each change
// of the word. It looks at the shared memory, must be quick, and must not call
// the Notifier. Whatever makes it true must happen before the word changes.
func (n *Notifier) Wait(ctx context.Context, ready func() bool) error {
	return n.WaitCounting(ctx, ready, n.src.Count)
}

// WaitCounting is Wait with count in place of Source.Count, for a wait that
// several calls make up.
func (n *Notifier) WaitCounting(ctx context.Context, ready func() bool, count func()) error {
	n.waits.Add(1)
	defer n.waits.Add(-1)
	if err := n.err(); err != nil {
		return err
	}
	w := calls.Get().(*wait)
	w.n, w.ctx, w.ready, w.count, w.begun, w.limit = n, ctx, ready, count, time.Time{}, n.set.first
	err := w.run()
	w.n, w.ctx, w.ready, w.count = nil, nil, nil, nil
	calls.Put(w)
	return err
}

// wait is the state of a call of Wait. It is pooled because the functions that
// it passes to Use escape to the heap.
type wait struct {
	n     *Notifier
	ctx   context.Context
	ready func() bool
	count func() // as Source.Count

	begun     time.Time // when the first look did not find what it waits for
	found     bool      // whether ready has reported true
	seen      uint32    // the word, loaded before the last look
	unchanged bool      // whether to park: ready reported false and the word has not changed

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
			if w.count != nil {
				w.count()
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

// doSpin spins, for longer only if this is the wait's first spin. With many
// subscribers, which need the processor, it looks once.
func (w *wait) doSpin() error {
	n := w.n
	w.seen = n.src.Word.Load()
	if w.found = w.ready(); w.found || n.subscribers.Load() >= many {
		return nil
	}
	w.found = n.policy.spin(w.ready, &n.ended, w.begun.IsZero())
	return nil
}

// goSolo returns a Sleeper if the calling goroutine is the only waiter. It then
// parks by itself, and no other goroutine has to tell it of changes. Otherwise
// goSolo returns nil, and the goroutine must subscribe.
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
		// A parked goroutine keeps its P from others for a while. After a
		// timeout none is waiting, and Gosched would only wake a thread that
		// looks for goroutines.
		runtime.Gosched()
	}
	step.At(step.WatchParking)
	if s.Sleep(w.spot[:], untilTick(w.limit)) {
		w.limit = min(2*w.limit, n.set.last)
	}
	step.At(step.WatchAwake)
	return nil
}

// doArm sets the flag and then looks. It loads the word before: a publisher
// that clears the flag changes the word afterwards, so this goroutine does not
// park. If it loaded the word later, after both, it would park without a flag.
func (w *wait) doArm() error {
	n := w.n
	now := n.src.Word.Load()
	n.src.Flag.Store(1)
	step.At(step.WatchArmed)
	w.found = w.ready()
	w.unchanged = !w.found && w.spot[0].Prepare(n.src.Sleep, now)
	return nil
}

// subscribe waits until the owner of n tells it about a change since w.seen.
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
	if owned || n.src.OnDemand {
		// The owner may have told the others about the change before this
		// goroutine subscribed. Or the word did not change, as the flag was not
		// set.
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
	if w.n.src.OnDemand {
		w.n.src.Flag.Store(1)
		step.At(step.WatchArmed)
	}
	w.found = w.ready()
	return nil
}

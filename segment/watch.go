package segment

import (
	"context"
	"io/fs"
	"iter"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sharedseg/sharedseg/internal/fence"
	"github.com/sharedseg/sharedseg/internal/layout"
	"github.com/sharedseg/sharedseg/internal/member"
	"github.com/sharedseg/sharedseg/internal/park"
	"github.com/sharedseg/sharedseg/internal/step"
)

const (
	waitSpins = 2000                   // looks at the version before a goroutine parks: a microsecond or two
	many      = 8                      // goroutines that wait through one handle, from which on none spins
	parkFirst = 100 * time.Millisecond // a writer that dies between disarming and waking delays a watcher so long,
	parkLast  = time.Second            // or up to that if nothing happened for as long: more looks would cost CPU
	pollFirst = 20 * time.Microsecond
	pollLast  = time.Millisecond
)

// Wait waits for a version newer than after, and returns the current one then. It ends with ctx's error when ctx
// is done, and with fs.ErrClosed when the handle is closed. It may return ErrCorrupt.
//
// However many goroutines wait through one handle, one thread is parked. A Reader that may not write even the
// segment's wait page polls instead, every millisecond when nothing happens.
func (r *handle[T]) Wait(ctx context.Context, after uint64) (uint64, error) {
	version, err := r.wait(ctx, after)
	return version, wrap("wait", r.name, err)
}

func (r *handle[T]) wait(ctx context.Context, after uint64) (version uint64, err error) {
	var begun time.Time // when the first look was in vain
	parked := false
	for {
		if version, err = r.spin(after, begun); err != nil {
			return 0, err
		}
		if err := ctx.Err(); err != nil {
			return 0, err
		}
		if version > after {
			if !begun.IsZero() {
				r.news.eager.waited(time.Since(begun))
			}
			fence.Acquire(r.member.Key)
			return version, nil
		}
		if begun.IsZero() {
			begun = time.Now()
		}
		changed, err := r.news.subscribe(version)
		if err != nil {
			return 0, err
		}
		// The pump may have told the others of a newer version before this goroutine subscribed.
		if r.Version() <= after {
			if !parked {
				parked = true
				r.member.Count(layout.Waits)
			}
			select {
			case <-changed:
			case <-ctx.Done():
			}
		}
		r.news.unsubscribe()
	}
}

// spin looks for a version newer than after for a short while, and returns the current one. The while is longer if
// that promises something, but not for a goroutine that was in vain once, nor for more than one at a time. Beside
// many, who need the processor, it looks once.
func (r *handle[T]) spin(after uint64, begun time.Time) (version uint64, err error) {
	look := func() bool {
		for range waitSpins {
			if version = r.seq.Version(); version > after {
				return true
			}
		}
		return false
	}
	err = r.member.Use(func() error {
		version = r.seq.Version()
		if version > after || r.news.subscribers.Load() >= many {
			return nil
		}
		found := look()
		if !found && begun.IsZero() && r.news.eager.spins() && r.news.spinning.CompareAndSwap(false, true) {
			defer r.news.spinning.Store(false)
			for until := time.Now().Add(eagerFor); !found && !r.closed() && time.Now().Before(until); found = look() {
				runtime.Gosched()
			}
			if !found && !r.closed() {
				r.news.eager.vain()
			}
		}
		if found {
			r.news.eager.fruitful()
		}
		return nil
	})
	return version, r.member.Verdict(err)
}

// Watch returns the current value, if something was stored yet, and then each newer one as it is published; of
// versions that follow each other faster than the loop takes them, it returns the newest only. A value that
// does not decode is an error in its place. When ctx is done or the handle closed, the last pair has that error.
//
//	for v, err := range s.Watch(ctx) {
//		if err != nil {
//			return err
//		}
//		…
//	}
func (r *handle[T]) Watch(ctx context.Context) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		var zero T
		for seen := uint64(0); ; {
			waited, err := r.wait(ctx, seen)
			if err != nil {
				yield(zero, wrap("watch", r.name, err))
				return
			}
			var v T
			version, err := r.load(ctx, &v)
			if err != nil {
				if ctx.Err() != nil || r.closed() {
					continue // Wait ends the loop with that error
				}
				v = zero
			}
			if !yield(v, err) {
				return
			}
			seen = max(version, waited)
		}
	}
}

// news tells the goroutines of one handle of new versions. A pump goroutine does so while somebody subscribes: it
// parks on the version word for all of them, and closes a channel when it changes.
//
// The flag on the wait page tells the writers of all processes whether anyone is parked, so that a Store without
// watchers makes no system call. Whoever parks sets it first and then looks at the version; a writer clears it,
// publishes, looks at it again, and wakes everyone if it was set either time. So a flag that is set is never
// lost: cleared before the publication, its owner sees the new version or is woken after it; set later, it stays
// for the next writer. That a flag is cleared once keeps a watcher that died from costing more than one wake-up.
type news struct {
	use     func(func() error) error
	crowd   *park.Crowd
	version *uint64        // in mem
	flag    *atomic.Uint32 // nil if it may not be written

	eager    eagerness
	spinning atomic.Bool // a goroutine spins for longer because of that

	mu          sync.Mutex
	subscribers atomic.Int32 // changes under mu
	changed     chan struct{}
	pumping     bool
	failed      error // why there can be no news any more
	pump        sync.WaitGroup
}

func (n *news) init(m *member.Member) {
	n.use = m.Use
	n.version = &m.Words.Versions()[1]
	n.crowd = m.Crowd
	if m.WaitPage != nil {
		n.flag = layout.WaitFlag(m.WaitPage)
	}
	n.changed = make(chan struct{})
}

// disarm clears the flag before a publication, and reports whether it was set.
func (n *news) disarm() bool { return n.flag.Load() != 0 && n.flag.Swap(0) != 0 }

// wake wakes the watchers of all processes, who have seen the version before this one, if the flag was or is set.
// It stands after the unlock that follows the publication, whose compare-and-swap keeps the look at the flag
// behind the store of the version.
func (n *news) wake(version uint64, armed bool) {
	if armed || n.flag.Load() != 0 {
		n.wakeAll(version)
	}
}

func (n *news) wakeAll(version uint64) {
	step.At(step.WatchersWaking)
	n.crowd.Wake(uint32(version - 1))
	step.At(step.WatchersWoken)
}

// subscribe returns a channel that is closed when there is a newer version than seen.
func (n *news) subscribe(seen uint64) (<-chan struct{}, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.failed != nil {
		return nil, n.failed
	}
	n.subscribers.Add(1)
	if !n.pumping {
		n.pumping = true
		n.pump.Go(func() { n.run(seen) })
	}
	return n.changed, nil
}

func (n *news) unsubscribe() {
	n.mu.Lock()
	n.subscribers.Add(-1)
	n.mu.Unlock()
}

// run is the pump. seen is the version that the subscriber who started it knows.
func (n *news) run(seen uint64) {
	pause, limit := pollFirst, parkFirst
	for n.wanted() {
		err := n.use(func() error {
			if n.flag != nil {
				n.flag.Store(1)
				step.At(step.WatchArmed)
			}
			now := atomic.LoadUint64(n.version)
			switch {
			case now != seen:
				seen, pause, limit = now, pollFirst, parkFirst
				n.broadcast(nil)
				// Those who were told come first: parked, this goroutine would keep its P from them for a while.
				runtime.Gosched()
			case n.flag != nil:
				step.At(step.WatchParking)
				begun := time.Now()
				n.crowd.Wait(uint32(seen), limit)
				step.At(step.WatchAwake)
				if time.Since(begun) >= limit { // else it was woken, perhaps in vain
					limit = min(2*limit, parkLast)
				}
			default:
				time.Sleep(pause)
				pause = min(2*pause, pollLast)
			}
			return nil
		})
		if err != nil {
			n.broadcast(err)
		}
	}
}

// wanted reports whether the pump is to go on, and records it if it is not.
func (n *news) wanted() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.pumping = n.subscribers.Load() > 0 && n.failed == nil
	return n.pumping
}

func (n *news) broadcast(failed error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.failed == nil {
		n.failed = failed
		close(n.changed)
		n.changed = make(chan struct{})
	}
}

// close ends all subscriptions and the pump. It returns when the pump no longer uses the mapping.
func (n *news) close() {
	n.broadcast(fs.ErrClosed)
	n.mu.Lock()
	pumping := n.pumping
	n.mu.Unlock()
	if !pumping {
		return
	}
	ended := make(chan struct{})
	go func() {
		n.pump.Wait()
		close(ended)
	}()
	for {
		n.crowd.Kick()
		select {
		case <-ended:
			return
		case <-time.After(time.Millisecond):
		}
	}
}

package ipcsync_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"testing"
	"time"

	"github.com/sharedseg/sharedseg/internal/proctest"
	"github.com/sharedseg/sharedseg/sync"
)

func init() { roles["sleeper"] = sleeper }

// As long as no process dies, no sleep has to end by its limit: each lock wakes
// those that can continue. The processes of this test set no limits.
func TestNoWakeUpIsLost(t *testing.T) {
	for kind := range sleepers {
		t.Run(kind, func(t *testing.T) {
			p := proctest.Start(t, "sleeper", kind, proctest.Name(t), strconv.Itoa(10*kills()))
			p.Expect("done")
			p.Wait()
		})
	}
}

// sleepers open a lock and return a function that makes goroutines wait and
// wakes them once, and one that closes the lock.
var sleepers = map[string]func(name string) (round func(ctx context.Context) error, close func() error, err error){
	"rwmutex":   drainer,
	"semaphore": acquirer,
	"cond":      signaller,
	"event":     setter,
}

// sleeper KIND NAME ROUNDS runs at most that number of rounds of a kind of
// sleepers.
func sleeper(args []string) error {
	ipcsync.NoLimits()
	rounds, err := strconv.Atoi(args[2])
	if err != nil {
		return err
	}
	round, close, err := sleepers[args[0]](args[1])
	if err != nil {
		return err
	}
	// The test waits for Patience, and a busy machine may take long.
	for begun := time.Now(); rounds > 0 && time.Since(begun) < proctest.Patience/4; rounds-- {
		ctx, cancel := context.WithTimeout(context.Background(), proctest.Patience/2)
		err := round(ctx)
		cancel()
		if err != nil {
			return err
		}
	}
	fmt.Println("done")
	return close()
}

// pause pauses for a time in which goroutines that were started before begin to
// wait, or spin, or sleep.
func pause() { time.Sleep(time.Duration(rand.IntN(400)) * time.Microsecond) }

// all runs functions concurrently.
func all(fs ...func() error) (wait func() error) {
	errs := make(chan error, len(fs))
	for _, f := range fs {
		go func() { errs <- f() }()
	}
	return func() (err error) {
		for range fs {
			err = errors.Join(err, <-errs)
		}
		return err
	}
}

// three opens three handles of a lock.
func three[T interface{ Close() error }](open func() (T, error)) (h [3]T, close func() error, err error) {
	for i := range h {
		var e error
		h[i], e = open()
		err = errors.Join(err, e)
	}
	return h, func() error { return errors.Join(h[0].Close(), h[1].Close(), h[2].Close()) }, err
}

// drainer makes a writer wait for two readers.
func drainer(name string) (func(ctx context.Context) error, func() error, error) {
	h, close, err := three(func() (*ipcsync.RWMutex, error) { return ipcsync.OpenRWMutex(name, nil) })
	return func(ctx context.Context) error {
		if err := errors.Join(h[0].RLock(ctx), h[1].RLock(ctx)); err != nil {
			return err
		}
		written := all(func() error { return h[2].Lock(ctx) })
		pause()
		read := all(h[0].RUnlock, h[1].RUnlock)
		return errors.Join(read(), written(), h[2].Unlock())
	}, close, err
}

// acquirer makes goroutines wait for different numbers of permits.
func acquirer(name string) (func(ctx context.Context) error, func() error, error) {
	h, close, err := three(func() (*ipcsync.Semaphore, error) { return ipcsync.OpenSemaphore(name, 4, nil) })
	return func(ctx context.Context) error {
		if err := h[0].Acquire(ctx, 4); err != nil {
			return err
		}
		take := func(s *ipcsync.Semaphore, n int64) func() error {
			return func() error {
				err := s.Acquire(ctx, n)
				if err == nil {
					err = s.Release(n)
				}
				return err
			}
		}
		taken := all(take(h[1], 1), take(h[1], 2), take(h[1], 1), take(h[2], 3))
		pause()
		given := all(func() error { return h[0].Release(1) }, func() error { return h[0].Release(3) })
		return errors.Join(given(), taken())
	}, close, err
}

// signaller makes goroutines wait for a Cond, releases some of them one by one,
// and then the others.
func signaller(name string) (func(ctx context.Context) error, func() error, error) {
	h, close, err := three(func() (place, error) { return openPlace(name, nil) })
	return func(ctx context.Context) error {
		const waiters = 5
		back, waiting := make(chan error, waiters), make(chan error, waiters)
		for i := range waiters {
			p := h[min(i, 1)]
			go func() {
				if err := p.m.Lock(ctx); err != nil {
					waiting <- err
					return
				}
				waiting <- nil
				if err := p.Wait(ctx); err != nil {
					back <- err
					return
				}
				back <- p.m.Unlock()
			}()
		}
		for range waiters {
			if err := <-waiting; err != nil {
				return err
			}
		}
		if err := errors.Join(h[2].m.Lock(ctx), h[2].m.Unlock()); err != nil { // all of them wait
			return err
		}
		pause()
		signals := rand.IntN(waiters + 1)
		for range signals {
			if err := h[2].Signal(); err != nil {
				return err
			}
			if rand.IntN(2) == 0 {
				pause()
			}
		}
		for i := range waiters {
			if i == signals {
				if err := h[2].Broadcast(); err != nil {
					return err
				}
			}
			if err := <-back; err != nil {
				return err
			}
		}
		return nil
	}, close, err
}

// setter makes goroutines wait for an Event, and sets it after and beside a
// Reset. A Reset of an event that is not set must not cost its waiters the
// wake-up of the next Set.
func setter(name string) (func(ctx context.Context) error, func() error, error) {
	h, close, err := three(func() (*ipcsync.Event, error) { return ipcsync.OpenEvent(name, nil) })
	return func(ctx context.Context) error {
		wait := func(e *ipcsync.Event) func() error { return func() error { return e.Wait(ctx) } }
		waited := all(wait(h[0]), wait(h[1]), wait(h[1]))
		pause()
		err := error(nil)
		if rand.IntN(2) == 0 {
			err = h[2].Reset()
		}
		changed := all(h[1].Set, h[2].Reset, h[2].Set)
		err = errors.Join(err, changed(), h[0].Set(), waited())
		return errors.Join(err, h[0].Reset())
	}, close, err
}

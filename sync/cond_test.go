package ipcsync_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sharedseg/sharedseg"
	"github.com/sharedseg/sharedseg/internal/proctest"
	"github.com/sharedseg/sharedseg/sync"
)

func init() {
	roles["condwaiter"] = condWaiter
	roles["consumer"] = consumer
}

// A place is a Cond and its mutex. The mutex has the name of the place, the
// Cond that name with a suffix.
type place struct {
	*ipcsync.Cond
	m *ipcsync.Mutex
}

func openPlace(name string, repair func() error) (place, error) {
	m, err := ipcsync.OpenMutex(name, &ipcsync.Options{Repair: repair})
	if err != nil {
		return place{}, err
	}
	c, err := ipcsync.OpenCond(name+".cond", m, nil)
	if err != nil {
		m.Close()
	}
	return place{c, m}, err
}

func (p place) Close() error { return errors.Join(p.Cond.Close(), p.m.Close()) }

// waits locks the mutex, waits once and unlocks it.
func (p place) waits(ctx context.Context) error {
	if err := p.m.Lock(ctx); err != nil {
		return err
	}
	if err := p.Wait(ctx); err != nil {
		return err
	}
	return p.m.Unlock()
}

func nothing() error { return nil }

func testPlace(t testing.TB, name string, repair func() error) place {
	t.Helper()
	p, err := openPlace(name, repair)
	must(t, err)
	proctest.CloseAtEnd(t, p)
	return p
}

// condWaiter waits once at the place NAME.
func condWaiter(args []string) error {
	p, err := openPlace(args[0], nothing)
	if err != nil {
		return err
	}
	if err := p.m.Lock(context.Background()); err != nil {
		return err
	}
	fmt.Println("waiting") // once the mutex can be locked again, it waits
	if err := p.Wait(context.Background()); err != nil {
		return err
	}
	fmt.Println("woken")
	return errors.Join(p.m.Unlock(), p.Close())
}

// locked returns when all waiters that have announced it wait: they announce it
// with the mutex locked.
func locked(t *testing.T, p place) {
	t.Helper()
	must(t, p.m.Lock(patient(t)))
	must(t, p.m.Unlock())
}

// A Signal wakes exactly one waiter, and a Broadcast wakes all.
func TestCond(t *testing.T) {
	name := proctest.Name(t)
	places := []place{testPlace(t, name, nil), testPlace(t, name, nil), testPlace(t, name, nil)}
	p := places[0]
	must(t, p.Signal()) // nobody waits, and it is not remembered
	must(t, p.Broadcast())
	const waiters = 6
	for round := range 20 {
		var waiting atomic.Int64
		got := make(chan error, waiters)
		for i := range waiters {
			p := places[i%len(places)]
			go func() {
				if err := p.m.Lock(patient(t)); err != nil {
					got <- err
					return
				}
				waiting.Add(1)
				err := p.Wait(patient(t))
				if err == nil {
					err = p.m.Unlock()
				}
				got <- err
			}()
		}
		proctest.Eventually(t, "all goroutines wait", func() bool { return waiting.Load() == waiters })
		locked(t, p)
		signals := round % (waiters + 1)
		for i := range signals {
			if i%2 == 0 {
				must(t, p.m.Lock(patient(t)))
			}
			must(t, places[i%len(places)].Signal())
			if i%2 == 0 {
				must(t, p.m.Unlock())
			}
		}
		for range signals {
			must(t, proctest.Receive(t, got))
		}
		time.Sleep(time.Millisecond)
		if len(got) > 0 {
			t.Fatalf("after %d Signals one more Wait has returned: %v", signals, <-got)
		}
		must(t, p.Broadcast())
		for range waiters - signals {
			must(t, proctest.Receive(t, got))
		}
	}
}

// Signals wake the goroutines of a handle in the order in which they began to
// wait.
func TestCondOrder(t *testing.T) {
	p := testPlace(t, proctest.Name(t), nil)
	const waiters = 5
	order := make(chan int, waiters)
	for i := range waiters {
		var waiting atomic.Bool
		go func() {
			if err := p.m.Lock(patient(t)); err != nil {
				t.Error(err)
			}
			waiting.Store(true)
			if err := p.Wait(patient(t)); err != nil {
				t.Error(err)
			}
			order <- i
			p.m.Unlock()
		}()
		proctest.Eventually(t, "the goroutine waits", waiting.Load)
		locked(t, p)
	}
	for i := range waiters {
		must(t, p.Signal())
		if got := proctest.Receive(t, order); got != i {
			t.Errorf("waiter %d was woken, want %d", got, i)
		}
	}
}

// Misuse returns an error. After any other error of Wait the mutex is unlocked.
func TestCondErrors(t *testing.T) {
	name := proctest.Name(t)
	p, other := testPlace(t, name, nil), testPlace(t, name, nil)
	want(t, p.Wait(t.Context()), sharedseg.ErrNotOwner)
	must(t, other.m.Lock(t.Context()))
	want(t, p.Wait(t.Context()), sharedseg.ErrNotOwner)
	must(t, other.m.Unlock())
	free := func() {
		t.Helper()
		if p.m.Held() {
			t.Error("the mutex is held")
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	go func() { time.Sleep(5 * time.Millisecond); cancel() }()
	want(t, p.waits(ctx), context.Canceled)
	free()
	must(t, p.m.Lock(t.Context()))
	want(t, p.Wait(ctx), context.Canceled)
	free()
	_, err := ipcsync.OpenCond(name+".cond", nil, nil)
	want(t, err, fs.ErrInvalid)

	// A Signal whose waiter fails to lock the mutex again does not go to a
	// waiter that comes later.
	got, gives := make(chan error, 1), make(chan error, 1)
	ending, end := context.WithCancel(t.Context())
	go func() { gives <- p.waits(ending) }()
	proctest.Parked(t, ".(*Cond).await(")
	must(t, other.m.Lock(t.Context()))
	must(t, other.Signal())
	end()
	want(t, proctest.Receive(t, gives), context.Canceled)
	must(t, other.m.Unlock())
	go func() { got <- other.waits(patient(t)) }()
	proctest.Parked(t, ".(*Cond).await(")
	if len(got) != 0 {
		t.Error("a waiter that came after the Signal was woken")
	}
	must(t, p.Signal())
	must(t, proctest.Receive(t, got))

	q, err := openPlace(name, nil)
	must(t, err)
	for range 3 {
		go func() { got <- q.waits(context.Background()) }()
	}
	proctest.Parked(t, ".(*Cond).await(")
	must(t, q.Cond.Close())
	for range 3 {
		want(t, proctest.Receive(t, got), fs.ErrClosed)
	}
	want(t, q.Signal(), fs.ErrClosed)
	want(t, q.Broadcast(), fs.ErrClosed)
	must(t, q.m.Lock(t.Context()))
	want(t, q.Wait(t.Context()), fs.ErrClosed)
	if q.m.Held() {
		t.Error("the mutex is held")
	}
	must(t, q.Close())

	var within place
	within = testPlace(t, name, func() error {
		want(t, within.Wait(t.Context()), sharedseg.ErrReentrant)
		return within.Signal()
	})
	q, err = openPlace(name, nil)
	must(t, err)
	must(t, q.m.Lock(t.Context()))
	must(t, q.m.Close())
	want(t, q.Wait(t.Context()), fs.ErrClosed)
	must(t, q.Close())
	must(t, within.m.Lock(t.Context()))
	must(t, within.m.Unlock())
}

// A Signal whose waiter fails to lock the mutex again goes to another waiter,
// of the same handle or of another.
func TestCondGivesUp(t *testing.T) {
	for _, same := range []bool{false, true} {
		for first := range 2 { // the waiter that gives up
			name := proctest.Name(t)
			holder := testPlace(t, name, nil)
			places := []place{testPlace(t, name, nil), testPlace(t, name, nil)}
			if same {
				places[1] = places[0]
			}
			ctx, cancel := context.WithCancel(t.Context())
			gives, gets := make(chan error, 1), make(chan error, 1)
			for i, p := range places {
				ctx, got := ctx, gives
				if i != first {
					ctx, got = patient(t), gets
				}
				waiting := make(chan error, 1)
				go func() {
					err := p.m.Lock(ctx)
					waiting <- err
					if err == nil {
						err = p.Wait(ctx)
					}
					if err == nil {
						err = p.m.Unlock()
					}
					got <- err
				}()
				must(t, proctest.Receive(t, waiting))
				locked(t, holder)
			}
			must(t, holder.m.Lock(t.Context()))
			must(t, holder.Signal())
			cancel()
			want(t, proctest.Receive(t, gives), context.Canceled)
			must(t, holder.m.Unlock())
			must(t, proctest.Receive(t, gets))
		}
	}
}

// A Signal whose waiter is killed before it returns goes to another waiter. The
// mutex is locked meanwhile, so that no waiter can return. If this process
// opens the Cond last, its turn comes last, and the first Signals release the
// victims.
func TestCondKilledWaiter(t *testing.T) {
	rounds := 18
	if testing.Short() {
		rounds = 6 // each order with each number of victims once
	}
	for round := range rounds {
		victims := 1 + round%3
		for _, signals := range []int{1, 1 + victims} {
			name := proctest.Name(t) // the state that the dead leave could wake a waiter without need
			p := testPlace(t, name, nothing)
			got := make(chan error, 1)
			wait := func() {
				mine := testPlace(t, name, nothing)
				go func() { got <- mine.waits(patient(t)) }()
				proctest.Parked(t, ".(*Cond).await(")
			}
			if round%2 == 0 {
				wait()
			}
			ps := proctest.StartGroup(t, victims, "condwaiter", name)
			ps.Expect("waiting")
			if round%2 != 0 {
				wait()
			}
			must(t, p.m.Lock(patient(t)))
			for range signals {
				must(t, p.Signal())
			}
			ps.Kill()
			must(t, p.m.Unlock())
			must(t, proctest.Receive(t, got))
		}
	}
}

// consumer calls take at the place NAME with the pair in FILE, until it is
// killed.
func consumer(args []string) error {
	n, err := openPair(args[1])
	if err != nil {
		return err
	}
	var p place
	if p, err = openPlace(args[0], func() error { return errors.Join(n.repair(), p.Broadcast()) }); err != nil {
		return err
	}
	fmt.Println("ready")
	return take(context.Background(), p, n, func() {})
}

// take waits until the numbers of the pair are odd, and makes them even, again
// and again.
func take(ctx context.Context, p place, n pair, took func()) error {
	for {
		if err := p.m.Lock(ctx); err != nil {
			return err
		}
		for {
			left, _, err := n.load()
			if err != nil {
				return err
			}
			if left%2 == 1 {
				break
			}
			if err := p.Wait(ctx); err != nil {
				return err
			}
		}
		if err := errors.Join(n.increment(), p.m.Unlock()); err != nil {
			return err
		}
		took()
	}
}

// give makes the numbers of the pair odd and signals, if they are even.
func give(ctx context.Context, p place, n pair) error {
	if err := p.m.Lock(ctx); err != nil {
		return err
	}
	left, _, err := n.load()
	if err == nil && left%2 == 0 {
		err = errors.Join(n.increment(), p.Signal())
	}
	return errors.Join(err, p.m.Unlock())
}

// Wherever a waiter is killed, a Signal reaches the live waiters.
func TestCondKilledAnywhere(t *testing.T) {
	name, path := proctest.Name(t), filepath.Join(proctest.TempDir(t), "pair")
	n, err := openPair(path)
	must(t, err)
	defer n.f.Close()
	var p place
	p = testPlace(t, name, func() error { return errors.Join(n.repair(), p.Broadcast()) })
	taker := testPlace(t, name, func() error { return errors.Join(n.repair(), p.Broadcast()) })
	ctx, cancel := context.WithCancel(t.Context())
	var taken atomic.Int64
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := take(ctx, taker, n, func() { taken.Add(1) }); !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
	for range kills() {
		dies := proctest.Start(t, "consumer", name, path)
		dies.Expect("ready")
		begun := time.Now()
		stop := time.Duration(rand.IntN(3000)) * time.Microsecond
		for time.Since(begun) < stop {
			must(t, give(patient(t), p, n))
		}
		dies.Kill()
		must(t, give(patient(t), p, n))
		proctest.Eventually(t, "a waiter was woken", func() bool {
			must(t, p.m.Lock(patient(t)))
			left, _, err := n.load()
			must(t, errors.Join(err, p.m.Unlock()))
			return left%2 == 0
		})
	}
	cancel()
	wg.Wait()
}

package ipcsync_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sharedseg/sharedseg"
	"github.com/sharedseg/sharedseg/internal/layout"
	"github.com/sharedseg/sharedseg/internal/proctest"
	"github.com/sharedseg/sharedseg/sync"
)

// bench is a mutex word and the owners of its handles. The test decides which
// of them are dead.
type bench struct {
	word  atomic.Uint32
	dead  [8]atomic.Bool // indexed by identity
	asked func()         // runs before Alive answers
}

type fakeOwner struct {
	*bench
	self uint32
}

func (o fakeOwner) Self() uint32 { return o.self }

func (o fakeOwner) Alive(owner uint32) bool {
	if o.asked != nil {
		o.asked()
	}
	return !o.dead[owner].Load()
}

// handle returns the handle with identity self, which is 1 to 7.
func (b *bench) handle(self uint32, repair func() error) *ipcsync.Mutex {
	return ipcsync.NewMutex(&b.word, fakeOwner{b, self}, repair)
}

// is fails the test if the word is not want.
func (b *bench) is(t *testing.T, want uint32) {
	t.Helper()
	if got := b.word.Load(); got != want {
		t.Errorf("the word is %#x, want %#x", got, want)
	}
}

// leave sets the word to the state in which the owner died with the mutex
// locked.
func (b *bench) leave(owner, flags uint32) {
	b.dead[owner].Store(true)
	b.word.Store(owner | flags)
}

// parked returns when a goroutine waits, or is about to.
func (b *bench) parked(t *testing.T) {
	t.Helper()
	proctest.Eventually(t, "a goroutine waits", func() bool { return b.word.Load()&layout.WaitersBit != 0 })
}

func TestStates(t *testing.T) {
	var w bench
	a, b := w.handle(1, nil), w.handle(2, nil)
	try := func(m *ipcsync.Mutex, want bool) {
		t.Helper()
		if locked, err := m.TryLock(); locked != want || err != nil {
			t.Errorf("TryLock = %v, %v, want %v", locked, err, want)
		}
	}
	held := func(inA, inB bool) {
		t.Helper()
		if a.Held() != inA || b.Held() != inB {
			t.Errorf("Held: %v and %v, want %v and %v", a.Held(), b.Held(), inA, inB)
		}
	}
	held(false, false)
	want(t, a.Unlock(), sharedseg.ErrNotOwner)
	must(t, a.Lock(t.Context()))
	w.is(t, 1)
	held(true, false)
	try(a, false)
	try(b, false)
	want(t, b.Unlock(), sharedseg.ErrNotOwner)
	held(true, false)
	must(t, a.Unlock())
	w.is(t, 0)
	want(t, a.Unlock(), sharedseg.ErrNotOwner)
	try(b, true)
	held(false, true)
	try(a, false)
	must(t, b.Unlock())
	w.is(t, 0)
}

// A handle owns the mutex, not a goroutine.
func TestUnlockElsewhere(t *testing.T) {
	var w bench
	m := w.handle(1, nil)
	must(t, m.Lock(t.Context()))
	unlocked := make(chan error)
	go func() { unlocked <- m.Unlock() }()
	must(t, proctest.Receive(t, unlocked))
	w.is(t, 0)
}

// contend adds 1 to a plain variable from several goroutines of each handle. It
// returns the number of additions and the sum. Some calls of Lock give up.
func contend(t *testing.T, handles []*ipcsync.Mutex, ctx context.Context) (want, got int) {
	const goroutines, rounds = 4, 1000
	var all sync.WaitGroup
	var locked atomic.Int64
	for _, m := range handles {
		for range goroutines {
			all.Go(func() {
				for range rounds {
					c := ctx
					if rand.IntN(20) == 0 {
						var cancel context.CancelFunc
						c, cancel = context.WithTimeout(ctx, time.Duration(rand.IntN(200))*time.Microsecond)
						defer cancel()
					}
					err := m.Lock(c)
					if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
						continue
					}
					if err != nil {
						t.Error(err)
						return
					}
					locked.Add(1)
					got++
					if err := m.Unlock(); err != nil {
						t.Error(err)
						return
					}
				}
			})
		}
	}
	all.Wait()
	return int(locked.Load()), got
}

func TestContention(t *testing.T) {
	var w bench
	want, got := contend(t, []*ipcsync.Mutex{w.handle(1, nil), w.handle(2, nil), w.handle(3, nil)}, patient(t))
	if got != want {
		t.Errorf("locked %d times, counted %d", want, got)
	}
	w.is(t, 0)
}

// The mutex of a dead owner is taken over, Repair runs while it is held, and
// parked waiters are not forgotten.
func TestDeadOwner(t *testing.T) {
	for _, flags := range []uint32{0, layout.WaitersBit} {
		for _, call := range []string{"Lock", "TryLock"} {
			t.Run(fmt.Sprintf("%s/flags=%#x", call, flags), func(t *testing.T) {
				var w bench
				w.leave(1, flags)
				repairs := 0
				var m *ipcsync.Mutex
				m = w.handle(2, func() error {
					repairs++
					if !m.Held() {
						t.Error("Repair runs while the mutex is not held")
					}
					return nil
				})
				must(t, lockBy(call, m))
				if repairs != 1 {
					t.Errorf("Repair ran %d times", repairs)
				}
				w.is(t, 2|flags)
				must(t, m.Unlock())
				w.is(t, 0)
				must(t, lockBy(call, m))
				if repairs != 1 {
					t.Error("Repair ran again")
				}
			})
		}
	}
}

// lockBy locks the mutex by Lock or TryLock. A TryLock that does not lock is an
// error.
func lockBy(call string, m *ipcsync.Mutex) error {
	if call == "Lock" {
		return m.Lock(context.Background())
	}
	locked, err := m.TryLock()
	if locked != (err == nil) {
		return fmt.Errorf("TryLock = %v, %v", locked, err)
	}
	return err
}

// Waiters notice the death of the owner, and lock the mutex one after the
// other.
func TestOwnerDiesBeforeWaiters(t *testing.T) {
	var w bench
	must(t, w.handle(1, nil).Lock(t.Context()))
	var repairs atomic.Int32
	got := make(chan error)
	for self := range uint32(3) {
		m := w.handle(2+self, func() error { repairs.Add(1); return nil })
		go func() { got <- errors.Join(m.Lock(patient(t)), m.Unlock()) }()
	}
	w.parked(t)
	w.dead[1].Store(true)
	for range 3 {
		must(t, proctest.Receive(t, got))
	}
	if repairs.Load() != 1 {
		t.Errorf("Repair ran %d times", repairs.Load())
	}
}

// Until a Repair succeeds, the mutex is free but every lock by any handle
// returns ErrOwnerDied.
func TestNoRepair(t *testing.T) {
	var w bench
	w.leave(1, layout.WaitersBit)
	broken := errors.New("cannot be repaired")
	outcome := broken
	plain, failing := w.handle(2, nil), w.handle(3, func() error { return outcome })
	for _, call := range []string{"Lock", "TryLock", "Lock"} {
		want(t, lockBy(call, plain), sharedseg.ErrOwnerDied)
		w.is(t, layout.InconsistentBit)
		err := lockBy(call, failing)
		want(t, err, sharedseg.ErrOwnerDied)
		want(t, err, broken)
		w.is(t, layout.InconsistentBit)
		if plain.Held() || failing.Held() {
			t.Error("held after an error")
		}
		want(t, failing.Unlock(), sharedseg.ErrNotOwner)
	}
	outcome = nil
	for _, m := range []*ipcsync.Mutex{failing, plain} {
		must(t, m.Lock(t.Context()))
		must(t, m.Unlock())
	}
	w.is(t, 0)
}

// Every waiter learns of the death if no handle can repair.
func TestNoRepairBeforeWaiters(t *testing.T) {
	var w bench
	must(t, w.handle(1, nil).Lock(t.Context()))
	got := make(chan error)
	for self := range uint32(3) {
		m := w.handle(2+self, nil)
		go func() { got <- m.Lock(patient(t)) }()
	}
	w.parked(t)
	w.dead[1].Store(true)
	for range 3 {
		want(t, proctest.Receive(t, got), sharedseg.ErrOwnerDied)
	}
}

func TestRepairPanics(t *testing.T) {
	var w bench
	for _, call := range []string{"Lock", "TryLock"} {
		w.leave(1, 0)
		panicking := w.handle(2, func() error { panic("repair") })
		func() {
			defer func() {
				if p := recover(); p != "repair" {
					t.Errorf("recovered %v", p)
				}
			}()
			t.Error("returned", lockBy(call, panicking))
		}()
		w.is(t, layout.InconsistentBit)
		want(t, w.handle(3, nil).Lock(t.Context()), sharedseg.ErrOwnerDied)
		m := w.handle(4, func() error { return nil })
		must(t, m.Lock(t.Context()))
		must(t, m.Unlock())
		w.is(t, 0)
		must(t, panicking.Lock(t.Context()))
		must(t, panicking.Unlock())
	}
}

// A context ends a Lock without a trace, even while another goroutine of the
// handle waits.
func TestContext(t *testing.T) {
	var w bench
	a, b := w.handle(1, nil), w.handle(2, nil)
	cause := errors.New("the cause")
	done, cancel := context.WithCancelCause(t.Context())
	cancel(cause)
	want(t, a.Lock(done), context.Canceled)
	w.is(t, 0)

	must(t, a.Lock(t.Context()))
	waits, stopWaiting := context.WithCancel(t.Context())
	got := make(chan error)
	go func() { got <- b.Lock(waits) }()
	w.parked(t)
	want(t, b.Lock(during(t, 20*time.Millisecond)), context.DeadlineExceeded)
	want(t, a.Lock(during(t, 20*time.Millisecond)), context.DeadlineExceeded)
	stopWaiting()
	want(t, proctest.Receive(t, got), context.Canceled)
	if !a.Held() || b.Held() {
		t.Error("the owner has changed")
	}
	must(t, a.Unlock())
	for _, m := range []*ipcsync.Mutex{b, a} {
		must(t, m.Lock(patient(t)))
		must(t, m.Unlock())
	}
	w.is(t, 0)
}

// The lock is never taken from a live owner, however long it holds it.
func TestLiveOwner(t *testing.T) {
	var w bench
	a := w.handle(1, nil)
	b := w.handle(2, func() error { t.Error("Repair runs"); return nil })
	must(t, a.Lock(t.Context()))
	want(t, b.Lock(during(t, 100*time.Millisecond)), context.DeadlineExceeded)
	if locked, err := b.TryLock(); locked || err != nil {
		t.Errorf("TryLock = %v, %v", locked, err)
	}
	must(t, a.Unlock())
}

// Stop ends the waiting calls of all goroutines of its handle, and of no other
// handle. It does not unlock.
func TestStop(t *testing.T) {
	var w bench
	a, b, c := w.handle(1, nil), w.handle(2, nil), w.handle(3, nil)
	must(t, a.Lock(t.Context()))
	stopped, others := make(chan error), make(chan error)
	for range 3 {
		go func() { stopped <- b.Lock(patient(t)) }()
	}
	go func() { others <- c.Lock(patient(t)) }()
	time.Sleep(10 * time.Millisecond)
	b.Stop()
	for range 3 {
		want(t, proctest.Receive(t, stopped), fs.ErrClosed)
	}
	b.Stop()
	a.Stop()
	if !a.Held() {
		t.Error("Stop has unlocked")
	}
	must(t, a.Unlock())
	must(t, proctest.Receive(t, others))
	for _, call := range []string{"Lock", "TryLock"} {
		want(t, lockBy(call, b), fs.ErrClosed) // held by another
	}
	must(t, c.Unlock())
	for _, call := range []string{"Lock", "TryLock"} {
		want(t, lockBy(call, b), fs.ErrClosed) // free
	}
	w.is(t, 0)

	w.leave(4, 0)
	for _, call := range []string{"Lock", "TryLock"} {
		want(t, lockBy(call, b), fs.ErrClosed) // left by a dead owner
	}
	w.is(t, 4)
}

// A handle that is stopped while it takes the mutex over releases it without a
// repair.
func TestStoppedTakeover(t *testing.T) {
	var w bench
	w.leave(1, 0)
	m := w.handle(2, func() error { t.Error("Repair runs"); return nil })
	stopped := make(chan error)
	w.asked = func() {
		go func() { m.Stop(); stopped <- nil }()
		for !errors.Is(lockBy("TryLock", m), fs.ErrClosed) {
			time.Sleep(time.Millisecond)
		}
	}
	want(t, lockBy("Lock", m), fs.ErrClosed)
	must(t, proctest.Receive(t, stopped))
	w.is(t, layout.InconsistentBit)
}

// Stop waits for a running Repair. No other handle locks the mutex meanwhile,
// and the handle does not keep it.
func TestStopDuringRepair(t *testing.T) {
	for _, call := range []string{"Lock", "TryLock"} {
		var w bench
		w.leave(1, 0)
		repairing, goOn := make(chan bool), make(chan bool)
		m := w.handle(2, func() error { close(repairing); <-goOn; return nil })
		got, stopped := make(chan error, 1), make(chan bool)
		go func() { got <- lockBy(call, m) }()
		proctest.Receive(t, repairing)
		go func() { m.Stop(); close(stopped) }()
		proctest.Eventually(t, "Stop has begun", func() bool { return errors.Is(lockBy("TryLock", m), fs.ErrClosed) })
		if locked, err := w.handle(3, nil).TryLock(); locked || err != nil {
			t.Errorf("TryLock of another = %v, %v", locked, err)
		}
		select {
		case <-stopped:
			t.Errorf("Stop does not wait for the Repair of %s", call)
		case <-time.After(20 * time.Millisecond):
		}
		close(goOn)
		want(t, proctest.Receive(t, got), fs.ErrClosed)
		proctest.Receive(t, stopped)
		w.is(t, 0)
	}
}

// A waiter that has parked cannot know whether others have. So its Unlock
// wakes.
func TestWaitersBit(t *testing.T) {
	var w bench
	a, b := w.handle(1, nil), w.handle(2, nil)
	must(t, a.Lock(t.Context()))
	got := make(chan error)
	go func() { got <- b.Lock(patient(t)) }()
	w.parked(t)
	must(t, a.Unlock())
	must(t, proctest.Receive(t, got))
	w.is(t, 2|layout.WaitersBit)
	must(t, b.Unlock())
	w.is(t, 0)
}

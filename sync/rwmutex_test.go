package ipcsync_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/sharedseg/sharedseg"
	"github.com/sharedseg/sharedseg/internal/proctest"
	"github.com/sharedseg/sharedseg/sync"
)

func init() {
	roles["reader"] = reader
	roles["rwwriter"] = rwWriter
	roles["rwchurner"] = rwChurner
}

// openRW opens an RWMutex and closes it when the test ends.
func openRW(t testing.TB, name string, o *ipcsync.Options) *ipcsync.RWMutex {
	t.Helper()
	rw, err := ipcsync.OpenRWMutex(name, o)
	must(t, err)
	proctest.CloseAtEnd(t, rw)
	return rw
}

// reader holds the read lock of the RWMutex NAME twice until the test says
// something.
func reader(args []string) error {
	rw, err := ipcsync.OpenRWMutex(args[0], nil)
	if err != nil {
		return err
	}
	defer rw.Close()
	for range 2 {
		if err := rw.RLock(context.Background()); err != nil {
			return err
		}
	}
	fmt.Println("reading")
	proctest.Await()
	return errors.Join(rw.RUnlock(), rw.RUnlock())
}

// rwWriter holds the write lock of the RWMutex NAME until the test says
// something.
func rwWriter(args []string) error {
	rw, err := ipcsync.OpenRWMutex(args[0], nil)
	if err != nil {
		return err
	}
	defer rw.Close()
	if err := rw.Lock(context.Background()); err != nil {
		return err
	}
	fmt.Println("writing")
	proctest.Await()
	return rw.Unlock()
}

func TestRWMutex(t *testing.T) {
	name := proctest.Name(t)
	a, b := openRW(t, name, nil), openRW(t, name, nil)
	no := func(locked bool, err error) {
		t.Helper()
		if locked || err != nil {
			t.Errorf("locked = %v, %v, want false", locked, err)
		}
	}
	yes := func(locked bool, err error) {
		t.Helper()
		if !locked || err != nil {
			t.Errorf("locked = %v, %v, want true", locked, err)
		}
	}
	must(t, a.RLock(patient(t)))
	must(t, b.RLock(patient(t)))
	yes(b.TryRLock())
	no(a.TryLock())
	no(b.TryLock())
	want(t, a.Lock(during(t, 20*time.Millisecond)), context.DeadlineExceeded)
	yes(a.TryRLock()) // a writer that gave up does not keep readers out
	must(t, a.RUnlock())
	must(t, a.RUnlock())
	want(t, a.RUnlock(), sharedseg.ErrNotOwner)
	want(t, a.Unlock(), sharedseg.ErrNotOwner)
	no(a.TryLock())
	must(t, b.RUnlock())
	must(t, b.RUnlock())
	yes(a.TryLock())
	no(b.TryLock())
	no(b.TryRLock())
	no(a.TryRLock())
	want(t, b.RLock(during(t, 20*time.Millisecond)), context.DeadlineExceeded)
	want(t, b.Lock(during(t, 20*time.Millisecond)), context.DeadlineExceeded)
	want(t, b.RUnlock(), sharedseg.ErrNotOwner)
	want(t, b.Unlock(), sharedseg.ErrNotOwner)
	must(t, a.Unlock())
	must(t, b.Lock(patient(t)))
	must(t, b.Unlock())
	must(t, a.RLock(patient(t)))
	must(t, a.RUnlock())
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	want(t, a.Lock(ctx), context.Canceled)
	want(t, a.RLock(ctx), context.Canceled)
	yes(a.TryLock())
	must(t, a.Unlock())
}

// A waiting writer keeps new readers out. It locks when the old readers have
// unlocked, and the new readers follow it.
func TestRWMutexWaits(t *testing.T) {
	name := proctest.Name(t)
	a, b, c := openRW(t, name, nil), openRW(t, name, nil), openRW(t, name, nil)
	for range 20 {
		must(t, a.RLock(patient(t)))
		wrote, read := make(chan error, 1), make(chan error, 3)
		go func() { wrote <- b.Lock(patient(t)) }()
		for locked := true; locked; time.Sleep(100 * time.Microsecond) { // until the writer has the word
			var err error
			locked, err = c.TryRLock()
			must(t, err)
			if locked {
				must(t, c.RUnlock())
			}
		}
		for i := range cap(read) {
			go func() { read <- []*ipcsync.RWMutex{a, b, c}[i].RLock(patient(t)) }()
		}
		time.Sleep(time.Duration(rand.IntN(3000)) * time.Microsecond)
		if len(wrote) != 0 || len(read) != 0 {
			t.Fatalf("writers that locked during a read lock: %d; readers that locked while a writer waited: %d", len(wrote), len(read))
		}
		must(t, a.RUnlock())
		must(t, proctest.Receive(t, wrote))
		if len(read) != 0 {
			t.Fatal("a reader locked during a write lock")
		}
		must(t, b.Unlock())
		for range cap(read) {
			must(t, proctest.Receive(t, read))
		}
		for _, rw := range []*ipcsync.RWMutex{a, b, c} {
			must(t, rw.RUnlock())
		}
	}
}

// When two readers are killed, the next writer soon has the lock.
func TestKilledReaders(t *testing.T) {
	name := proctest.Name(t)
	rw := openRW(t, name, &ipcsync.Options{Repair: func() error {
		t.Error("Repair runs after the death of a reader")
		return nil
	}})
	worst := time.Duration(0)
	for i := range 10 {
		ps := proctest.StartGroup(t, 2, "reader", name)
		ps.Expect("reading")
		if locked, err := rw.TryLock(); locked || err != nil {
			t.Fatalf("TryLock during read locks = %v, %v", locked, err)
		}
		got := make(chan error, 1)
		if i%2 == 0 {
			go func() { got <- rw.Lock(patient(t)) }()
			time.Sleep(20 * time.Millisecond)
		}
		ps.Kill()
		begun := time.Now()
		if i%2 == 1 {
			got <- rw.Lock(patient(t))
		}
		must(t, proctest.Receive(t, got))
		worst = max(worst, time.Since(begun))
		must(t, rw.Unlock())
		must(t, rw.RLock(patient(t)))
		must(t, rw.RUnlock())
	}
	t.Logf("the slowest Lock took %v", worst)
	if worst > time.Second {
		t.Error("that is too slow")
	}
}

// After a writer was killed, the next Lock or RLock returns ErrOwnerDied or
// runs Repair, once.
func TestKilledWriter(t *testing.T) {
	name := proctest.Name(t)
	repairs := 0
	plain := openRW(t, name, nil)
	mends := openRW(t, name, &ipcsync.Options{Repair: func() error { repairs++; return nil }})
	for i := range kills() {
		p := proctest.Start(t, "rwwriter", name)
		p.Expect("writing")
		lock, unlock := plain.Lock, plain.Unlock
		if i%2 == 1 {
			lock, unlock = plain.RLock, plain.RUnlock
		}
		got := make(chan error, 1)
		if i%4 < 2 {
			go func() { got <- lock(patient(t)) }()
			time.Sleep(time.Duration(rand.IntN(5000)) * time.Microsecond)
			p.Kill()
		} else {
			p.Kill()
			got <- lock(patient(t))
		}
		want(t, proctest.Receive(t, got), sharedseg.ErrOwnerDied)
		want(t, unlock(), sharedseg.ErrNotOwner)
		if i%3 == 0 {
			must(t, mends.RLock(patient(t)))
			must(t, mends.RUnlock())
		} else {
			must(t, mends.Lock(patient(t)))
			must(t, mends.Unlock())
		}
		if repairs != i+1 {
			t.Fatalf("after death %d, Repair ran %d times", i+1, repairs)
		}
		must(t, lock(patient(t)))
		must(t, unlock())
	}
}

// Repair runs with the write lock, even if the writer died while it waited for
// readers.
func TestRepairBesideReaders(t *testing.T) {
	name := proctest.Name(t)
	var repairs sync.Map
	reads := openRW(t, name, nil)
	next := openRW(t, name, &ipcsync.Options{Repair: func() error { repairs.Store(1, true); return nil }})
	for _, lock := range []func(context.Context) error{next.Lock, next.RLock} {
		repairs.Clear()
		must(t, reads.RLock(patient(t)))
		p := proctest.Start(t, "rwwriter", name)
		for locked := true; locked; time.Sleep(time.Millisecond) { // until the writer has the word
			var err error
			locked, err = next.TryRLock()
			must(t, err)
			if locked {
				must(t, next.RUnlock())
			}
		}
		p.Kill()
		want(t, lock(during(t, 50*time.Millisecond)), context.DeadlineExceeded)
		if locked, err := next.TryRLock(); locked || err != nil {
			t.Errorf("TryRLock before the repair = %v, %v", locked, err)
		}
		if _, ran := repairs.Load(1); ran {
			t.Error("Repair ran during a read lock")
		}
		must(t, reads.RUnlock())
		must(t, lock(patient(t)))
		if _, ran := repairs.Load(1); !ran {
			t.Error("Repair did not run")
		}
		if next.Unlock() != nil {
			must(t, next.RUnlock())
		}
	}
}

// rwChurner NAME FILE COUNT reads and increments the pair in FILE under the
// RWMutex NAME, COUNT times, or until it is killed if COUNT is 0.
func rwChurner(args []string) error {
	p, err := openPair(args[1])
	if err != nil {
		return err
	}
	n, err := strconv.Atoi(args[2])
	if err != nil {
		return err
	}
	rw, err := ipcsync.OpenRWMutex(args[0], &ipcsync.Options{Repair: p.repair})
	if err != nil {
		return err
	}
	defer rw.Close()
	fmt.Println("ready")
	return churn(rw, p, n)
}

// churn reads and increments a pair n times, or for ever if n is 0.
func churn(rw *ipcsync.RWMutex, p pair, n int) error {
	for i := 0; n == 0 || i < n; i++ {
		for range rand.IntN(4) {
			if err := rw.RLock(context.Background()); err != nil {
				return err
			}
			a, b, err := p.load()
			if err == nil && a != b {
				err = fmt.Errorf("a reader sees %d and %d", a, b)
			}
			if err := errors.Join(err, rw.RUnlock()); err != nil {
				return err
			}
		}
		if err := rw.Lock(context.Background()); err != nil {
			return err
		}
		if err := errors.Join(p.increment(), rw.Unlock()); err != nil {
			return err
		}
	}
	return nil
}

func TestRWMutexProcesses(t *testing.T) {
	const procs, rounds = 3, 2000
	name, path := proctest.Name(t), filepath.Join(proctest.TempDir(t), "pair")
	openRW(t, name, nil)
	proctest.StartGroup(t, procs, "rwchurner", name, path, strconv.Itoa(rounds)).Wait()
	checkPair(t, path, procs*rounds)
}

// Wherever a process is killed, the others continue, and the next to lock the
// mutex finds the numbers equal. Goroutines share a handle.
func TestRWMutexKilledAnywhere(t *testing.T) {
	name, path := proctest.Name(t), filepath.Join(proctest.TempDir(t), "pair")
	p, err := openPair(path)
	must(t, err)
	defer p.f.Close()
	rw := openRW(t, name, &ipcsync.Options{Repair: p.repair})
	lives := proctest.Start(t, "rwchurner", name, path, "0")
	lives.Expect("ready")
	for range kills() {
		dies := proctest.Start(t, "rwchurner", name, path, "0")
		dies.Expect("ready")
		time.Sleep(time.Duration(rand.IntN(3000)) * time.Microsecond)
		dies.Kill()
		var wg sync.WaitGroup
		for range 3 {
			wg.Go(func() {
				if err := churn(rw, p, 2); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
	}
	lives.Kill()
	must(t, rw.Lock(patient(t))) // otherwise the lock stays
	must(t, rw.Unlock())
}

// The error of a wait names a holder.
func TestRWMutexNamesTheHolder(t *testing.T) {
	name := proctest.Name(t)
	rw := openRW(t, name, nil)
	for _, c := range []struct{ role, ready, text string }{
		{"reader", "reading", "context deadline exceeded; read by process %d (a hint)"},
		{"rwwriter", "writing", "context deadline exceeded; held by process %d (a hint)"},
	} {
		p := proctest.Start(t, c.role, name)
		p.Expect(c.ready)
		err := rw.Lock(during(t, 10*time.Millisecond))
		want(t, err, context.DeadlineExceeded)
		if text := fmt.Sprintf("sharedseg: lock "+name+": "+c.text, p.Pid()); err == nil || err.Error() != text {
			t.Errorf("error is %v, want %s", err, text)
		}
		p.Say("enough")
		p.Wait()
	}
	must(t, rw.RLock(patient(t)))
	if err := rw.Lock(during(t, 10*time.Millisecond)); err == nil || err.Error() != "sharedseg: lock "+name+": context deadline exceeded; read by this handle" {
		t.Error(err)
	}
	must(t, rw.RUnlock())
}

// Close releases read locks and wakes waiters. If the handle holds the write
// lock, Close counts as the death of a writer.
func TestRWMutexClose(t *testing.T) {
	name := proctest.Name(t)
	a := openRW(t, name, nil)
	b, err := ipcsync.OpenRWMutex(name, nil)
	must(t, err)
	must(t, b.RLock(patient(t)))
	got := make(chan error, 1)
	go func() { got <- a.Lock(patient(t)) }()
	time.Sleep(5 * time.Millisecond)
	must(t, b.Close())
	must(t, proctest.Receive(t, got))
	want(t, b.RUnlock(), fs.ErrClosed)
	want(t, b.RLock(t.Context()), fs.ErrClosed)
	want(t, b.Lock(t.Context()), fs.ErrClosed)
	if _, err := b.TryRLock(); !errors.Is(err, fs.ErrClosed) {
		t.Error(err)
	}
	if _, err := b.TryLock(); !errors.Is(err, fs.ErrClosed) {
		t.Error(err)
	}
	must(t, a.Unlock())
	must(t, b.Close())

	for _, wait := range []func(*ipcsync.RWMutex) error{
		func(rw *ipcsync.RWMutex) error { return rw.Lock(context.Background()) },
		func(rw *ipcsync.RWMutex) error { return rw.RLock(context.Background()) },
	} {
		for _, hold := range []func(context.Context) error{a.Lock, a.RLock} {
			must(t, hold(patient(t)))
			b, err := ipcsync.OpenRWMutex(name, nil)
			must(t, err)
			go func() { got <- wait(b) }()
			time.Sleep(5 * time.Millisecond)
			must(t, b.Close())
			if err := proctest.Receive(t, got); err != nil { // a reader does not wait for a reader
				want(t, err, fs.ErrClosed)
			}
			if a.Unlock() != nil {
				must(t, a.RUnlock())
			}
			must(t, a.Lock(patient(t)))
			must(t, a.Unlock())
		}
	}

	b, err = ipcsync.OpenRWMutex(name, nil)
	must(t, err)
	must(t, b.Lock(patient(t)))
	must(t, b.Close())
	want(t, a.RLock(patient(t)), sharedseg.ErrOwnerDied)
	mends := openRW(t, name, &ipcsync.Options{Repair: func() error { return nil }})
	must(t, mends.Lock(patient(t)))
	must(t, mends.Unlock())
}

// The death of the only user, a writer, is remembered, and the name cannot be
// opened as another kind.
func TestRWMutexKilledAlone(t *testing.T) {
	repairs := 0
	o := &ipcsync.Options{Dir: proctest.TempDir(t), Repair: func() error { repairs++; return nil }}
	rw, err := ipcsync.OpenRWMutex("rw", o)
	must(t, err)
	must(t, rw.Lock(patient(t)))
	must(t, rw.Close())
	_, err = ipcsync.OpenMutex("rw", o)
	want(t, err, sharedseg.ErrIncompatible)
	_, err = ipcsync.OpenSemaphore("rw", 1, o)
	want(t, err, sharedseg.ErrIncompatible)
	rw = openRW(t, "rw", o)
	must(t, rw.RLock(patient(t)))
	must(t, rw.RUnlock())
	if repairs != 1 {
		t.Errorf("Repair ran %d times", repairs)
	}
	must(t, rw.Close())
	m, err := ipcsync.OpenMutex("rw", o)
	must(t, err)
	must(t, m.Close())
}

// Lock and RLock within Repair return ErrReentrant.
func TestRWMutexReentrant(t *testing.T) {
	name := proctest.Name(t)
	var rw *ipcsync.RWMutex
	rw = openRW(t, name, &ipcsync.Options{Repair: func() error {
		want(t, rw.RLock(t.Context()), sharedseg.ErrReentrant)
		want(t, rw.Lock(t.Context()), sharedseg.ErrReentrant)
		want(t, rw.Close(), sharedseg.ErrReentrant)
		return nil
	}})
	for _, lock := range []func(context.Context) error{rw.Lock, rw.RLock} {
		b, err := ipcsync.OpenRWMutex(name, nil)
		must(t, err)
		must(t, b.Lock(patient(t)))
		must(t, b.Close())
		must(t, lock(patient(t)))
		if rw.Unlock() != nil {
			must(t, rw.RUnlock())
		}
	}
}

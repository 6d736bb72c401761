package ipcsync_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sharedseg/sharedseg"
	"github.com/sharedseg/sharedseg/internal/proctest"
	"github.com/sharedseg/sharedseg/sync"
)

func init() { roles["dropper"] = dropper }

// Every method runs concurrently with Close, and in some rounds with Stop
// before it. A call either succeeds or returns fs.ErrClosed, and always
// fs.ErrClosed if it begins after Close has returned. By then the memory is
// unmapped, and other handles can lock the mutex.
func TestCloseRace(t *testing.T) {
	rounds := 100
	if testing.Short() {
		rounds = 20
	}
	for round := range rounds {
		closeRace(t, round)
	}
}

func closeRace(t *testing.T, round int) {
	name := proctest.Name(t)
	other := open(t, name, &ipcsync.Options{Repair: func() error { return nil }})
	before, known := proctest.Mappings(name)
	if known && len(before) == 0 {
		t.Fatal("the mapping is not listed")
	}
	m := open(t, name, &ipcsync.Options{Repair: func() error { return nil }})
	var closed atomic.Bool // Close has returned
	var calls, closes sync.WaitGroup
	// allowed are errors that a call can also return.
	try := func(what string, call func() error, allowed ...error) {
		for range 2 {
			calls.Go(func() {
				for ; ; runtime.Gosched() {
					late := closed.Load()
					err := call()
					if errors.Is(err, fs.ErrClosed) {
						return
					}
					for _, a := range allowed {
						if errors.Is(err, a) {
							err = nil
						}
					}
					if err != nil || late {
						t.Errorf("%s, begun after Close: %v, returned %v", what, late, err)
						return
					}
				}
			})
		}
	}
	ctx := patient(t)
	// Any goroutine may unlock the mutex. The goroutines that do so without
	// having locked it make the Unlock of others fail.
	try("Lock", func() error { return m.Lock(ctx) })
	try("Lock and Unlock", func() error {
		if err := m.Lock(ctx); err != nil {
			return err
		}
		return m.Unlock()
	}, sharedseg.ErrNotOwner)
	try("Lock with little time", func() error {
		soon, cancel := context.WithTimeout(ctx, 50*time.Microsecond)
		defer cancel()
		err := m.Lock(soon)
		if closed.Load() && errors.Is(err, context.DeadlineExceeded) {
			return fs.ErrClosed
		}
		return err
	}, context.DeadlineExceeded)
	try("TryLock", func() error { _, err := m.TryLock(); return err })
	try("Unlock", m.Unlock, sharedseg.ErrNotOwner)
	try("Held", func() error {
		if closed.Load() && !m.Held() {
			return fs.ErrClosed
		}
		return nil
	})
	try("another's Lock and Unlock", func() error {
		if closed.Load() {
			return fs.ErrClosed
		}
		if err := other.Lock(ctx); err != nil {
			return err
		}
		return other.Unlock()
	}, sharedseg.ErrNotOwner)

	time.Sleep(time.Duration(round%10) * 100 * time.Microsecond)
	for i := range 3 {
		closes.Go(func() {
			if i == 0 && round%4 < 2 {
				m.Stop()
			}
			if err := m.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	closes.Wait()
	closed.Store(true)
	if after, _ := proctest.Mappings(name); len(after) != len(before) {
		t.Errorf("the memory is still mapped after Close: %v", after)
	}
	calls.Wait()
	must(t, other.Lock(ctx))
	must(t, other.Unlock())
	must(t, other.Close())
}

// A late Lock of a closed handle briefly changes memory that is not shared.
// Other late calls do not see that.
func TestLateCalls(t *testing.T) {
	m := open(t, proctest.Name(t), nil)
	must(t, m.Close())
	var locks sync.WaitGroup
	defer locks.Wait()
	ctx := t.Context()
	for range 2 {
		locks.Go(func() {
			for range 100_000 {
				want(t, m.Lock(ctx), fs.ErrClosed)
			}
		})
	}
	for range 100_000 {
		want(t, m.Unlock(), fs.ErrClosed)
		if m.Held() {
			t.Fatal("held after Close")
		}
	}
}

// The garbage collector closes unreachable handles.
func TestDroppedHandles(t *testing.T) {
	var names []string
	for range 10 {
		names = append(names, proctest.Name(t))
		m, err := ipcsync.OpenMutex(names[len(names)-1], nil)
		must(t, err)
		must(t, m.Lock(t.Context()))
		must(t, m.Unlock())
	}
	for _, name := range names {
		proctest.Eventually(t, "the handle is closed", func() bool {
			runtime.GC()
			_, err := sharedseg.Stat(name, nil)
			return errors.Is(err, fs.ErrNotExist)
		})
	}
}

// dropper locks the mutex NAME and drops its handle.
func dropper(args []string) error {
	m, err := ipcsync.OpenMutex(args[0], nil)
	if err != nil {
		return err
	}
	if err := m.Lock(context.Background()); err != nil {
		return err
	}
	for range 5 {
		runtime.GC()
		time.Sleep(10 * time.Millisecond)
	}
	fmt.Println("dropped")
	proctest.Await()
	return nil
}

// A handle that becomes unreachable while it holds the mutex holds it until its
// process exits, because no clean-up may unlock it.
func TestDroppedOwner(t *testing.T) {
	name := proctest.Name(t)
	repairs := 0
	m := open(t, name, &ipcsync.Options{Repair: func() error { repairs++; return nil }})
	p := proctest.Start(t, "dropper", name)
	p.Expect("dropped")
	if locked, err := m.TryLock(); locked || err != nil {
		t.Errorf("TryLock = %v, %v", locked, err)
	}
	p.Wait()
	must(t, m.Lock(patient(t)))
	must(t, m.Unlock())
	if repairs != 1 {
		t.Errorf("Repair ran %d times", repairs)
	}
}

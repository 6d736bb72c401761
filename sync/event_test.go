package ipcsync_test

import (
	"context"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sharedseg/sharedseg/internal/proctest"
	"github.com/sharedseg/sharedseg/sync"
)

func init() { roles["awaiter"] = awaiter }

func openEvent(t testing.TB, name string, o *ipcsync.Options) *ipcsync.Event {
	t.Helper()
	e, err := ipcsync.OpenEvent(name, o)
	must(t, err)
	proctest.CloseAtEnd(t, e)
	return e
}

// awaiter waits for the event NAME. Only a wake-up ends its sleep.
func awaiter(args []string) error {
	ipcsync.NoLimits()
	e, err := ipcsync.OpenEvent(args[0], nil)
	if err != nil {
		return err
	}
	fmt.Println("waiting")
	if err := e.Wait(context.Background()); err != nil {
		return err
	}
	fmt.Println("set")
	return e.Close()
}

func TestEvent(t *testing.T) {
	name := proctest.Name(t)
	a, b := openEvent(t, name, nil), openEvent(t, name, nil)
	if a.IsSet() {
		t.Error("a new event is set")
	}
	want(t, a.Wait(during(t, 5*time.Millisecond)), context.DeadlineExceeded)
	for range 3 {
		must(t, a.Set())
		must(t, b.Set())
		if !a.IsSet() || !b.IsSet() {
			t.Error("it is not set")
		}
		must(t, b.Wait(t.Context()))
		must(t, b.Reset())
		must(t, a.Reset())
		if a.IsSet() || b.IsSet() {
			t.Error("it is still set")
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	must(t, a.Set())
	want(t, a.Wait(ctx), context.Canceled)
	c, err := ipcsync.OpenEvent(name, nil)
	must(t, err)
	must(t, c.Close())
	must(t, c.Close())
	want(t, c.Wait(t.Context()), fs.ErrClosed)
	want(t, c.Set(), fs.ErrClosed)
	want(t, c.Reset(), fs.ErrClosed)
	if c.IsSet() {
		t.Error("IsSet of a closed handle is true")
	}
}

// Set wakes all waiters, even if a Reset follows at once.
func TestEventSetReset(t *testing.T) {
	name := proctest.Name(t)
	set := openEvent(t, name, nil)
	const waiters = 4
	var begun atomic.Int64
	done := make(chan error, waiters)
	handles := []*ipcsync.Event{openEvent(t, name, nil), openEvent(t, name, nil)}
	for range 100 {
		begun.Store(0)
		for i := range waiters {
			go func() {
				begun.Add(1)
				done <- handles[i%2].Wait(patient(t))
			}()
		}
		proctest.Parked(t, ".(*Event).Wait(")
		proctest.Eventually(t, "all goroutines have begun", func() bool { return begun.Load() == waiters })
		for over := 0; over < waiters; { // a goroutine could begin to wait only after a Set
			must(t, set.Set())
			must(t, set.Reset())
			select {
			case err := <-done:
				must(t, err)
				over++
			case <-time.After(time.Duration(rand.IntN(300)) * time.Microsecond):
			}
		}
	}
}

// The death of waiters costs the others no wake-up.
func TestEventKilledWaiter(t *testing.T) {
	name := proctest.Name(t)
	e := openEvent(t, name, nil)
	for range 5 {
		ps := proctest.StartGroup(t, 4, "awaiter", name)
		ps.Expect("waiting")
		time.Sleep(10 * time.Millisecond)
		ps[:2].Kill()
		must(t, e.Set())
		ps[2:].Expect("set")
		ps[2:].Wait()
		must(t, e.Reset())
	}
}

func TestEventCloseEndsWaits(t *testing.T) {
	e, err := ipcsync.OpenEvent(proctest.Name(t), nil)
	must(t, err)
	got := make(chan error, 3)
	for range cap(got) {
		go func() { got <- e.Wait(context.Background()) }()
	}
	proctest.Parked(t, ".(*Event).Wait(")
	must(t, e.Close())
	for range cap(got) {
		want(t, proctest.Receive(t, got), fs.ErrClosed)
	}
}

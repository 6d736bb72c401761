package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"testing"

	"github.com/sharedseg/sharedseg/internal/park"
	"github.com/sharedseg/sharedseg/internal/proctest"
	"github.com/sharedseg/sharedseg/sync"
)

func init() {
	// use holds each lock in DIR in one way: the RWMutex twice for reading, and
	// three permits of the semaphore. It waits for the Cond.
	roles["use"] = func(args []string) error {
		ctx, o := context.Background(), &ipcsync.Options{Dir: args[0]}
		rw, err := ipcsync.OpenRWMutex("rw", o)
		if err == nil {
			err = errors.Join(rw.RLock(ctx), rw.RLock(ctx))
		}
		if err != nil {
			return err
		}
		s, err := ipcsync.OpenSemaphore("sem", 8, o)
		if err == nil {
			err = s.Acquire(ctx, 3)
		}
		if err != nil {
			return err
		}
		m, err := ipcsync.OpenMutex("m", o)
		if err != nil {
			return err
		}
		c, err := ipcsync.OpenCond("cond", m, o)
		if err == nil {
			err = m.Lock(ctx)
		}
		if err != nil {
			return err
		}
		fmt.Println("ready")
		return errors.Join(c.Wait(ctx), m.Unlock(), c.Close(), m.Close(), s.Close(), rw.Close())
	}
	// write holds the RWMutex NAME in DIR for writing.
	roles["write"] = func(args []string) error {
		rw, err := ipcsync.OpenRWMutex(args[0], &ipcsync.Options{Dir: args[1]})
		if err != nil {
			return err
		}
		if err := rw.Lock(context.Background()); err != nil {
			return err
		}
		fmt.Println("held")
		proctest.Await()
		return errors.Join(rw.Unlock(), rw.Close())
	}
}

// TestOtherLocks shows the holders of each kind of lock, and that dead
// processes hold nothing.
func TestOtherLocks(t *testing.T) {
	dir := proctest.TempDir(t)
	o := &ipcsync.Options{Dir: dir}
	rw, err := ipcsync.OpenRWMutex("rw", o)
	must(t, err)
	defer rw.Close()
	s, err := ipcsync.OpenSemaphore("sem", 8, o)
	must(t, err)
	defer s.Close()
	m, err := ipcsync.OpenMutex("m", o)
	must(t, err)
	defer m.Close()
	c, err := ipcsync.OpenCond("cond", m, o)
	must(t, err)
	defer c.Close()
	e, err := ipcsync.OpenEvent("event", o)
	must(t, err)
	defer e.Close()
	shows := func(name, state, stat string) {
		t.Helper()
		has(t, "ls", row(t, comes(t, state, "ls", "-dir", dir), name), " "+state)
		has(t, "stat", works(t, "stat", "-dir", dir, name), stat)
	}
	shows("rw", "free", "lock readers  0\n")
	shows("sem", "0 of 8 permits used", "permits     8\n")
	shows("cond", "0 waiting", "waiting     0\n")
	shows("event", "not set", "set         false\n")
	must(t, e.Set())
	shows("event", "set", "set         true\n")
	has(t, "stat -json", works(t, "stat", "-json", "-dir", dir, "event"), `"kind":"event"`, `"set":true`)

	p := proctest.Start(t, "use", dir)
	p.Expect("ready")
	by := fmt.Sprintf("(processes: %d)\n", p.Pid())
	must(t, s.Acquire(t.Context(), 2))
	shows("sem", "5 of 8 permits used", fmt.Sprintf("used        5 (processes: %d %d)\n", os.Getpid(), p.Pid()))
	shows("rw", "held by 2 readers", "lock readers  2 "+by)
	shows("cond", "1 waiting", "waiting     1 "+by)
	object := works(t, "stat", "-json", "-dir", dir, "sem")
	has(t, "stat -json", object, `"permits":8,"used":5,"users":[`+fmt.Sprintf("%d,%d]", os.Getpid(), p.Pid()), `"waited":false`)

	// A writer waits for the readers, and goroutines for the semaphore and for
	// the event.
	w := proctest.Start(t, "write", "rw", dir)
	next := fmt.Sprintf("held by 2 readers, next: process %d", w.Pid())
	shows("rw", next, next)
	must(t, e.Reset())
	ctx, cancel := context.WithCancel(t.Context())
	waits := make(chan error)
	go func() { waits <- s.Acquire(ctx, 8) }()
	go func() { waits <- e.Wait(t.Context()) }()
	if park.Words() > 0 { // otherwise the waiters poll, and cannot be seen
		shows("sem", "5 of 8 permits used, waited for", "waited for  true\n")
		shows("event", "not set, waited for", "waited for  true\n")
	}
	must(t, e.Set())
	must(t, <-waits)
	shows("event", "set", "waited for  false\n")
	cancel()
	if err := <-waits; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}

	p.Kill()
	w.Expect("held")
	held := fmt.Sprintf("held by process %d", w.Pid())
	shows("rw", held, "lock readers  0\n")
	shows("sem", "2 of 8 permits used", fmt.Sprintf("used        2 (processes: %d)\n", os.Getpid()))
	shows("cond", "0 waiting", "waiting     0\n")
	w.Kill()
	shows("rw", fmt.Sprintf("owner died (process %d)", w.Pid()), "owner died")
}

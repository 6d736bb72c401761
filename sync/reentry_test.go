package ipcsync_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/sharedseg/sharedseg"
	"github.com/sharedseg/sharedseg/internal/goroutine"
	"github.com/sharedseg/sharedseg/internal/proctest"
	"github.com/sharedseg/sharedseg/sync"
)

// A Repair that would wait for itself gets ErrReentrant at once, and the handle
// goes on.
func TestReentrantRepair(t *testing.T) {
	if goroutine.ID() == 0 {
		t.Skip("this machine does not tell which goroutine calls")
	}
	within := func(m *ipcsync.Mutex) error {
		want(t, m.Lock(context.Background()), sharedseg.ErrReentrant)
		if locked, err := m.TryLock(); locked || err != nil {
			t.Errorf("TryLock = %v, %v", locked, err)
		}
		want(t, m.Close(), sharedseg.ErrReentrant)
		want(t, m.Stop(), sharedseg.ErrReentrant)
		return nil
	}
	check := func(m *ipcsync.Mutex) {
		t.Helper()
		done := make(chan error, 1)
		go func() {
			err := m.Lock(context.Background())
			// Repair has returned, so this goroutine is not within it any more.
			soon, cancel := context.WithTimeout(context.Background(), 10*time.Millisecond)
			defer cancel()
			if err := m.Lock(soon); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("second Lock: %v", err)
			}
			done <- errors.Join(err, m.Unlock(), m.Stop(), m.Close())
		}()
		must(t, proctest.Receive(t, done))
	}

	var w bench
	w.leave(1, 0)
	var m *ipcsync.Mutex
	m = w.handle(2, func() error { return within(m) })
	check(m)
	w.is(t, 0)

	name := proctest.Name(t)
	ran := false
	o := &ipcsync.Options{Repair: func() error { ran = true; return within(m) }}
	var err error
	m, err = ipcsync.OpenMutex(name, o)
	must(t, err)
	p := proctest.Start(t, "owner", name)
	p.Expect("locked")
	p.Kill()
	check(m)
	if !ran {
		t.Error("Repair did not run")
	}
}

// A Repair may wait for another mutex, which another goroutine repairs.
func TestNotReentrantRepair(t *testing.T) {
	var v, w bench
	v.leave(1, 0)
	w.leave(1, 0)
	repairing, goOn := make(chan bool), make(chan bool)
	a := v.handle(2, func() error { close(repairing); <-goOn; return nil })
	b := w.handle(2, func() error {
		time.AfterFunc(20*time.Millisecond, func() { close(goOn) })
		return a.Lock(patient(t))
	})
	done := make(chan error, 2)
	go func() { done <- errors.Join(a.Lock(patient(t)), a.Unlock()) }()
	proctest.Receive(t, repairing)
	go func() { done <- b.Lock(patient(t)) }()
	must(t, proctest.Receive(t, done))
	must(t, proctest.Receive(t, done))
	must(t, errors.Join(a.Unlock(), b.Unlock()))
}

// If a context ends a wait, the error names the holder of the mutex.
func TestWaitNamesTheHolder(t *testing.T) {
	check := func(holder string, locks ...*ipcsync.Mutex) {
		t.Helper()
		for _, m := range locks {
			got := make(chan error, 2)
			for range cap(got) { // one waits for the word, the other for its turn to wait
				go func() { got <- m.Lock(during(t, 20*time.Millisecond)) }()
			}
			for range cap(got) {
				err := proctest.Receive(t, got)
				want(t, err, context.DeadlineExceeded)
				if err != nil && !strings.HasSuffix(err.Error(), "context deadline exceeded; held by "+holder) {
					t.Errorf("%v; want: held by %s", err, holder)
				}
			}
		}
	}
	var w bench
	a, b := w.handle(1, nil), w.handle(2, nil)
	must(t, a.Lock(t.Context()))
	check("this handle", a)
	check("another handle", b)
	must(t, a.Unlock())

	name := proctest.Name(t)
	c, d := open(t, name, nil), open(t, name, nil)
	must(t, c.Lock(t.Context()))
	check("this handle", c)
	check(fmt.Sprintf("another handle of this process, %d (a hint)", os.Getpid()), d)
	must(t, c.Unlock())
	p := proctest.Start(t, "owner", name)
	p.Expect("locked")
	check(fmt.Sprintf("process %d (a hint)", p.Pid()), c, d)
	p.Say("unlock")
	p.Wait()

	// If the call did not wait, the error names nobody.
	done, cancel := context.WithCancel(t.Context())
	cancel()
	if err := c.Lock(done); !errors.Is(err, context.Canceled) || !strings.HasSuffix(err.Error(), ": context canceled") {
		t.Errorf("Lock with a context that is done: %v", err)
	}
}

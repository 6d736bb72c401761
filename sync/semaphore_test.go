package ipcsync_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sharedseg/sharedseg"
	"github.com/sharedseg/sharedseg/internal/proctest"
	"github.com/sharedseg/sharedseg/sync"
)

func init() {
	roles["permitted"] = permitted
	roles["sharer"] = sharer
}

func openSem(t testing.TB, name string, permits int64, o *ipcsync.Options) *ipcsync.Semaphore {
	t.Helper()
	s, err := ipcsync.OpenSemaphore(name, permits, o)
	must(t, err)
	proctest.CloseAtEnd(t, s)
	return s
}

// permitted NAME PERMITS N acquires N of the PERMITS of the semaphore NAME, and
// holds them until the test says something.
func permitted(args []string) error {
	s, n, err := semaphoreOf(args)
	if err != nil {
		return err
	}
	if err := s.Acquire(context.Background(), n); err != nil {
		return err
	}
	fmt.Println("acquired")
	proctest.Await()
	return s.Close()
}

func semaphoreOf(args []string) (s *ipcsync.Semaphore, n int64, err error) {
	permits, err := strconv.ParseInt(args[1], 10, 64)
	if err != nil {
		return nil, 0, err
	}
	if n, err = strconv.ParseInt(args[2], 10, 64); err != nil {
		return nil, 0, err
	}
	s, err = ipcsync.OpenSemaphore(args[0], permits, nil)
	return s, n, err
}

// tries reports whether n permits are available, and leaves them so.
func tries(t *testing.T, s *ipcsync.Semaphore, n int64) bool {
	t.Helper()
	acquired, err := s.TryAcquire(n)
	must(t, err)
	if acquired {
		must(t, s.Release(n))
	}
	return acquired
}

func TestSemaphore(t *testing.T) {
	name := proctest.Name(t)
	a, b := openSem(t, name, 5, nil), openSem(t, name, 5, nil)
	must(t, a.Acquire(t.Context(), 2))
	must(t, b.Acquire(t.Context(), 1))
	must(t, a.Acquire(t.Context(), 1))
	if tries(t, b, 2) || !tries(t, b, 1) || tries(t, a, 2) {
		t.Error("one of the 5 permits should be available")
	}
	want(t, a.Release(4), sharedseg.ErrNotOwner)
	want(t, b.Release(2), sharedseg.ErrNotOwner)
	for _, n := range []int64{0, -1, 6, 1 << 62} {
		want(t, a.Acquire(t.Context(), n), fs.ErrInvalid)
		want(t, a.Release(n), fs.ErrInvalid)
		if _, err := a.TryAcquire(n); !errors.Is(err, fs.ErrInvalid) {
			t.Errorf("TryAcquire(%d) = %v", n, err)
		}
	}
	err := b.Acquire(during(t, 10*time.Millisecond), 5)
	want(t, err, context.DeadlineExceeded)
	if err == nil || !strings.Contains(err.Error(), " and 1 others") {
		t.Errorf("the error does not name the holders: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	got := make(chan error, 1)
	go func() { got <- b.Acquire(ctx, 4) }()
	time.Sleep(5 * time.Millisecond)
	cancel()
	want(t, proctest.Receive(t, got), context.Canceled)
	want(t, b.Acquire(ctx, 1), context.Canceled)
	must(t, b.Release(1))
	want(t, b.Release(1), sharedseg.ErrNotOwner)
	go func() { got <- b.Acquire(patient(t), 4) }()
	time.Sleep(5 * time.Millisecond)
	must(t, a.Release(2))
	must(t, proctest.Receive(t, got))
	must(t, a.Release(1))
	must(t, b.Release(4))
	if !tries(t, a, 5) {
		t.Error("not all permits are available")
	}
}

// A Release wakes all waiters for which there are enough permits now, even if
// another waiter needs more.
func TestSemaphoreWakesAll(t *testing.T) {
	name := proctest.Name(t)
	a := openSem(t, name, 4, nil)
	for range 20 {
		must(t, a.Acquire(t.Context(), 4))
		var handles []*ipcsync.Semaphore
		all, ones := make(chan error, 1), make(chan error, 3)
		for i := range 1 + cap(ones) {
			s, err := ipcsync.OpenSemaphore(name, 4, nil)
			must(t, err)
			handles = append(handles, s)
			if i == 0 {
				go func() { all <- s.Acquire(patient(t), 4) }()
			} else {
				go func() { ones <- s.Acquire(patient(t), 1) }()
			}
		}
		time.Sleep(time.Duration(rand.IntN(3000)) * time.Microsecond)
		must(t, a.Release(3))
		for range cap(ones) {
			must(t, proctest.Receive(t, ones))
		}
		if len(all) != 0 {
			t.Fatal("4 permits were acquired while all were in use")
		}
		must(t, a.Release(1))
		for _, s := range handles[1:] {
			must(t, s.Close())
		}
		must(t, proctest.Receive(t, all))
		must(t, handles[0].Close())
	}
}

// The permits of 20 killed holders come back, once.
func TestKilledHolders(t *testing.T) {
	const holders, each = 20, 3
	name := proctest.Name(t)
	s := openSem(t, name, holders*each, nil)
	for round := range 2 {
		ps := proctest.StartGroup(t, holders, "permitted", name, strconv.Itoa(holders*each), strconv.Itoa(each))
		ps.Expect("acquired")
		if tries(t, s, 1) {
			t.Fatal("a permit is available although all are in use")
		}
		got := make(chan error, 1)
		if round == 0 {
			go func() { got <- s.Acquire(patient(t), holders*each) }()
		}
		ps.Kill()
		if round != 0 {
			go func() { got <- s.Acquire(patient(t), holders*each) }()
		}
		must(t, proctest.Receive(t, got))
		b := openSem(t, name, holders*each, nil)
		if tries(t, b, 1) {
			t.Error("permits are doubled")
		}
		must(t, s.Release(holders*each))
		if !tries(t, b, holders*each) {
			t.Error("not all permits are available")
		}
	}
}

// sharer NAME PERMITS N acquires and releases 1 to N of the PERMITS of the
// semaphore NAME until it is killed.
func sharer(args []string) error {
	s, n, err := semaphoreOf(args)
	if err != nil {
		return err
	}
	fmt.Println("ready")
	for {
		n := 1 + rand.Int64N(n)
		if err := s.Acquire(context.Background(), n); err != nil {
			return err
		}
		if err := s.Release(n); err != nil {
			return err
		}
	}
}

// Wherever processes are killed, no permit is lost or doubled.
func TestSemaphoreKilledAnywhere(t *testing.T) {
	const permits = 5
	name := proctest.Name(t)
	a, b := openSem(t, name, permits, nil), openSem(t, name, permits, nil)
	lives := proctest.Start(t, "sharer", name, strconv.Itoa(permits), "3")
	lives.Expect("ready")
	for range kills() {
		dies := proctest.Start(t, "sharer", name, strconv.Itoa(permits), "5")
		dies.Expect("ready")
		time.Sleep(time.Duration(rand.IntN(3000)) * time.Microsecond)
		dies.Kill()
		must(t, a.Acquire(patient(t), permits)) // none is lost
		if tries(t, b, 1) {
			t.Fatal("a permit is doubled")
		}
		must(t, a.Release(permits))
	}
}

// The goroutines of a process, through few handles, never hold more permits
// than there are.
func TestSemaphoreSum(t *testing.T) {
	const permits = 7
	name := proctest.Name(t)
	var sum atomic.Int64
	var wg sync.WaitGroup
	for range 3 {
		s := openSem(t, name, permits, nil)
		for range 3 {
			wg.Go(func() {
				for range 500 {
					n := 1 + rand.Int64N(permits)
					if err := s.Acquire(patient(t), n); err != nil {
						t.Error(err)
						return
					}
					if now := sum.Add(n); now > permits {
						t.Errorf("%d permits of %d are in use", now, permits)
					}
					sum.Add(-n)
					if err := s.Release(n); err != nil {
						t.Error(err)
						return
					}
				}
			})
		}
	}
	wg.Wait()
}

// Close releases the permits of the handle at once.
func TestSemaphoreClose(t *testing.T) {
	name := proctest.Name(t)
	a := openSem(t, name, 3, nil)
	for range 10 {
		b, err := ipcsync.OpenSemaphore(name, 3, nil)
		must(t, err)
		must(t, b.Acquire(t.Context(), 3))
		got := make(chan error, 2)
		go func() { got <- a.Acquire(patient(t), 3) }()
		c, err := ipcsync.OpenSemaphore(name, 3, nil)
		must(t, err)
		closed := make(chan error, 1)
		go func() { closed <- c.Acquire(context.Background(), 3) }()
		time.Sleep(time.Millisecond)
		must(t, c.Close())
		want(t, proctest.Receive(t, closed), fs.ErrClosed)
		must(t, b.Close())
		must(t, proctest.Receive(t, got))
		must(t, a.Release(3))
		must(t, b.Close())
		want(t, b.Acquire(t.Context(), 1), fs.ErrClosed)
		want(t, b.Release(1), fs.ErrClosed)
		if _, err := b.TryAcquire(1); !errors.Is(err, fs.ErrClosed) {
			t.Error(err)
		}
	}
}

func TestSemaphorePermits(t *testing.T) {
	name := proctest.Name(t)
	for _, n := range []int64{0, -1, ipcsync.MaxPermits + 1} {
		_, err := ipcsync.OpenSemaphore(name, n, nil)
		want(t, err, fs.ErrInvalid)
	}
	s := openSem(t, name, ipcsync.MaxPermits, nil)
	must(t, s.Acquire(t.Context(), ipcsync.MaxPermits))
	if tries(t, openSem(t, name, ipcsync.MaxPermits, nil), 1) {
		t.Error("there is one permit too many")
	}
	must(t, s.Release(ipcsync.MaxPermits))
	_, err := ipcsync.OpenSemaphore(name, 9, nil)
	want(t, err, sharedseg.ErrIncompatible)
	if text := "it has 17179869183 permits, not 9"; err == nil || !strings.Contains(err.Error(), text) {
		t.Errorf("error is %v, want %s", err, text)
	}
}

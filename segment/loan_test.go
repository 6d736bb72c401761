package segment_test

import (
	"context"
	"fmt"
	"io/fs"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/sharedseg/sharedseg"
	"github.com/sharedseg/sharedseg/codec"
	"github.com/sharedseg/sharedseg/internal/proctest"
	"github.com/sharedseg/sharedseg/segment"
)

func loan[T any](t *testing.T, s *segment.Segment[T]) *segment.Loan[T] {
	t.Helper()
	ctx := patient(t)
	l, err := s.Loan(ctx)
	must(t, err)
	return l
}

// A published Loan becomes the current version. A discarded one leaves no
// trace.
func TestLoan(t *testing.T) {
	name := proctest.Name(t)
	s := open(t, name, codec.Bytes(), &segment.Options{Capacity: 100, Slots: 2})
	other := open(t, name, codec.Bytes(), nil)
	for n := range 20 {
		text := fmt.Sprint("value ", n)
		l := loan(t, s)
		if len(l.Bytes()) != 100 || cap(l.Bytes()) != 100 || l.Value() != nil {
			t.Fatalf("room for %d bytes", len(l.Bytes()))
		}
		size := copy(l.Bytes(), text)
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Millisecond)
		want(t, other.StoreContext(ctx, nil), context.DeadlineExceeded)
		want(t, s.StoreContext(ctx, nil), context.DeadlineExceeded)
		cancel()
		for _, bad := range []int{-1, 101} {
			_, err := l.Publish(bad)
			want(t, err, fs.ErrInvalid)
		}
		before := s.Version()
		if n%3 == 2 {
			if err := l.Discard(); err != nil || s.Version() != before {
				t.Errorf("Discard: %v, version %d after %d", err, s.Version(), before)
			}
		} else if v, err := l.Publish(size); err != nil || v != before+1 || s.Version() != v {
			t.Errorf("Publish = %d, %v, version %d", v, err, s.Version())
		} else if got, err := other.Load(); string(got) != text || err != nil {
			t.Errorf("Load = %q, %v, want %q", got, err, text)
		}
		again := loan(t, other)
		_, err := l.Publish(1)
		want(t, err, fs.ErrClosed)
		if err := l.Discard(); err != nil || l.Bytes() != nil {
			t.Errorf("a second Discard: %v, %q", err, l.Bytes())
		}
		if err := again.Discard(); err != nil {
			t.Error(err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := s.Loan(ctx)
	want(t, err, context.Canceled)
}

// A codec with values of one size accepts no other size.
func TestLoanFixed(t *testing.T) {
	s := open(t, proctest.Name(t), codec.Fixed[point](), nil)
	l := loan(t, s)
	*l.Value() = point{3, 4}
	_, err := l.Publish(15)
	want(t, err, fs.ErrInvalid)
	if v, err := l.Publish(16); v != 1 || err != nil {
		t.Errorf("Publish = %d, %v", v, err)
	}
	if v, err := s.Load(); v != (point{3, 4}) || err != nil || l.Value() != nil {
		t.Errorf("Load = %v, %v", v, err)
	}
}

// Publish wakes a watcher.
func TestLoanWakes(t *testing.T) {
	name := proctest.Name(t)
	s := open(t, name, codec.Bytes(), nil)
	r := reader(t, name, codec.Bytes(), nil)
	seen := make(chan uint64)
	go func() {
		v, _ := r.Wait(t.Context(), 0)
		seen <- v
	}()
	time.Sleep(20 * time.Millisecond)
	v, err := loan(t, s).Publish(0)
	if got := <-seen; got != v || err != nil {
		t.Errorf("Publish = %d, %v; the watcher got %d", v, err, got)
	}
}

// lender NAME opens a Loan, writes into it and waits to be killed.
func lender(args []string) error {
	s, err := segment.Attach(args[0], codec.Bytes(), nil)
	if err != nil {
		return err
	}
	l, err := s.Loan(context.Background())
	if err != nil {
		return err
	}
	clear(l.Bytes())
	fmt.Println("lent")
	proctest.Await()
	return nil
}

// When a process is killed with a Loan, the old value stays, and the next Loan
// works.
func TestLoanKilled(t *testing.T) {
	name := proctest.Name(t)
	s := open(t, name, codec.Bytes(), nil)
	for n := range byte(5) {
		must(t, s.Store([]byte{n}))
		p := proctest.Start(t, "lender", name)
		p.Expect("lent")
		if v, err := s.Load(); len(v) != 1 || v[0] != n || err != nil {
			t.Errorf("Load = %v, %v", v, err)
		}
		p.Kill()
		if v, err := s.Load(); len(v) != 1 || v[0] != n || err != nil {
			t.Errorf("Load = %v, %v", v, err)
		}
		l := loan(t, s)
		l.Bytes()[0] = n + 100
		if _, err := l.Publish(1); err != nil {
			t.Error(err)
		}
		if v, err := s.Load(); len(v) != 1 || v[0] != n+100 || err != nil {
			t.Errorf("Load = %v, %v", v, err)
		}
	}
}

// A Loan within an Update would wait for itself.
func TestLoanWithinUpdate(t *testing.T) {
	s := open(t, proctest.Name(t), codec.Fixed[uint64](), nil)
	err := s.Update(func(v *uint64) error {
		*v = 3
		_, err := s.Loan(t.Context())
		want(t, err, sharedseg.ErrReentrant)
		return nil
	})
	if v, e := s.Load(); v != 3 || err != nil || e != nil {
		t.Errorf("Update: %v; Load = %d, %v", err, v, e)
	}
}

// Close discards an open Loan, and does not wait.
func TestCloseWithLoan(t *testing.T) {
	name := proctest.Name(t)
	s := open(t, name, codec.Bytes(), nil)
	must(t, s.Store([]byte("value")))
	for n := range 4 {
		other := open(t, name, codec.Bytes(), nil)
		l := loan(t, other)
		room := l.Bytes()
		start := time.Now()
		must(t, other.Close())
		if took := time.Since(start); took > proctest.Patience/2 {
			t.Errorf("Close took %v", took)
		}
		room[0] = 1
		if n%2 == 0 {
			_, err := l.Publish(1)
			want(t, err, fs.ErrClosed)
		} else if err := l.Discard(); err != nil {
			want(t, err, fs.ErrClosed)
		}
		ctx, cancel := context.WithTimeout(t.Context(), proctest.Patience)
		if err := s.StoreContext(ctx, []byte("value")); err != nil {
			t.Error(err)
		}
		cancel()
		if v, err := s.Load(); string(v) != "value" || err != nil {
			t.Errorf("Load = %q, %v", v, err)
		}
	}
}

// unlock writes 0 to the mutex word of a segment, as a hostile peer can.
func unlock(t *testing.T, o *segment.Options, name string) {
	t.Helper()
	const mutex = 128
	patch(t, filepath.Join(o.Dir, name), mutex, 0)
}

// If a peer frees the lock of an open Loan, Publish and Discard return
// ErrCorrupt, whether or not another call has taken the lock since. A value
// that is borrowed afterwards is still mapped after Close.
func TestLoanTaken(t *testing.T) {
	o := &segment.Options{Dir: proctest.TempDir(t)}
	for what, end := range map[string]func(l *segment.Loan[[]byte]) error{
		"Publish": func(l *segment.Loan[[]byte]) error { _, err := l.Publish(1); return err },
		"Discard": func(l *segment.Loan[[]byte]) error { return l.Discard() },
	} {
		for _, taken := range []bool{false, true} {
			t.Run(fmt.Sprint(what, "/taken=", taken), func(t *testing.T) {
				s := open(t, "x", codec.Bytes(), o)
				must(t, s.Store([]byte("value")))
				l := loan(t, s)
				unlock(t, o, "x")
				if taken {
					must(t, s.Store([]byte("value")))
				}
				want(t, end(l), sharedseg.ErrCorrupt, "took the lock")
				if err := l.Discard(); err != nil {
					t.Error(err)
				}
				must(t, s.Store([]byte("value")))
				b := borrow(t, s)
				must(t, s.Close())
				if got := string(b.Bytes()); runtime.GOOS == "windows" && got != "value" {
					t.Errorf("the borrowed value is %q", got)
				}
				want(t, b.Release(), fs.ErrClosed)
			})
		}
	}
}

package segment_test

import (
	"context"
	"errors"
	"io/fs"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sharedseg/sharedseg/codec"
	"github.com/sharedseg/sharedseg/internal/proctest"
	"github.com/sharedseg/sharedseg/segment"
)

// Two goroutines must not end a Loan or a Borrowed at the same time. If they
// do, other borrowed values stay mapped after Close nevertheless. The race
// detector, which does not run in the tests on Windows, would report the calls.
func TestEndedTwice(t *testing.T) {
	for range 100 {
		s := open(t, proctest.Name(t), codec.Bytes(), nil)
		must(t, s.Store([]byte("value")))
		for _, end := range []func() error{loan(t, s).Discard, borrow(t, s).Release} {
			var calls sync.WaitGroup
			var ready atomic.Int32
			for range 2 {
				calls.Go(func() {
					for ready.Add(1); ready.Load() < 2; {
					}
					end()
				})
			}
			calls.Wait()
		}
		b := borrow(t, s)
		must(t, s.Close())
		if got := string(b.Bytes()); got != "value" {
			t.Fatalf("the borrowed value is %q", got)
		}
		want(t, b.Release(), fs.ErrClosed)
	}
}

// A Loan that ends after Close releases the lock, although borrowed values
// still keep the handle.
func TestLoanEndsFirst(t *testing.T) {
	name := proctest.Name(t)
	other := open(t, name, codec.String(), nil)
	for what, end := range map[string]func(l *segment.Loan[string]) error{
		"Publish": func(l *segment.Loan[string]) error { _, err := l.Publish(1); return err },
		"Discard": func(l *segment.Loan[string]) error { return errors.Join(l.Discard(), fs.ErrClosed) },
	} {
		t.Run(what, func(t *testing.T) {
			s := open(t, name, codec.String(), nil)
			must(t, other.Store("value"))
			b, l := borrow(t, s), loan(t, s)
			must(t, s.Close())
			want(t, other.StoreContext(during(t, 10*time.Millisecond), "other"), context.DeadlineExceeded)
			want(t, end(l), fs.ErrClosed)
			must(t, other.StoreContext(patient(t), "other"))
			if got := string(b.Bytes()); got != "value" {
				t.Errorf("the borrowed value is %q", got)
			}
			want(t, b.Release(), fs.ErrClosed)
		})
	}
}

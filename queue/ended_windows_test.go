package queue_test

import (
	"io/fs"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/sharedseg/sharedseg/codec"
	"github.com/sharedseg/sharedseg/internal/proctest"
)

// Two goroutines must not end a Delivery or a Loan at the same time. If they
// do, the handle stays open nevertheless. The race detector, which does not run
// in the tests on Windows, would report the calls.
func TestEndedTwice(t *testing.T) {
	q := open(t, proctest.Name(t), codec.Bytes(), nil)
	for range 1000 {
		send(t, q, []byte("value"))
		d, err := q.Receive(t.Context())
		must(t, err)
		l, err := q.Loan(t.Context())
		must(t, err)
		for _, end := range []func() error{d.Done, l.Discard} {
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
	}
}

// A Loan that ends after Close releases the lock, although a message still
// keeps the handle.
func TestLoanEndsFirst(t *testing.T) {
	name := proctest.Name(t)
	q, other := open(t, name, codec.String(), nil), open(t, name, codec.String(), nil)
	send(t, q, "first")
	d := receive(t, q, "first", 1)
	l, err := q.Loan(t.Context())
	must(t, err)
	must(t, q.Close())
	if sent, err := other.TrySend("second"); sent || err != nil {
		t.Fatalf("TrySend = %v, %v", sent, err)
	}
	want(t, l.Publish(1), fs.ErrClosed)
	send(t, other, "second")
	must(t, d.Done())
	must(t, receive(t, other, "second", 1).Done())
}

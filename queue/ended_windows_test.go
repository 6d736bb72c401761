package queue_test

import (
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

package segment_test

import (
	"io/fs"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/sharedseg/sharedseg/codec"
	"github.com/sharedseg/sharedseg/internal/proctest"
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

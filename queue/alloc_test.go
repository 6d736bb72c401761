//go:build !race

package queue_test

import (
	"testing"

	"github.com/sharedseg/sharedseg/codec"
	"github.com/sharedseg/sharedseg/internal/proctest"
	"github.com/sharedseg/sharedseg/queue"
)

// Send, Receive, Done and All do not allocate if the codec is a Fixed.
func TestAllocs(t *testing.T) {
	q := open(t, proctest.Name(t), codec.Fixed[[64]byte](), nil)
	ctx := patient(t)
	var d queue.Delivery[[64]byte]
	check := func(what string, op func()) {
		t.Helper()
		if n := proctest.Allocs(0, op); n != 0 {
			t.Errorf("%s: %v allocations", what, n)
		}
	}
	check("a message", func() {
		must(t, q.Send(ctx, [64]byte{}))
		must(t, q.ReceiveInto(ctx, &d))
		_, err := d.Value()
		must(t, err)
		must(t, d.Done())
	})
	const messages = 1000
	n := proctest.Allocs(20, func() {
		must(t, q.Send(ctx, [64]byte{}))
		n := 0
		for _, err := range q.All(ctx) {
			must(t, err)
			if n++; n == messages {
				break
			}
			must(t, q.Send(ctx, [64]byte{}))
		}
		must(t, q.ReceiveInto(ctx, &d)) // the one that the break returned
		must(t, d.Done())
	})
	if n > 20 {
		t.Errorf("All: %v allocations for %d messages", n, messages)
	}
}

//go:build !race

package notify

import (
	"context"
	"testing"

	"github.com/sharedseg/sharedseg/internal/proctest"
)

// A wait for what is there already needs nothing of the heap. Under -race
// allocations are different.
func TestAllocs(t *testing.T) {
	v := newVariable()
	n := newIn(newSet(0), v.source(""))
	ready := func() bool { return true }
	if allocs := proctest.Allocs(0, func() {
		if err := n.Wait(context.Background(), ready); err != nil {
			t.Error(err)
		}
	}); allocs != 0 {
		t.Errorf("%v allocations", allocs)
	}
}

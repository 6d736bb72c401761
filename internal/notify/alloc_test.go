//go:build !race

package notify

import (
	"context"
	"testing"

	"github.com/sharedseg/sharedseg/internal/proctest"
)

// A Wait that finds at once what it waits for does not allocate. The race
// detector allocates, so this is not tested with -race.
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

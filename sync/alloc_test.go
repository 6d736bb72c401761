//go:build !race

package ipcsync_test

import (
	"testing"

	"github.com/sharedseg/sharedseg/internal/proctest"
	"github.com/sharedseg/sharedseg/sync"
)

// Under -race allocations are different.
func TestAllocations(t *testing.T) {
	for _, o := range []ipcsync.Options{{}} {
		m := open(t, proctest.Name(t), &o)
		ctx := t.Context()
		if n := proctest.Allocs(0, func() {
			m.Lock(ctx)
			m.Unlock()
			m.TryLock()
			m.Unlock()
		}); n != 0 {
			t.Errorf("%+v: Lock and Unlock allocate %v times", o, n)
		}
	}
}

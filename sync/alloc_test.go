//go:build !race

package ipcsync_test

import (
	"testing"

	"github.com/sharedseg/sharedseg/internal/proctest"
	"github.com/sharedseg/sharedseg/sync"
)

// The race detector changes the number of allocations.
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

func TestAllocationsOfOthers(t *testing.T) {
	name, ctx := proctest.Name(t), t.Context()
	rw, s, e := openRW(t, name+".rw", nil), openSem(t, name+".s", 3, nil), openEvent(t, name+".e", nil)
	for what, do := range map[string]func(){
		"RWMutex":   func() { rw.RLock(ctx); rw.RUnlock(); rw.Lock(ctx); rw.Unlock() },
		"Semaphore": func() { s.Acquire(ctx, 2); s.Release(2) },
		"Event":     func() { e.IsSet() },
	} {
		if n := proctest.Allocs(0, do); n != 0 {
			t.Errorf("%s: %v allocations", what, n)
		}
	}
}

package ipcsync_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/sharedseg/sharedseg/internal/layout"
	"github.com/sharedseg/sharedseg/internal/mapping"
	"github.com/sharedseg/sharedseg/internal/member"
	"github.com/sharedseg/sharedseg/internal/proctest"
	"github.com/sharedseg/sharedseg/sync"
)

// counts returns the counters in the header of a mutex.
func counts(t *testing.T, name string) [layout.Counters]uint64 {
	t.Helper()
	st, err := member.Stat(&mapping.Place{Name: name})
	must(t, err)
	return st.Counts
}

// The header counts the waits that parked and the owners that died, and nothing
// else.
func TestCounters(t *testing.T) {
	name := proctest.Name(t)
	o := &ipcsync.Options{Repair: func() error { return nil }}
	a, b := open(t, name, o), open(t, name, o)
	expect := func(what string, waits, takeOvers uint64) {
		t.Helper()
		if got := counts(t, name); got != [layout.Counters]uint64{layout.Waits: waits, layout.TakeOvers: takeOvers} {
			t.Errorf("%s: counts are %v, want %d waits and %d take-overs", what, got, waits, takeOvers)
		}
	}
	for range 3 {
		must(t, errors.Join(a.Lock(t.Context()), a.Unlock()))
	}
	must(t, a.Lock(t.Context()))
	if locked, err := b.TryLock(); locked || err != nil {
		t.Fatal(locked, err)
	}
	expect("no call waited", 0, 0)
	// Longer than several parks.
	want(t, b.Lock(during(t, 20*time.Millisecond)), context.DeadlineExceeded)
	expect("one call waited in vain", 1, 0)
	must(t, a.Unlock())

	p := proctest.Start(t, "owner", name)
	p.Expect("locked")
	p.Kill()
	must(t, a.Lock(patient(t)))
	got := counts(t, name)
	if got[layout.TakeOvers] != 1 || got[layout.Waits] > 2 { // it could have waited for the death
		t.Errorf("after an owner died, counts are %v", got)
	}
	must(t, a.Unlock())
	must(t, errors.Join(b.Lock(t.Context()), b.Unlock()))
	if again := counts(t, name); again != got {
		t.Errorf("locking a free mutex changed the counts: %v after %v", again, got)
	}
}

// A long wait counts once, however often it looks for handles that died.
func TestLongWaitCountsOnce(t *testing.T) {
	const long = 150 * time.Millisecond // several times as long as between two looks
	name := proctest.Name(t)
	e := openEvent(t, name+".event", nil)
	want(t, e.Wait(during(t, long)), context.DeadlineExceeded)
	s := openSem(t, name+".sem", 1, nil)
	must(t, s.Acquire(t.Context(), 1))
	want(t, s.Acquire(during(t, long), 1), context.DeadlineExceeded)
	c := testPlace(t, name, nil)
	must(t, c.m.Lock(t.Context()))
	want(t, c.Wait(during(t, long)), context.DeadlineExceeded)
	for _, of := range []string{".event", ".sem", ".cond"} {
		if got := counts(t, name+of)[layout.Waits]; got != 1 {
			t.Errorf("%s: %d waits", of, got)
		}
	}
}

//go:build sharedseg_steps && linux

package crashtest

import (
	"testing"
	"time"

	"github.com/sharedseg/sharedseg/codec"
	"github.com/sharedseg/sharedseg/internal/proctest"
	"github.com/sharedseg/sharedseg/internal/step"
	"github.com/sharedseg/sharedseg/segment"
)

// TestCloseBeforeWaking checks that watchers are woken by a Store whose handle
// is closed right before it wakes them. Otherwise they would see the version
// only at their next look, about 0.1 s later.
func TestCloseBeforeWaking(t *testing.T) {
	name := proctest.Name(t)
	open := func() *segment.Segment[string] {
		s, err := segment.Open(name, codec.String(), nil)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	watcher := open()
	defer watcher.Close()
	best := time.Hour
	for version := range uint64(5) {
		seen := make(chan error)
		go func() {
			_, err := watcher.Wait(t.Context(), version)
			seen <- err
		}()
		proctest.Parked(t, ".(*handle[...]).wait(")
		time.Sleep(20 * time.Millisecond)
		s := open()
		step.Arm(step.WatchersWaking, 1, func() { s.Close() })
		begun := time.Now()
		if err := s.Store("new"); err != nil {
			t.Fatal(err)
		}
		if err := <-seen; err != nil {
			t.Fatal(err)
		}
		best = min(best, time.Since(begun))
	}
	if best > 50*time.Millisecond {
		t.Errorf("it took %v at best", best)
	}
}

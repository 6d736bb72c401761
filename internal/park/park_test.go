package park

import (
	"sync/atomic"
	"testing"
	"time"

	"github.com/sharedseg/sharedseg/internal/proctest"
)

// within fails the test if f does not return.
func within(t *testing.T, what string, f func()) {
	t.Helper()
	done := make(chan bool)
	go func() { f(); close(done) }()
	select {
	case <-done:
	case <-time.After(proctest.Patience):
		t.Fatal(what, "does not return")
	}
}

func TestWaitReturns(t *testing.T) {
	var word atomic.Uint32
	word.Store(1)
	within(t, "Wait for another value", func() { Wait(&word, 0, time.Hour) })
	within(t, "Wait with a limit of 0", func() { Wait(&word, 1, 0) })
	within(t, "Wait with a negative limit", func() { Wait(&word, 1, -time.Hour) })
	within(t, "Wait with a limit", func() { Wait(&word, 1, time.Millisecond) })
	Wake(&word, All) // nobody
}

// All the sleepers go on after a change and a Wake, on whichever side of it they fall asleep.
func TestWake(t *testing.T) {
	for range 100 {
		var word atomic.Uint32
		const sleepers = 5
		done := make(chan bool, sleepers)
		for range sleepers {
			go func() {
				for word.Load() == 0 {
					Wait(&word, 0, time.Hour)
				}
				done <- true
			}()
		}
		word.Store(1)
		Wake(&word, All)
		within(t, "a sleeper", func() {
			for range sleepers {
				<-done
			}
		})
	}
}

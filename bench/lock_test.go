package bench

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sharedseg/sharedseg/bench/internal/harness"
	"github.com/sharedseg/sharedseg/internal/proctest"
	"github.com/sharedseg/sharedseg/sync"
)

// ipcMutex is the key of this library's mutex among the locks.
var ipcMutex = "ipcsync.Mutex" + faultKey

// locks are the locks between processes, by mechanism.
var locks = func() harness.Locks {
	all := maps.Clone(fileLocks)
	all[ipcMutex] = func(name string) (harness.Lock, error) {
		m, err := openMutex(name)
		return blocking{m}, err
	}
	return all
}()

func openMutex(name string) (*ipcsync.Mutex, error) {
	// What a benchmark guards needs no repair.
	return ipcsync.OpenMutex(name, &ipcsync.Options{Repair: func() error { return nil }})
}

// blocking is a Mutex without contexts.
type blocking struct{ *ipcsync.Mutex }

func (m blocking) Lock() error { return m.Mutex.Lock(context.Background()) }

func BenchmarkLock(b *testing.B) {
	harness.Run(b, "impl=ipcsync.Mutex/procs=1"+faultKey, 0, func(b *testing.B) {
		opened, err := openMutex(proctest.Name(b))
		m := harness.Keep(b, opened, err)
		ctx := context.Background()
		for b.Loop() {
			if err := m.Lock(ctx); err != nil {
				b.Fatal(err)
			}
			if err := m.Unlock(); err != nil {
				b.Fatal(err)
			}
		}
	})
	harness.Run(b, "impl=sync.Mutex/procs=1", 0, func(b *testing.B) {
		mu := new(sync.Mutex)
		for b.Loop() {
			mu.Lock()
			mu.Unlock() //lint:ignore SA2001 an empty critical section is measured
		}
	})
	harness.Run(b, "impl=sync.RWMutex/procs=1", 0, func(b *testing.B) {
		mu := new(sync.RWMutex)
		for b.Loop() {
			mu.RLock()
			mu.RUnlock() //lint:ignore SA2001 an empty critical section is measured
		}
	})
	for _, impl := range slices.Sorted(maps.Keys(fileLocks)) {
		locks.Uncontended(b, impl)
	}
	for _, n := range []int{2, 4} {
		for _, impl := range slices.Sorted(maps.Keys(locks)) {
			locks.Contended(b, impl, n)
		}
		b.Run(fmt.Sprintf("impl=sync.Mutex/goroutines=%d", n), func(b *testing.B) {
			harness.Shares(b, func() []harness.Work { return goroutinesContend(n) })
		})
	}
}

// goroutinesContend is the counterpart of a window of Locks.Contended, with a
// sync.Mutex and goroutines.
func goroutinesContend(n int) []harness.Work {
	var (
		mu   sync.Mutex
		stop atomic.Bool
		done = make([]harness.Work, n)
		all  sync.WaitGroup
	)
	start := time.Now()
	for i := range done {
		all.Go(func() {
			turns := 0
			for ; !stop.Load(); turns++ {
				mu.Lock()
				mu.Unlock() //lint:ignore SA2001 an empty critical section is measured
			}
			done[i] = harness.Work{N: turns, Time: time.Since(start)}
		})
	}
	time.Sleep(harness.WindowLength())
	stop.Store(true)
	all.Wait()
	return done
}

// takeovers are the mechanisms whose owner can die: locks, and a queue's
// message.
var takeovers = func() harness.Locks {
	all := maps.Clone(locks)
	all[ourQueue] = openRedelivery
	return all
}()

func BenchmarkTakeover(b *testing.B) {
	for _, impl := range slices.Sorted(maps.Keys(takeovers)) {
		takeovers.Takeover(b, impl)
	}
}

package bench

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sharedseg/sharedseg/internal/proctest"
	ipcsync "github.com/sharedseg/sharedseg/sync"
)

// A lock is a handle of one that processes can share.
type lock interface {
	Lock() error
	Unlock() error
	Close() error
}

type lockOpener func(name string) (lock, error)

const ipcMutex = "ipcsync.Mutex"

// locks are the locks between processes, by mechanism.
var locks = func() map[string]lockOpener {
	all := maps.Clone(fileLocks)
	all[ipcMutex] = func(name string) (lock, error) {
		m, err := openMutex(name, true)
		return blocking{m}, err
	}
	return all
}()

func openMutex(name string, faultGuard bool) (*ipcsync.Mutex, error) {
	// There is nothing to mend in what a benchmark guards.
	return ipcsync.OpenMutex(name, &ipcsync.Options{Repair: func() error { return nil }, NoFaultGuard: !faultGuard})
}

// blocking is a Mutex without contexts.
type blocking struct{ *ipcsync.Mutex }

func (m blocking) Lock() error { return m.Mutex.Lock(context.Background()) }

func BenchmarkLock(b *testing.B) {
	for _, faultGuard := range []bool{true, false} {
		run(b, fmt.Sprintf("impl=%s/procs=1/fault=%s", ipcMutex, onOff(faultGuard)), 0, func(b *testing.B) {
			opened, err := openMutex(proctest.Name(b), faultGuard)
			m := keep(b, opened, err)
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
	}
	run(b, "impl=sync.Mutex/procs=1", 0, func(b *testing.B) {
		mu := new(sync.Mutex)
		for b.Loop() {
			mu.Lock()
			mu.Unlock() //lint:ignore SA2001 it is what is measured
		}
	})
	run(b, "impl=sync.RWMutex/procs=1", 0, func(b *testing.B) {
		mu := new(sync.RWMutex)
		for b.Loop() {
			mu.RLock()
			mu.RUnlock() //lint:ignore SA2001 it is what is measured
		}
	})
	for _, impl := range slices.Sorted(maps.Keys(fileLocks)) {
		run(b, "impl="+impl+"/procs=1", 0, func(b *testing.B) {
			opened, err := fileLocks[impl](proctest.Name(b))
			lockUnlock(b, keep(b, opened, err))
		})
	}
	for _, impl := range slices.Sorted(maps.Keys(locks)) {
		run(b, "impl="+impl+"/procs=2", 0, func(b *testing.B) { contended(b, impl) })
	}
}

func lockUnlock(b *testing.B, l lock) {
	for b.Loop() {
		if err := l.Lock(); err != nil {
			b.Fatal(err)
		}
		if err := l.Unlock(); err != nil {
			b.Fatal(err)
		}
	}
}

// contended also reports how often the other process had the lock in the time of one operation: a lock may be fast
// at the other's expense.
func contended(b *testing.B, impl string) {
	name := proctest.Name(b)
	opened, err := locks[impl](name)
	l := keep(b, opened, err)
	other := proctest.Start(b, "hammer", impl, name)
	other.Expect("ready")
	lockUnlock(b, l)
	other.Say("stop")
	turns, err := strconv.Atoi(other.Line())
	must(b, err)
	other.Wait()
	b.ReportMetric(float64(turns)/float64(b.N), "peer-locks/op")
}

// hammer IMPL NAME locks and unlocks until it is told to stop, and says how often it did.
func hammer(args []string) error {
	opener, err := find(locks, args[0])
	if err != nil {
		return err
	}
	l, err := opener(args[1])
	if err != nil {
		return err
	}
	var stop atomic.Bool
	go func() {
		proctest.Await()
		stop.Store(true)
	}()
	fmt.Println("ready")
	turns := 0
	for ; !stop.Load(); turns++ {
		if err := l.Lock(); err != nil {
			return err
		}
		if err := l.Unlock(); err != nil {
			return err
		}
	}
	fmt.Println(turns)
	return l.Close()
}

// BenchmarkTakeover measures one death after another: of an owner that nobody was waiting for, from when its process
// has been reaped (waiter=late), and of one that somebody had been waiting for so long that looks at it are at
// their rarest, from the kill (waiter=parked).
func BenchmarkTakeover(b *testing.B) {
	for _, impl := range slices.Sorted(maps.Keys(locks)) {
		b.Run("impl="+impl+"/waiter=late", func(b *testing.B) {
			takeover(b, impl, func(l lock, owner *proctest.Proc) (time.Duration, error) {
				owner.Kill()
				start := time.Now()
				err := l.Lock()
				return time.Since(start), err
			})
		})
		b.Run("impl="+impl+"/waiter=parked", func(b *testing.B) {
			takeover(b, impl, func(l lock, owner *proctest.Proc) (time.Duration, error) {
				var locked time.Time
				done := make(chan error)
				go func() {
					err := l.Lock()
					locked = time.Now()
					done <- err
				}()
				time.Sleep(10*time.Millisecond + rand.N(5*time.Millisecond))
				start := time.Now()
				owner.Kill()
				err := <-done
				return locked.Sub(start), err
			})
		})
	}
}

// takeover measures with once, which locks l and on the way kills the process that has it locked. An operation is
// a hundred deaths, as their p99 is of interest, and takes seconds.
func takeover(b *testing.B, impl string, once func(l lock, owner *proctest.Proc) (time.Duration, error)) {
	name := proctest.Name(b)
	opened, err := locks[impl](name)
	l := keep(b, opened, err)
	deaths := 100
	if testing.Short() {
		deaths = 2
	}
	times := newLatencies()
	for b.Loop() {
		for range deaths {
			owner := proctest.Start(b, "owner", impl, name)
			owner.Expect("locked")
			d, err := once(l, owner)
			must(b, err)
			times.add(d)
			must(b, l.Unlock())
		}
	}
	times.report(b)
}

// owner IMPL NAME locks and never unlocks.
func owner(args []string) error {
	opener, err := find(locks, args[0])
	if err != nil {
		return err
	}
	l, err := opener(args[1])
	if err != nil {
		return err
	}
	if err := l.Lock(); err != nil {
		return err
	}
	fmt.Println("locked")
	proctest.Await()
	return nil
}

package harness

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sharedseg/sharedseg/internal/proctest"
)

// A Lock is a handle of a lock that processes can share.
type Lock interface {
	Lock() error
	Unlock() error
	Close() error
}

// A LockOpener opens the lock of a name, or creates it.
type LockOpener func(name string) (Lock, error)

// Locks are locks between processes, by mechanism. The part of a key after a
// slash is put at the end of the names of benchmarks: "X/a=b" is measured as
// impl=X/procs=2/a=b.
type Locks map[string]LockOpener

// Roles returns the roles of the processes that the benchmarks start.
func (l Locks) Roles() map[string]func(args []string) error {
	return map[string]func([]string) error{"hammer": l.hammer, "owner": l.owner}
}

func implName(impl, part string) string {
	impl, more, _ := strings.Cut(impl, "/")
	name := "impl=" + impl + "/" + part
	if more != "" {
		name += "/" + more
	}
	return name
}

func (l Locks) open(impl, name string) (Lock, error) {
	opener, err := Find(l, impl)
	if err != nil {
		return nil, err
	}
	return opener(name)
}

// Uncontended measures locking and unlocking without contention.
func (l Locks) Uncontended(b *testing.B, impl string) {
	Run(b, implName(impl, "procs=1"), 0, func(b *testing.B) {
		opened, err := l.open(impl, proctest.Name(b))
		lock := Keep(b, opened, err)
		for b.Loop() {
			if err := lock.Lock(); err != nil {
				b.Fatal(err)
			}
			if err := lock.Unlock(); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// Contended has procs processes lock and unlock for a window, and reports like
// Shares.
func (l Locks) Contended(b *testing.B, impl string, procs int) {
	b.Run(implName(impl, fmt.Sprintf("procs=%d", procs)), func(b *testing.B) {
		name := proctest.Name(b)
		opened, err := l.open(impl, name)
		lock := Keep(b, opened, err)
		var hammers []*proctest.Proc
		for range procs {
			hammers = append(hammers, proctest.Start(b, "hammer", impl, name))
		}
		for _, p := range hammers {
			p.Expect("ready")
		}
		Shares(b, func() []Work { return Window(b, hammers, WindowLength()) })
		keepsOut(b, lock, hammers)
		for _, p := range hammers {
			p.Wait()
		}
	})
}

// keepsOut fails the benchmark if another process can acquire a lock that this
// one holds.
func keepsOut(b *testing.B, lock Lock, hammers []*proctest.Proc) {
	const window = time.Millisecond
	Must(b, lock.Lock())
	beginWindow(hammers, window)
	time.Sleep(windowLead + 5*window)
	unlocking := time.Now()
	Must(b, lock.Unlock())
	for _, w := range endWindow(b, hammers) {
		if w.N > 0 && w.End.Before(unlocking) {
			b.Fatalf("while one process had the lock, another locked it %d times", w.N)
		}
	}
}

// Shares measures how the contenders for a lock share it. window has them
// contend, and returns how often each one acquired it. Shares reports the time
// per acquisition by any of them as ns/op. It reports the fewest acquisitions
// of one of them as min-share: 1 if all have the same number, 0 if one has
// none.
func Shares(b *testing.B, window func() []Work) {
	var perTurn, minShares []float64
	for b.Loop() {
		turns, fewest, longest := 0, -1, time.Duration(0)
		done := window()
		for begun := time.Now(); idle(done); done = window() { // other programs used the processors
			if time.Since(begun) > proctest.Patience {
				b.Fatal("no process acquired the lock")
			}
		}
		for _, w := range done {
			turns += w.N
			if fewest < 0 || w.N < fewest {
				fewest = w.N
			}
			longest = max(longest, w.Time)
		}
		perTurn = append(perTurn, float64(longest)/float64(turns))
		minShares = append(minShares, float64(fewest*len(done))/float64(turns))
	}
	b.ReportMetric(Median(perTurn), "ns/op")
	b.ReportMetric(Median(minShares), "min-share")
}

// hammer, with the arguments IMPL NAME, locks and unlocks in each window.
func (l Locks) hammer(args []string) error {
	lock, err := l.open(args[0], args[1])
	if err != nil {
		return err
	}
	defer lock.Close()
	return ServeWindows(func(stop *atomic.Bool) (Work, error) {
		turns := 0
		for ; !stop.Load(); turns++ {
			if err := lock.Lock(); err != nil {
				return Work{}, err
			}
			if err := lock.Unlock(); err != nil {
				return Work{}, err
			}
		}
		return Work{N: turns}, nil
	})
}

var deaths = flag.Int("deaths", 100, "kill `n` owners of a lock in each operation of Takeover; 2 in short mode")

// Takeover measures one death after another. With waiter=late, no process waits
// for the lock, and the time begins when the dead owner has been reaped. With
// waiter=parked, a process has waited so long that it polls at the lowest rate,
// and the time begins with the kill. An operation is as many deaths as the flag
// -deaths says.
func (l Locks) Takeover(b *testing.B, impl string) {
	b.Run(implName(impl, "waiter=late"), func(b *testing.B) {
		l.takeover(b, impl, func(lock Lock, owner *proctest.Proc) (time.Duration, error) {
			owner.Kill()
			start := time.Now()
			locked, err := lockUnlock(lock)
			return locked.Sub(start), err
		})
	})
	b.Run(implName(impl, "waiter=parked"), func(b *testing.B) {
		l.takeover(b, impl, func(lock Lock, owner *proctest.Proc) (time.Duration, error) {
			var locked time.Time
			done := make(chan error)
			go func() {
				var err error
				locked, err = lockUnlock(lock)
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

// lockUnlock returns the time when it acquired the lock.
func lockUnlock(lock Lock) (locked time.Time, err error) {
	if err = lock.Lock(); err != nil {
		return locked, err
	}
	locked = time.Now()
	return locked, lock.Unlock()
}

// takeover measures with once, which kills the process that holds the lock and
// then acquires it. It does so in one goroutine, because the owner of a lock
// can be a thread.
func (l Locks) takeover(b *testing.B, impl string, once func(Lock, *proctest.Proc) (time.Duration, error)) {
	name := proctest.Name(b)
	opened, err := l.open(impl, name)
	lock := Keep(b, opened, err)
	n := *deaths
	if testing.Short() {
		n = 2
	}
	times := new(Histogram)
	for b.Loop() {
		for range n {
			owner := proctest.Start(b, "owner", impl, name)
			owner.Expect("locked")
			d, err := once(lock, owner)
			Must(b, err)
			times.Add(d)
		}
	}
	times.Report(b)
}

// owner, with the arguments IMPL NAME, locks and never unlocks.
func (l Locks) owner(args []string) error {
	lock, err := l.open(args[0], args[1])
	if err != nil {
		return err
	}
	if err := lock.Lock(); err != nil {
		return err
	}
	fmt.Println("locked")
	proctest.Await()
	return nil
}

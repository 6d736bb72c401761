//go:build unix && !aix

package mapping

import (
	"fmt"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sharedseg/sharedseg/internal/layout"
	"github.com/sharedseg/sharedseg/internal/proctest"
	"github.com/sharedseg/sharedseg/internal/wait"
	"golang.org/x/sys/unix"
)

func init() {
	roles["passer"] = passer
	roles["opener"] = opener
}

// passer opens and closes the object args[0] in the directory args[1], for
// writing or read-only, until its input ends. It then prints how often it did.
// Each time it locks the registry twice, as a handle does.
func passer(args []string) error {
	return proctest.Repeat(func() error { return pass(&Place{Name: args[0], Dir: args[1]}, args[2] == "reads") })
}

func pass(p *Place, readOnly bool) error {
	o, err := Enter(p, false, readOnly, proctest.Patience)
	if err != nil {
		return err
	}
	defer o.Close()
	time.Sleep(200 * time.Microsecond) // so that some reader holds it at any time
	o.UnlockRegistry()
	return o.LockRegistry(proctest.Patience)
}

// TestTurnsOfProcesses checks that a handle gets its turn however many other
// handles open and close, whether they share the registry or not.
func TestTurnsOfProcesses(t *testing.T) {
	each := 24
	if testing.Short() {
		each = 6
	}
	o, p := create(t)
	must(t, o.Close())
	for _, streams := range [][]string{{"reads"}, {"writes"}, {"reads", "writes"}} {
		t.Run(fmt.Sprint(streams), func(t *testing.T) {
			var others proctest.Group
			for _, stream := range streams {
				others = append(others, proctest.StartGroup(t, each, "passer", p.Name, p.Dir, stream)...)
			}
			others.Expect("ready")
			for range 5 {
				for _, readOnly := range []bool{false, true} {
					must(t, pass(p, readOnly))
				}
			}
			others.StopRepeating()
		})
	}
}

// TestTurnsAreCounted checks that while a handle waits with its ticket, each
// other handle has at most one turn. If a goroutine does not run for longer
// than overdue, as on a busy machine, it is passed over, and the others have
// more turns. So the median of many waits counts, with some tolerance.
func TestTurnsAreCounted(t *testing.T) {
	const others = 24
	o, p := create(t)
	must(t, o.Close())
	var turns atomic.Int64
	var over atomic.Bool
	var wg sync.WaitGroup
	for i := range others {
		wg.Go(func() {
			for !over.Load() {
				o, err := Enter(p, false, i%2 == 0, proctest.Patience)
				if err != nil {
					t.Error(err)
					return
				}
				turns.Add(1)
				time.Sleep(100 * time.Microsecond)
				o.UnlockRegistry()
				o.Close()
			}
		})
	}
	proctest.Eventually(t, "the others open and close", func() bool { return turns.Load() > 2*others })
	var counts []int64
	for range 21 {
		o := reopen(t, p)
		ticket, err := o.takeTicket()
		must(t, err)
		before := turns.Load()
		budget := wait.NewBudget(proctest.Patience)
		must(t, o.awaitTurn(ticket, &budget))
		counts = append(counts, turns.Load()-before)
		must(t, o.Close())
	}
	over.Store(true)
	wg.Wait()
	slices.Sort(counts)
	if median := counts[len(counts)/2]; median == 0 || median > 2*others {
		t.Errorf("turns of %d others during each wait: %v", others, counts)
	}
}

// TestTickets checks that tickets follow each other wherever the highest one
// is, and whatever Objects of this process and of others do.
func TestTickets(t *testing.T) {
	a, p := create(t)
	objects := []*Object{a, reopen(t, p), reopen(t, p), reopen(t, p)}
	take := func(o *Object, want int64) {
		t.Helper()
		if ticket, err := o.takeTicket(); ticket != want || err != nil {
			t.Errorf("ticket %d, %v; want %d", ticket, err, want)
		}
	}
	drop := func(o *Object, ticket int64) { o.set(unix.F_UNLCK, layout.QueueByte+ticket) }
	for i, o := range objects {
		take(o, int64(i)+1)
	}
	drop(objects[3], 4)
	take(objects[3], 4)
	drop(objects[0], 1)
	take(objects[0], 5)
	for _, ticket := range []int64{1000, 1 << 40, layout.Tickets - 2} {
		is(t, "a ticket", func() (bool, error) { return objects[1].set(unix.F_RDLCK, layout.QueueByte+ticket) }, true)
		take(objects[2], ticket+1)
		drop(objects[2], ticket+1)
		drop(objects[1], ticket)
	}
	// A peer that takes the last ticket only causes a tie.
	is(t, "the last ticket", func() (bool, error) { return objects[1].set(unix.F_RDLCK, layout.QueueByte+layout.Tickets-1) }, true)
	take(objects[2], layout.Tickets-1)
	is(t, "AnyHeld", a.AnyHeld, false)
	for _, o := range objects {
		must(t, o.Close())
	}
	take(reopen(t, p), 1)
}

// TestStoppedInQueue checks that a process that is stopped while it waits is
// passed over, and takes its turn when it continues.
func TestStoppedInQueue(t *testing.T) {
	a, p := create(t)
	must(t, a.LockRegistry(0))
	stopped := proctest.Start(t, "opener", p.Name, p.Dir)
	stopped.Expect("opening")
	waits(t, a)
	stopped.Signal(unix.SIGSTOP)
	b := reopen(t, p)
	locked := make(chan error)
	go func() { locked <- b.LockRegistry(proctest.Patience) }()
	time.Sleep(10 * time.Millisecond)
	a.UnlockRegistry()
	must(t, <-locked)
	b.UnlockRegistry()
	must(t, a.LockRegistry(proctest.Patience))
	a.UnlockRegistry()
	stopped.Signal(unix.SIGCONT)
	stopped.Expect("opened")
	want(t, a.LockRegistry(0), os.ErrDeadlineExceeded)
	stopped.Kill()
	must(t, a.LockRegistry(proctest.Patience))
}

// waits waits until another process waits for the registry that o holds.
func waits(t *testing.T, o *Object) {
	t.Helper()
	proctest.Gone(t, func() bool {
		waited, err := o.taken(layout.QueueByte, layout.Tickets)
		return waited || err != nil
	})
}

// opener opens the object args[0] in the directory args[1]. It prints when it
// begins and when it has the registry, which it holds until its input ends.
func opener(args []string) error {
	fmt.Println("opening")
	o, err := Enter(&Place{Name: args[0], Dir: args[1]}, false, false, limit)
	if err != nil {
		return err
	}
	defer o.Close()
	fmt.Println("opened")
	proctest.Await()
	return nil
}

// limit is the limit of the openers. It is shorter than the library's, to keep
// the tests short.
const limit = 500 * time.Millisecond

// TestStoppedWhileWaiting checks that only time in which the waiter runs counts
// towards its limit.
func TestStoppedWhileWaiting(t *testing.T) {
	a, p := create(t)
	must(t, a.LockRegistry(0))
	waiter := proctest.Start(t, "opener", p.Name, p.Dir)
	waiter.Expect("opening")
	waits(t, a)
	waiter.Signal(unix.SIGSTOP)
	time.Sleep(2 * limit)
	waiter.Signal(unix.SIGCONT)
	time.Sleep(limit / 20) // it is still running and waits
	a.UnlockRegistry()
	waiter.Expect("opened")
}

// TestHolderThatReserves checks that a waiter waits for a holder that makes the
// file grow, and gives up at the limit if it does not.
func TestHolderThatReserves(t *testing.T) {
	a, p := create(t)
	must(t, a.LockRegistry(0))
	waiter := proctest.Start(t, "opener", p.Name, p.Dir)
	waiter.Expect("opening")
	for at := range int64(12) {
		time.Sleep(limit / 4)
		must(t, a.Reserve(at<<12, (at+1)<<12))
	}
	a.UnlockRegistry()
	waiter.Expect("opened")
	waiter.Kill()
	must(t, a.LockRegistry(proctest.Patience))
	want(t, reopen(t, p).LockRegistry(limit), os.ErrDeadlineExceeded)
}

// TestNameThatKeepsChanging checks that a waiter gives up, with the same error,
// if the name keeps referring to other files.
func TestNameThatKeepsChanging(t *testing.T) {
	_, p := create(t)
	var over atomic.Bool
	done := make(chan error)
	go func() {
		for !over.Load() {
			err := os.WriteFile(Path(p)+".new", nil, 0o600)
			if err == nil {
				err = os.Rename(Path(p)+".new", Path(p))
			}
			if err != nil {
				done <- err
				return
			}
		}
		close(done)
	}()
	for begun := time.Now(); ; {
		o, err := Enter(p, false, false, 1)
		if err != nil {
			want(t, err, os.ErrDeadlineExceeded)
			break
		}
		o.Close()
		if time.Since(begun) > proctest.Patience {
			t.Error("the name never changed between two checks")
			break
		}
	}
	over.Store(true)
	must(t, <-done)
}

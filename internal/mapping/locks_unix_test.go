//go:build unix && !aix

package mapping

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sharedseg/sharedseg/internal/layout"
	"github.com/sharedseg/sharedseg/internal/proctest"
	"golang.org/x/sys/unix"
)

func init() { roles["peer"] = peer }

// peer is another process that has the object args[0] in the directory args[1]
// open. It answers questions and obeys commands.
func peer(args []string) error {
	o, err := Open(&Place{Name: args[0], Dir: args[1]}, false)
	if err != nil {
		return err
	}
	defer o.Close()
	var slot int
	for line := proctest.Await(); line != ""; line = proctest.Await() {
		var answer bool
		var err error
		what, rest, _ := strings.Cut(line, " ")
		fmt.Sscan(rest, &slot)
		switch what {
		case "Held":
			answer, err = o.Held(slot)
		case "Hold":
			answer, err = o.Hold(slot)
		case "Drop":
			o.Drop(slot)
		case "AnyHeld":
			answer, err = o.AnyHeld()
		case "HoldReader":
			err = o.HoldReader()
			answer = err == nil
		case "ReaderHeld":
			var n int
			n, err = o.Readers()
			answer = n > 0
		case "LockRegistry":
			answer = o.LockRegistry(0) == nil
		case "UnlockRegistry":
			o.UnlockRegistry()
		}
		fmt.Println(answer, err)
	}
	return nil
}

// startPeer starts a peer. ask asks it a question, and fails the test if the
// answer is not want.
func startPeer(t *testing.T, p *Place) (proc *proctest.Proc, ask func(what string, want bool)) {
	proc = proctest.Start(t, "peer", p.Name, p.Dir)
	return proc, func(what string, want bool) {
		t.Helper()
		proc.Say(what)
		if got := proc.Line(); got != fmt.Sprint(want, nil) {
			t.Errorf("another process: %s = %s, want %v", what, got, want)
		}
	}
}

// TestLocksAcrossProcesses checks that other processes see what an Object of
// this process holds until it is released, whatever other Objects of this
// process do meanwhile.
func TestLocksAcrossProcesses(t *testing.T) {
	a, p := create(t)
	_, ask := startPeer(t, p)
	ask("AnyHeld", false)

	is(t, "Hold", func() (bool, error) { return a.Hold(3) }, true)
	b := reopen(t, p)
	is(t, "Hold", func() (bool, error) { return b.Hold(5) }, true)
	must(t, a.HoldReader())
	must(t, b.HoldReader())
	must(t, a.LockRegistry(0))
	for range 3 {
		ask("Held 3", true)
		ask("Held 4", false)
		ask("Held 5", true)
		ask("Hold 3", false)
		ask("AnyHeld", true)
		ask("ReaderHeld", true)
		ask("LockRegistry", false)
		// Opens as an observer does, and as a handle whose opening fails.
		for _, readOnly := range []bool{true, false} {
			o, err := Open(p, readOnly)
			must(t, err)
			_, err = o.ReadAt(make([]byte, 8), 0)
			must(t, err)
			_, err = o.AnyHeld()
			must(t, err)
			must(t, o.Close())
		}
		_, err := Open(&Place{Name: p.Name + p.Name, Dir: p.Dir}, false)
		want(t, err, os.ErrNotExist)
	}

	must(t, b.Close())
	ask("Held 3", true)
	ask("Held 5", false)
	ask("ReaderHeld", true)
	ask("LockRegistry", false)
	a.UnlockRegistry()
	ask("LockRegistry", true)
	want(t, a.LockRegistry(0), os.ErrDeadlineExceeded)
	ask("UnlockRegistry", false)
	must(t, a.LockRegistry(proctest.Patience))
	a.DropReader()
	ask("ReaderHeld", false)
	a.Drop(3)
	ask("AnyHeld", false)
	ask("Hold 3", true)
	is(t, "Hold", func() (bool, error) { return a.Hold(3) }, false)
	is(t, "Hold", func() (bool, error) { return a.Hold(4) }, true)
	must(t, a.Close())
	ask("AnyHeld", false)
	ask("LockRegistry", true)
}

// TestHolders checks that Holders returns all slots, and no other bytes, that
// other Objects of this process and of others hold.
func TestHolders(t *testing.T) {
	a, p := create(t)
	_, ask := startPeer(t, p)
	check := func(what string, held map[int]bool) {
		t.Helper()
		got, err := a.Holders()
		if want := slices.Sorted(maps.Keys(held)); err != nil || !slices.Equal(got, want) {
			t.Errorf("%s: Holders = %v, %v, want %v", what, got, err, want)
		}
	}
	must(t, a.HoldReader())
	must(t, a.LockRegistry(0))
	is(t, "Hold", func() (bool, error) { return a.Hold(500) }, true)
	check("none", nil)
	for _, few := range [][]int{{0}, {layout.Members - 1}, {1, 0}, {7, 9, 8, 501, 499, 3, layout.Members - 1, 0}} {
		held := map[int]bool{}
		var objects []*Object
		for i, slot := range few {
			held[slot] = true
			if i%2 == 0 {
				ask(fmt.Sprint("Hold ", slot), true)
				continue
			}
			o := reopen(t, p)
			is(t, "Hold", func() (bool, error) { return o.Hold(slot) }, true)
			objects = append(objects, o)
			check("so far", held)
		}
		check("all", held)
		for i, slot := range few {
			if i%2 == 0 {
				ask(fmt.Sprint("Drop ", slot), false)
			}
		}
		for _, o := range objects {
			must(t, o.Close())
		}
		check("none again", nil)
	}

	// Every other one of many slots, taken in random order.
	held := map[int]bool{}
	for _, slot := range rand.Perm(64) {
		o := reopen(t, p)
		is(t, "Hold", func() (bool, error) { return o.Hold(2 * slot) }, true)
		held[2*slot] = true
	}
	check("many", held)
}

// TestReaders checks that the readers of this process and of others are
// counted. A lock on all readers' bytes at once, which no reader takes, counts
// as one more.
func TestReaders(t *testing.T) {
	a, p := create(t)
	proc, ask := startPeer(t, p)
	readers := func(want int) {
		t.Helper()
		if n, err := a.Readers(); n != want || err != nil {
			t.Errorf("Readers = %d, %v; want %d", n, err, want)
		}
	}
	readers(0)
	must(t, a.HoldReader())
	readers(0)
	ask("HoldReader", true)
	readers(1)
	var objects []*Object
	for i := range 40 {
		o := reopen(t, p)
		must(t, o.HoldReader())
		objects = append(objects, o)
		readers(i + 2)
	}
	objects[0].DropReader()
	readers(40)
	proc.Kill()
	readers(39)
	for _, o := range objects {
		must(t, o.Close())
	}
	readers(0)

	c := reopen(t, p)
	_, err := c.lock(unix.F_RDLCK, layout.ReaderByte)
	must(t, err)
	readers(1)
}

// TestKilledHolder checks that the locks of a process are dropped when it is
// killed.
func TestKilledHolder(t *testing.T) {
	a, p := create(t)
	proc, ask := startPeer(t, p)
	ask("Hold 1023", true)
	ask("LockRegistry", true)
	held := func() (bool, error) { return a.Held(1023) }
	is(t, "Held", held, true)
	is(t, "AnyHeld", a.AnyHeld, true)
	want(t, a.LockRegistry(0), os.ErrDeadlineExceeded)
	proc.Kill()
	is(t, "Held", held, false)
	is(t, "AnyHeld", a.AnyHeld, false)
	must(t, a.LockRegistry(0))
}

// TestReadOnlyFirst checks that a read-only Object that was opened first does
// not keep a later one from writing, and does not become writable.
func TestReadOnlyFirst(t *testing.T) {
	a, p := create(t)
	must(t, a.Reset(p, nil, int64(PageSize())))
	must(t, a.Close())
	r, err := Open(p, true)
	must(t, err)
	defer r.Close()
	must(t, r.LockRegistry(0))
	w := reopen(t, p)
	want(t, w.LockRegistry(0), os.ErrDeadlineExceeded)
	r.UnlockRegistry()
	must(t, w.LockRegistry(0))
	is(t, "Hold", func() (bool, error) { return w.Hold(0) }, true)
	must(t, r.HoldReader())
	_, ask := startPeer(t, p)
	ask("Held 0", true)
	ask("ReaderHeld", true)
	ask("LockRegistry", false)

	view, err := w.Map(PageSize(), true)
	must(t, err)
	defer view.Unmap()
	view.Mem[0] = 7
	_, err = r.Map(PageSize(), true)
	want(t, err, os.ErrPermission)
	must(t, r.Close())
	ask("Held 0", true)
	ask("ReaderHeld", false)
	ask("LockRegistry", false)
}

// TestLocksUnderLoad checks that Objects that keep opening, locking and closing
// the same file exclude each other.
func TestLocksUnderLoad(t *testing.T) {
	_, p := create(t)
	deadline := time.Now().Add(200 * time.Millisecond)
	var wg sync.WaitGroup
	var inside, rounds atomic.Int64
	for i := range 4 {
		wg.Go(func() {
			for rounds.Load() < 10 || time.Now().Before(deadline) {
				o, err := Enter(p, false, false, proctest.Patience)
				if err != nil {
					t.Error(err)
					return
				}
				if n := inside.Add(1); n != 1 {
					t.Errorf("%d hold the registry", n)
				}
				if free, err := o.Hold(i); !free || err != nil {
					t.Errorf("Hold = %v, %v", free, err)
				}
				rounds.Add(1)
				inside.Add(-1)
				o.UnlockRegistry()
				if err := o.Close(); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
}

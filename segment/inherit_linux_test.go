package segment_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/sharedseg/sharedseg"
	"github.com/sharedseg/sharedseg/codec"
	"github.com/sharedseg/sharedseg/internal/proctest"
	"github.com/sharedseg/sharedseg/segment"
	"github.com/sharedseg/sharedseg/sync"
)

func init() {
	roles["parent"] = parent
	roles["orphan"] = orphan
}

// A program that a process starts has nothing of its handles, be it started in
// the midst of an Open; and what is closed is closed, be a child just about to
// start its program with a copy of the descriptor.
func TestChildInheritsNothing(t *testing.T) {
	children := 200
	if testing.Short() {
		children = 20
	}
	o := &segment.Options{Dir: proctest.TempDir(t)}
	open(t, "x", codec.String(), o)
	r, err := segment.OpenReader("x", codec.String(), o)
	must(t, err)
	defer r.Close()
	b, err := segment.OpenBare("bare", 64, codec.UTF16(), o)
	must(t, err)
	defer b.Close()
	m, err := ipcsync.OpenMutex("m", &ipcsync.Options{Dir: o.Dir})
	must(t, err)
	defer m.Close()
	var stop atomic.Bool
	var opens sync.WaitGroup
	defer opens.Wait()
	defer stop.Store(true)
	for i := range 2 {
		opens.Go(func() {
			for name := fmt.Sprint("churned", i); !stop.Load(); {
				// Create would find one that is not gone with its last handle.
				if err := errors.Join(kinds(name, o)["Create"](), kinds("x", o)["OpenReader"](), kinds("x", o)["Open"]()); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	for range children {
		// The first program at hand that says what it has; one in Go would take
		// longer to start than all of this.
		fds, err := exec.Command("ls", "-l", "/proc/self/fd").Output()
		must(t, err)
		if bytes.Contains(fds, []byte(o.Dir)) || !bytes.Contains(fds, []byte("1 -> ")) {
			t.Fatalf("a child has\n%s", fds)
		}
	}
}

// parent holds the segment "x" in DIR, within an Update, and has a child that
// outlives it.
func parent(args []string) error {
	s, err := segment.Open("x", codec.String(), &segment.Options{Dir: args[0]})
	if err != nil {
		return err
	}
	return s.Update(func(*string) error {
		child := proctest.Command("orphan")
		child.Stdin, child.Stdout = os.Stdin, os.Stdout // which end with the test
		if err := child.Start(); err != nil {
			return err
		}
		return child.Wait()
	})
}

// orphan lives until its input ends.
func orphan([]string) error {
	fmt.Println("started")
	for proctest.Stdin.Scan() {
	}
	return nil
}

// The children of a process do not keep its handles alive when it is killed.
func TestOrphan(t *testing.T) {
	o := &segment.Options{Dir: proctest.TempDir(t)}
	s := open(t, "x", codec.String(), o)
	p := proctest.Start(t, "parent", o.Dir)
	p.Expect("started")
	p.Slay()
	ctx := patient(t)
	if err := s.StoreContext(ctx, "taken over"); err != nil {
		t.Error(err)
	}
	if info, err := sharedseg.Stat("x", o.Place()); err != nil || info.Writers != 1 {
		t.Errorf("Stat = %+v, %v", info, err)
	}
	p.Kill()
}

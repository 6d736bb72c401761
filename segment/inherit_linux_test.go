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

// A child process inherits no descriptors of handles, even if it is started
// during an Open. A Close takes effect even while a child that has not yet
// executed its program has a copy of the descriptor.
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
				// Create fails unless the last Close removed the segment.
				if err := errors.Join(kinds(name, o)["Create"](), kinds("x", o)["OpenReader"](), kinds("x", o)["Open"]()); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	for range children {
		// ls starts faster than a Go program would.
		fds, err := exec.Command("ls", "-l", "/proc/self/fd").Output()
		must(t, err)
		if bytes.Contains(fds, []byte(o.Dir)) || !bytes.Contains(fds, []byte("1 -> ")) {
			t.Fatalf("the descriptors of a child:\n%s", fds)
		}
	}
}

// parent DIR holds the segment "x" in DIR within an Update, and starts a child
// that outlives it.
func parent(args []string) error {
	s, err := segment.Open("x", codec.String(), &segment.Options{Dir: args[0]})
	if err != nil {
		return err
	}
	return s.Update(func(*string) error {
		child := proctest.Command("orphan")
		child.Stdin, child.Stdout = os.Stdin, os.Stdout // they end with the test
		if err := child.Start(); err != nil {
			return err
		}
		return child.Wait()
	})
}

// orphan runs until its input ends.
func orphan([]string) error {
	fmt.Println("started")
	for proctest.Stdin.Scan() {
	}
	return nil
}

// The children of a killed process do not keep its handles alive.
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

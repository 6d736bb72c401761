//go:build unix && !aix

package member

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/sharedseg/sharedseg/internal/layout"
	"github.com/sharedseg/sharedseg/internal/mapping"
	"github.com/sharedseg/sharedseg/internal/proctest"
	"golang.org/x/sys/unix"
)

// TestSweepAll checks that a background sweep removes what dead processes of
// this user have left, and nothing else.
func TestSweepAll(t *testing.T) {
	dir := proctest.TempDir(t)
	in := func(name string) string { return filepath.Join(dir, name) }
	image := func(kind layout.Kind, persist bool, change func(layout.Words)) []byte {
		g := &layout.Geometry{Kind: kind, Persist: persist, Slots: 2, Capacity: 64}
		must(t, g.Place(mapping.PageSize()))
		mem := make([]byte, g.Size())
		copy(mem, layout.Mark(false))
		g.Init(mem)
		if change != nil {
			change(layout.NewWords(mem))
		}
		return mem
	}
	owned := func(w layout.Words) { w.Mutex().Store(uint32(layout.NewIdent(3, 7))) }
	inconsistent := func(w layout.Words) { w.Mutex().Store(layout.InconsistentBit) }
	waited := func(w layout.Words) { w.Mutex().Store(layout.WaitersBit) }
	dead := image(layout.KindSegment, false, nil)
	stale := map[string][]byte{
		"dead":              dead,
		"dead-mutex":        image(layout.KindMutex, false, waited),
		"dead-in-store":     image(layout.KindSegment, false, owned),
		"half":              layout.Mark(false),
		"half-reserved":     append(layout.Mark(false), make([]byte, 1<<16)...),
		"short-though-done": dead[:5000],
	}
	stay := map[string][]byte{
		"persists":           image(layout.KindSegment, true, nil),
		"owner-died":         image(layout.KindMutex, false, owned),
		"inconsistent":       image(layout.KindMutex, false, inconsistent),
		"owner-died-waiters": image(layout.KindMutex, false, func(w layout.Words) { owned(w); w.Mutex().Or(layout.WaitersBit) }),
		"foreign":            []byte("something else"),
		"empty":              {},
		"busy":               dead,
		"live":               dead,
		"read":               dead,
		"linked":             dead,
		"program":            dead,
		".hidden":            dead,
		"target/file":        dead,
	}
	must(t, os.Mkdir(in("target"), 0o700))
	for name, content := range stale {
		must(t, os.WriteFile(in(name), content, 0o600))
	}
	for name, content := range stay {
		must(t, os.WriteFile(in(name), content, 0o600))
	}
	must(t, unix.Mkfifo(in("fifo"), 0o600))
	must(t, os.Symlink("target/file", in("symlink")))
	must(t, os.Link(in("linked"), in("target/linked")))
	must(t, os.Chmod(in("program"), 0o755))
	for _, name := range []string{"fifo", "symlink"} {
		stay[name] = nil
	}
	if os.Geteuid() == 0 {
		stay["of-another"] = dead
		must(t, os.WriteFile(in("of-another"), dead, 0o666))
		must(t, os.Chown(in("of-another"), 1, 1))
	}
	other := proctest.Start(t, "locker", dir)
	other.Expect("busy live read <nil>")

	before := snapshot(t, dir)
	sweepAll(mapping.Place{Dir: dir}, 4096, 0)
	sweepAll(mapping.Place{Dir: dir}, 0, time.Minute)
	if left := snapshot(t, dir); !slices.Equal(left, before) {
		t.Errorf("without time or entries, %v of %v are left", left, before)
	}
	sweepAll(mapping.Place{Dir: dir}, 4096, time.Minute)
	for name := range stale {
		if _, err := os.Lstat(in(name)); err == nil {
			t.Errorf("%s is left", name)
		}
	}
	for name, content := range stay {
		if now, err := os.Lstat(in(name)); err != nil {
			t.Errorf("%s is gone: %v", name, err)
		} else if content != nil && now.Size() != int64(len(content)) {
			t.Errorf("%s has %d bytes", name, now.Size())
		}
	}

	// Those that were in use are swept once they are not.
	other.Kill()
	proctest.Gone(t, func() bool {
		sweepAll(mapping.Place{Dir: dir}, 4096, time.Minute)
		for _, name := range []string{"busy", "live", "read"} {
			if _, err := os.Lstat(in(name)); err == nil {
				return false
			}
		}
		return true
	})
}

func snapshot(t *testing.T, dir string) (names []string) {
	entries, err := os.ReadDir(dir)
	must(t, err)
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

func init() { roles["locker"] = locker }

// locker opens or closes "busy" in the directory args[0], has "live" open, and
// reads "read".
func locker(args []string) error {
	object := func(name string, lock func(*mapping.Object) error) error {
		obj, err := mapping.Open(&mapping.Place{Name: name, Dir: args[0]}, false)
		if err == nil {
			err = lock(obj)
		}
		return err
	}
	err := errors.Join(
		object("busy", func(o *mapping.Object) error { return o.LockRegistry(0) }),
		object("live", func(o *mapping.Object) error { _, err := o.Hold(layout.Members - 1); return err }),
		object("read", func(o *mapping.Object) error { return o.HoldReader() }),
	)
	fmt.Println("busy live read", err)
	proctest.Await()
	return nil
}

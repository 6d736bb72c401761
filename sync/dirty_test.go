package ipcsync_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/sharedseg/sharedseg"
	"github.com/sharedseg/sharedseg/codec"
	"github.com/sharedseg/sharedseg/internal/proctest"
	"github.com/sharedseg/sharedseg/segment"
	"github.com/sharedseg/sharedseg/sync"
)

func init() { roles["writer"] = writer }

// writer opens the mutex NAME in DIR, which guards the journal in FILE, writes
// half a line to the journal, and waits to be killed.
func writer(args []string) error {
	j := journal{args[2]}
	m, err := ipcsync.OpenMutex(args[0], &ipcsync.Options{Dir: args[1], Repair: j.repair})
	if err != nil {
		return err
	}
	if err := m.Lock(context.Background()); err != nil {
		return err
	}
	if err := j.append("a line that is never fin"); err != nil {
		return err
	}
	fmt.Println("writing")
	proctest.Await()
	return errors.New("the test did not kill it")
}

// The next Lock repairs what a killed owner left, even if no other process had
// the mutex open and the mutex does not persist.
func TestKilledAlone(t *testing.T) {
	dirs := []string{proctest.TempDir(t)}
	if runtime.GOOS != "windows" { // which frees the memory with its last handle
		dirs = append(dirs, "")
	}
	for _, dir := range dirs {
		t.Run("dir="+dir, func(t *testing.T) {
			name := proctest.Name(t)
			j := journal{filepath.Join(proctest.TempDir(t), "journal")}
			repairs := 0
			o := &ipcsync.Options{Dir: dir, Repair: func() error { repairs++; return j.repair() }}
			lines := ""
			for i := range kills() {
				p := proctest.Start(t, "writer", name, dir, j.path)
				p.Expect("writing")
				p.Kill()
				proctest.Gone(t, func() bool { return handles(t, name, o) == 0 })
				if i%2 == 0 { // a handle that does not lock can find the dead owner, too
					look, err := ipcsync.OpenMutex(name, o)
					must(t, err)
					must(t, look.Close())
					if dir != "" { // other tests use the default directory
						removed, err := sharedseg.Sweep(o.Place())
						must(t, err)
						if removed != nil {
							t.Error("swept:", removed)
						}
					}
				}
				m, err := ipcsync.OpenMutex(name, o)
				must(t, err)
				must(t, m.Lock(patient(t)))
				must(t, j.append("a line\n"))
				lines += "a line\n"
				must(t, m.Unlock())
				must(t, m.Close())
				if b, err := os.ReadFile(j.path); string(b) != lines || err != nil {
					t.Fatalf("the journal is %q, %v", b, err)
				}
				if repairs != i+1 {
					t.Fatalf("after death %d, Repair ran %d times", i+1, repairs)
				}
				if _, err := sharedseg.Stat(name, o.Place()); !errors.Is(err, fs.ErrNotExist) {
					t.Fatal("the mutex is repaired and not freed:", err)
				}
			}
		})
	}
}

// The death of an owner is remembered until Remove or a Repair.
func TestForgotten(t *testing.T) {
	o := &ipcsync.Options{Dir: proctest.TempDir(t)}
	path := filepath.Join(o.Dir, "m")
	leave := func() {
		t.Helper()
		m := open(t, "m", o)
		must(t, m.Lock(patient(t)))
		must(t, m.Close())
	}
	remembers := func(what string) {
		t.Helper()
		m := open(t, "m", o)
		if err := m.Lock(patient(t)); !errors.Is(err, sharedseg.ErrOwnerDied) {
			t.Errorf("%s: Lock = %v", what, err)
		}
		must(t, m.Close())
	}
	leave()
	remembers("closed")
	remembers("closed again")
	if removed, err := sharedseg.Sweep(o.Place()); removed != nil || err != nil {
		t.Errorf("Sweep = %v, %v", removed, err)
	}
	remembers("swept")
	_, err := segment.Open("m", codec.String(), &segment.Options{Dir: o.Dir})
	want(t, err, sharedseg.ErrIncompatible)
	_, err = segment.Attach("m", codec.String(), &segment.Options{Dir: o.Dir})
	want(t, err, fs.ErrNotExist)
	_, err = segment.OpenBare("m", 8, codec.Fixed[int64](), &segment.Options{Dir: o.Dir})
	want(t, err, sharedseg.ErrIncompatible)
	remembers("opened as something else")
	info, err := sharedseg.Stat("m", o.Place())
	if err != nil || info.Live() || info.Kind != sharedseg.KindMutex {
		t.Errorf("Stat = %+v, %v", info, err)
	}
	failed := open(t, "m", &ipcsync.Options{Dir: o.Dir, Repair: func() error { return errors.New("in vain") }})
	want(t, failed.Lock(patient(t)), sharedseg.ErrOwnerDied)
	must(t, failed.Close())
	remembers("repaired in vain")

	must(t, sharedseg.Remove("m", o.Place()))
	m := open(t, "m", o)
	must(t, m.Lock(patient(t)))
	must(t, m.Unlock())
	must(t, m.Close())
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Error("a mutex whose owner did not die is left:", err)
	}
	leave()
	repaired := open(t, "m", &ipcsync.Options{Dir: o.Dir, Repair: func() error { return nil }})
	must(t, repaired.Lock(patient(t)))
	must(t, repaired.Unlock())
	must(t, repaired.Close())
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Error("a repaired mutex is left:", err)
	}
}

// learner opens the mutex NAME in DIR, learns that an owner died, and closes
// it, again and again until it is killed.
func learner(args []string) error {
	for first := true; ; first = false {
		m, err := ipcsync.OpenMutex(args[0], &ipcsync.Options{Dir: args[1]})
		if err != nil {
			return err
		}
		err = m.Lock(context.Background())
		if !errors.Is(err, sharedseg.ErrOwnerDied) {
			return fmt.Errorf("Lock = %w, want ErrOwnerDied", err)
		}
		if first {
			fmt.Println("ready")
		}
		if err := m.Close(); err != nil {
			return err
		}
	}
}

func init() { roles["learner"] = learner }

// Wherever a process is killed while it opens and closes the mutex, the death
// before it is still remembered.
func TestKilledWhileReopening(t *testing.T) {
	o := &ipcsync.Options{Dir: proctest.TempDir(t)}
	m := open(t, "m", o)
	must(t, m.Lock(patient(t)))
	must(t, m.Close())
	for range 2 * kills() {
		p := proctest.Start(t, "learner", "m", o.Dir)
		p.Expect("ready")
		time.Sleep(time.Duration(rand.IntN(1000)) * time.Microsecond)
		p.Kill()
		m := open(t, "m", o)
		want(t, m.Lock(patient(t)), sharedseg.ErrOwnerDied)
		must(t, m.Close())
	}
}

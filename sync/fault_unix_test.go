//go:build unix && !aix

package ipcsync_test

import (
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/sharedseg/sharedseg"
	"github.com/sharedseg/sharedseg/internal/layout"
	"github.com/sharedseg/sharedseg/internal/proctest"
	"github.com/sharedseg/sharedseg/sync"
)

// If a peer truncates the file, other processes lose the mutex but do not
// crash.
func TestTruncated(t *testing.T) {
	for _, held := range []bool{false, true} {
		t.Run(fmt.Sprint("held=", held), func(t *testing.T) {
			o := &ipcsync.Options{Dir: proctest.TempDir(t)}
			m, waits := open(t, "m", o), open(t, "m", o)
			got := make(chan error, 1)
			if held {
				must(t, m.Lock(t.Context()))
				go func() { got <- waits.Lock(patient(t)) }()
				// The race detector implements atomic operations in C, where a
				// fault ends the process. It is enough that no such operation
				// is under way at the fault, so the test waits until the
				// goroutine is parked and rarely looks at the word.
				proctest.Parked(t, ".(*Mutex).compete(")
				time.Sleep(10 * time.Millisecond)
			}
			must(t, os.Truncate(filepath.Join(o.Dir, "m"), 0))
			if held {
				want(t, proctest.Receive(t, got), sharedseg.ErrCorrupt)
			}
			want(t, m.Lock(t.Context()), sharedseg.ErrCorrupt)
			want(t, lockBy("TryLock", m), sharedseg.ErrCorrupt)
			want(t, m.Unlock(), sharedseg.ErrCorrupt)
			if m.Held() {
				t.Error("held")
			}
			_, err := ipcsync.OpenMutex("m", o)
			want(t, err, sharedseg.ErrCorrupt)
			must(t, m.Close())
		})
	}
}

// If the memory of the readers' counts vanishes, a call that took the lock over
// from a dead owner releases it.
func TestCountsTruncated(t *testing.T) {
	o := &ipcsync.Options{Dir: proctest.TempDir(t)}
	path := filepath.Join(o.Dir, "rw")
	dies, err := ipcsync.OpenRWMutex("rw", o)
	must(t, err)
	rw, err := ipcsync.OpenRWMutex("rw", &ipcsync.Options{Dir: o.Dir, Repair: func() error {
		return os.Truncate(path, int64(os.Getpagesize()))
	}})
	must(t, err)
	must(t, dies.Lock(t.Context()))
	must(t, dies.Close())
	want(t, rw.RLock(patient(t)), sharedseg.ErrCorrupt)
	file, err := os.ReadFile(path)
	must(t, err)
	if word := binary.NativeEndian.Uint32(file[layout.MutexOff:]); word != 0 {
		t.Errorf("the word is %#x", word)
	}
	must(t, rw.Close())
}

// When the file of a mutex is unlinked, its handles go on with the old mutex,
// and later opens get a new one.
func TestUnlinked(t *testing.T) {
	o := &ipcsync.Options{Dir: proctest.TempDir(t)}
	path := filepath.Join(o.Dir, "m")
	a, b := open(t, "m", o), open(t, "m", o)
	must(t, os.Remove(path))
	fresh := open(t, "m", o)
	must(t, a.Lock(t.Context()))
	if locked, err := b.TryLock(); locked || err != nil {
		t.Errorf("TryLock of the old mutex = %v, %v", locked, err)
	}
	must(t, fresh.Lock(patient(t)))
	must(t, fresh.Unlock())
	must(t, a.Close())
	want(t, b.Lock(patient(t)), sharedseg.ErrOwnerDied)
	must(t, b.Close())
	if _, err := os.Lstat(path); err != nil {
		t.Error("the old handles removed the new mutex: ", err)
	}
	must(t, open(t, "m", o).Lock(patient(t)))
	if locked, err := fresh.TryLock(); locked || err != nil {
		t.Errorf("TryLock of the new mutex = %v, %v", locked, err)
	}
}

package ipcsync_test

import (
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/sharedseg/sharedseg/internal/layout"
	"github.com/sharedseg/sharedseg/internal/proctest"
	"github.com/sharedseg/sharedseg/sync"
)

// Close does not wait long for a process that is stopped while it updates the
// counts of a semaphore or a Cond. The test writes that process into the word
// of the internal mutex.
func TestCloseBesideStopped(t *testing.T) {
	o := &ipcsync.Options{Dir: proctest.TempDir(t)}
	m, err := ipcsync.OpenMutex("m", o)
	must(t, err)
	proctest.CloseAtEnd(t, m)
	sem, err := ipcsync.OpenSemaphore("sem", 1, o)
	must(t, err)
	must(t, sem.Acquire(patient(t), 1))
	cond, err := ipcsync.OpenCond("cond", m, o)
	must(t, err)
	other := openSem(t, "sem", 1, o) // the owner
	otherCond, err := ipcsync.OpenCond("cond", m, o)
	must(t, err)
	proctest.CloseAtEnd(t, otherCond)
	for _, name := range []string{"sem", "cond"} {
		own(t, filepath.Join(o.Dir, name), layout.NewIdent(1, 1))
	}
	closed := make(chan error, 1)
	go func() { closed <- errors.Join(sem.Close(), cond.Close()) }()
	select {
	case err := <-closed:
		must(t, err)
	case <-time.After(10 * time.Second):
		t.Error("Close waits for a process that is stopped")
	}
	for _, name := range []string{"sem", "cond"} {
		own(t, filepath.Join(o.Dir, name), 0)
	}
	if !tries(t, other, 1) {
		t.Error("the permit is lost")
	}
}

// own writes the owner of a mutex word to the file of its mapping.
func own(t *testing.T, path string, owner layout.Ident) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	must(t, err)
	_, err = f.WriteAt(binary.NativeEndian.AppendUint32(nil, uint32(owner)), layout.MutexOff)
	must(t, errors.Join(err, f.Close()))
}

package ipcsync_test

import (
	"errors"
	"io/fs"
	"testing"

	"github.com/sharedseg/sharedseg"
	"github.com/sharedseg/sharedseg/internal/proctest"
	"github.com/sharedseg/sharedseg/sync"
)

// roles are the parts of tests that run in processes of their own.
var roles = map[string]func([]string) error{
	"counter": counter,
	"owner":   owner,
	"churner": churner,
	"waiter":  waiter,
}

func TestMain(m *testing.M) { proctest.Main(m, roles) }

// open opens a mutex and closes it when the test ends.
func open(t testing.TB, name string, o *ipcsync.Options) *ipcsync.Mutex {
	t.Helper()
	first := handles(t, name, o) == 0
	m, err := ipcsync.OpenMutex(name, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if first {
			proctest.Gone(t, func() bool { return handles(t, name, o) <= 1 }) // otherwise Close leaves the file
		}
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	})
	return m
}

// handles returns the number of open handles of a mutex.
func handles(t testing.TB, name string, o *ipcsync.Options) int {
	t.Helper()
	info, err := sharedseg.Stat(name, o.Place())
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
	return info.Writers
}

var (
	must, want      = proctest.Must, proctest.Want
	patient, during = proctest.Patient, proctest.During
)

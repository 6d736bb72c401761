package segment_test

import (
	"context"
	"errors"
	"io/fs"
	"iter"
	"testing"

	"github.com/sharedseg/sharedseg"
	"github.com/sharedseg/sharedseg/codec"
	"github.com/sharedseg/sharedseg/internal/proctest"
	"github.com/sharedseg/sharedseg/segment"
)

// roles are the parts of tests that run in processes of their own.
var roles = map[string]func([]string) error{
	"filler": filler, "borrower": borrower, "dropper": dropper, "lender": lender, "numberer": numberer,
	"block writer": blockWriter,
	"block reader": blockReader,
	"counter":      counter,
	"opener":       opener,
	"holder":       holder,
	"updater":      stuckUpdater,
	"watcher":      watcher,
	"stranger":     stranger,
}

func TestMain(m *testing.M) { proctest.Main(m, roles) }

// open opens a segment and closes it when the test ends.
func open[T any](t testing.TB, name string, c codec.Codec[T], o *segment.Options) *segment.Segment[T] {
	t.Helper()
	s, err := segment.Open(name, c, o)
	must(t, err)
	t.Cleanup(func() {
		if s.Created() {
			// Otherwise Close leaves the file. The test may have spoiled the
			// file.
			gone(t, name, o, 1, sharedseg.ErrCorrupt, sharedseg.ErrIncompatible, fs.ErrPermission)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// gone waits until a segment has at most so many writable handles, and no
// Reader. Any error of Stat fails the test, except fs.ErrNotExist and those
// allowed.
func gone(t testing.TB, name string, o *segment.Options, writers int, allowed ...error) {
	t.Helper()
	proctest.Gone(t, func() bool {
		info, err := sharedseg.Stat(name, o.Place())
		if err == nil {
			return info.Writers <= writers && info.Readers == 0
		}
		for _, a := range append(allowed, fs.ErrNotExist) {
			if errors.Is(err, a) {
				return true
			}
		}
		t.Error(err)
		return true
	})
}

var (
	must, want      = proctest.Must, proctest.Want
	patient, during = proctest.Patient, proctest.During
)

// readable is a Segment or a Reader.
type readable[T any] interface {
	Load() (T, error)
	LoadContext(context.Context) (T, error)
	LoadInto(*T) (uint64, error)
	Version() uint64
	Wait(context.Context, uint64) (uint64, error)
	Watch(context.Context) iter.Seq2[T, error]
}

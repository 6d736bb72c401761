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

// roles are the parts that tests play in processes of their own.
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

// open opens a segment of the test's own and closes it at the test's end.
func open[T any](t testing.TB, name string, c codec.Codec[T], o *segment.Options) *segment.Segment[T] {
	t.Helper()
	s, err := segment.Open(name, c, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if s.Created() && !spoiled(name, o) {
			gone(t, name, o, 1) // or Close would leave the file
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// spoiled reports whether a test has spoiled a segment's file, so that Stat
// cannot tell who has it open.
func spoiled(name string, o *segment.Options) bool {
	_, err := sharedseg.Stat(name, o.Place())
	for _, e := range []error{sharedseg.ErrCorrupt, sharedseg.ErrIncompatible, fs.ErrPermission} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// gone waits until a segment has no more than so many writable handles, and no
// Reader.
func gone(t testing.TB, name string, o *segment.Options, writers int) {
	t.Helper()
	proctest.Gone(t, func() bool {
		info, err := sharedseg.Stat(name, o.Place())
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Error(err)
			return true
		}
		return info.Writers <= writers && info.Readers == 0
	})
}

func want(t testing.TB, err, target error) {
	t.Helper()
	if !errors.Is(err, target) {
		t.Errorf("error is %v, want %v", err, target)
	}
}

// readable is a Reader or a Segment.
type readable[T any] interface {
	Load() (T, error)
	LoadContext(context.Context) (T, error)
	LoadInto(*T) (uint64, error)
	Version() uint64
	Wait(context.Context, uint64) (uint64, error)
	Watch(context.Context) iter.Seq2[T, error]
}

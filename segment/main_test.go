package segment_test

import (
	"errors"
	"runtime"
	"testing"
	"time"

	"github.com/sharedseg/sharedseg/codec"
	"github.com/sharedseg/sharedseg/internal/proctest"
	"github.com/sharedseg/sharedseg/segment"
)

// roles are the parts that tests play in processes of their own.
var roles = map[string]func([]string) error{
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
		// The last Close takes the file away, unless it finds a killed process that is not quite gone.
		if s.Created() && runtime.GOOS != "windows" {
			until(t, name, o, func(info segment.Info) bool { return info.Writers <= 1 && !info.Readers })
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// until returns when Stat says of a segment what is wanted. The kernel lets go of what a killed process had open when it
// lets its memory go, and that is a moment after its end if somebody looks at it just then, as ps does.
func until(t testing.TB, name string, o *segment.Options, wanted func(segment.Info) bool) {
	t.Helper()
	for start := time.Now(); ; time.Sleep(time.Millisecond) {
		info, err := segment.Stat(name, o)
		if err != nil || wanted(info) {
			return
		}
		if time.Since(start) > proctest.Patience {
			t.Fatalf("Stat = %+v", info)
		}
	}
}

func unused(info segment.Info) bool { return info.Writers == 0 && !info.Readers }

func want(t testing.TB, err, target error) {
	t.Helper()
	if !errors.Is(err, target) {
		t.Errorf("error is %v, want %v", err, target)
	}
}

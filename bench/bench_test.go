package bench

import (
	"maps"
	"os"
	"os/exec"
	"strings"
	"testing"
	"unsafe"

	"github.com/sharedseg/sharedseg/bench/internal/harness"
	"github.com/sharedseg/sharedseg/codec"
	"github.com/sharedseg/sharedseg/internal/fault"
	"github.com/sharedseg/sharedseg/internal/proctest"
	"github.com/sharedseg/sharedseg/segment"
)

func TestMain(m *testing.M) {
	roles := map[string]func([]string) error{
		"reader":   reader,
		"watchers": watchers,
		"watched":  watched,
		"borrower": borrower,
		"pairing":  pairing,
	}
	maps.Copy(roles, takeovers.Roles())
	maps.Copy(roles, queues.Roles())
	maps.Copy(roles, echoes.Roles())
	maps.Copy(roles, fanOutRoles())
	maps.Copy(roles, followRoles())
	proctest.Main(m, roles)
}

// TestOnce runs each operation once. Each benchmark checks its results at its
// end.
func TestOnce(t *testing.T) {
	open(t, proctest.Name(t), codec.Bytes(), nil) // skips if segments are not supported
	exe, err := os.Executable()
	harness.Must(t, err)
	cmd := exec.CommandContext(t.Context(), exe, "-test.run=^$", "-test.bench=.", "-test.benchtime=1x", "-test.short")
	// Otherwise each process with the race detector would sleep for a second
	// when it exits.
	cmd.Env = append(os.Environ(), "GORACE="+os.Getenv("GORACE")+" atexit_sleep_ms=0")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, name := range []string{
		"Load/impl=segment", "Store/impl=segment", "Lock/impl=ipcsync.Mutex", "OpenClose/impl=segment", "First/impl=segment",
		"Readers/impl=segment", "FanOut/impl=segment", "Borrowers/impl=segment", "CatchUp/impl=segment", "Follow/impl=segment",
		"Watchers/impl=segment", "Watched/impl=segment",
		"Takeover/impl=ipcsync.Mutex", "Takeover/impl=queue", "RoundTrip/impl=segment", "RoundTrip/impl=queue",
		"RoundTrip/impl=ipcsync.Event", "RoundTrip/impl=ipcsync.Cond",
		"RWMutex/impl=ipcsync.RWMutex", "Semaphore/impl=ipcsync.Semaphore",
		"Queue/impl=queue", "Queue/impl=chan",
	} {
		if !strings.Contains(string(out), "\nBenchmark"+name+"/") {
			t.Errorf("no result of %s in\n%s", name, out)
		}
	}
}

// open opens a segment, and closes it when the benchmark ends.
func open[T any](tb testing.TB, name string, c codec.Codec[T], o *segment.Options) *segment.Segment[T] {
	tb.Helper()
	s, err := segment.Open(name, c, o)
	return harness.Keep(tb, s, err)
}

// faultKey is the last part of the names of this library's benchmarks. It says
// how this process, and the processes that it starts, catch faults of mapped
// memory. The library decides that, so faultKey asks it, by watching a page
// that will not fault.
var faultKey = func() string {
	page := os.Getpagesize()
	mem := make([]byte, 2*page)
	start := page - int(uintptr(unsafe.Pointer(unsafe.SliceData(mem))))&(page-1)
	r := fault.Watch(mem[start:][:page])
	defer r.Forget()
	if !r.Guarded() {
		return "/fault=trap"
	}
	return "/fault=guard"
}()

// readsKey returns the part of a name for Options.LockReads.
func readsKey(lockReads bool) string {
	if lockReads {
		return "/reads=locked"
	}
	return "/reads=free"
}

// onOff returns the value of a boolean key.
func onOff(on bool) string {
	if on {
		return "on"
	}
	return "off"
}

package bench

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sharedseg/sharedseg/codec"
	"github.com/sharedseg/sharedseg/internal/proctest"
	"github.com/sharedseg/sharedseg/segment"
)

func TestMain(m *testing.M) {
	proctest.Main(m, map[string]func([]string) error{
		"hammer": hammer,
		"owner":  owner,
		"reader": reader,
		"echo":   echo,
	})
}

// TestOnce runs each operation once. All benchmarks check at their end that they did what they measure.
func TestOnce(t *testing.T) {
	open(t, proctest.Name(t), codec.Bytes(), nil) // or skip
	exe, err := os.Executable()
	must(t, err)
	cmd := exec.CommandContext(t.Context(), exe, "-test.run=^$", "-test.bench=.", "-test.benchtime=1x", "-test.short")
	// The race detector would have each of many processes sleep for a second at its end.
	cmd.Env = append(os.Environ(), "GORACE="+os.Getenv("GORACE")+" atexit_sleep_ms=0")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, name := range []string{
		"Load/impl=segment", "Store/impl=segment", "Lock/impl=ipcsync.Mutex", "OpenClose/impl=segment",
		"Readers/impl=segment", "Takeover/impl=ipcsync.Mutex", "RoundTrip/impl=segment",
	} {
		if !strings.Contains(string(out), "\nBenchmark"+name+"/") {
			t.Errorf("no result of %s in\n%s", name, out)
		}
	}
}

// run is b.Run for an operation that moves size bytes, 0 for none.
func run(b *testing.B, name string, size int, f func(b *testing.B)) {
	b.Run(name, func(b *testing.B) {
		b.ReportAllocs()
		if size > 0 {
			b.SetBytes(int64(size))
		}
		f(b)
	})
}

// keep returns the handle that a function has opened, and closes it when the benchmark ends.
func keep[H io.Closer](tb testing.TB, h H, err error) H {
	tb.Helper()
	if errors.Is(err, errors.ErrUnsupported) {
		tb.Skip("no shared memory in this build: ", err)
	}
	must(tb, err)
	tb.Cleanup(func() { must(tb, h.Close()) })
	return h
}

// open opens a segment until the benchmark ends.
func open[T any](tb testing.TB, name string, c codec.Codec[T], o *segment.Options) *segment.Segment[T] {
	tb.Helper()
	s, err := segment.Open(name, c, o)
	return keep(tb, s, err)
}

func must(tb testing.TB, err error) {
	tb.Helper()
	if err != nil {
		tb.Fatal(err)
	}
}

// onOff is the value of a key.
func onOff(on bool) string {
	if on {
		return "on"
	}
	return "off"
}

func sizeName(n int) string {
	switch {
	case n >= 1<<20 && n%(1<<20) == 0:
		return fmt.Sprintf("%dMiB", n>>20)
	case n >= 1<<10 && n%(1<<10) == 0:
		return fmt.Sprintf("%dKiB", n>>10)
	}
	return fmt.Sprintf("%dB", n)
}

// find returns the entry of a table that the parent and its children have in common.
func find[V any](table map[string]V, key string) (V, error) {
	v, ok := table[key]
	if !ok {
		return v, fmt.Errorf("%q is none of %v", key, slices.Sorted(maps.Keys(table)))
	}
	return v, nil
}

// latencies are the times of single operations, the last ones if there are many.
type latencies struct {
	last []time.Duration
	n    int
	sum  time.Duration
}

const latenciesKept = 1 << 16

func newLatencies() *latencies { return &latencies{last: make([]time.Duration, 0, latenciesKept)} }

func (l *latencies) add(d time.Duration) {
	if l.n < latenciesKept {
		l.last = append(l.last, d)
	} else {
		l.last[l.n%latenciesKept] = d
	}
	l.n++
	l.sum += d
}

// report reports quantiles, and the mean as ns/op.
func (l *latencies) report(b *testing.B) {
	slices.Sort(l.last)
	at := func(q float64) float64 { return float64(l.last[int(q*float64(len(l.last)-1)+0.5)]) }
	b.ReportMetric(float64(l.sum)/float64(l.n), "ns/op")
	b.ReportMetric(at(0.50), "p50-ns")
	b.ReportMetric(at(0.99), "p99-ns")
}

package main

import (
	"io"
	"math"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/perf/benchfmt"
)

const output = `goversion: go1.26.8
numcpu: 2
benchtime: 300ms
goos: linux
goarch: amd64
pkg: example.org/bench
cpu: Some CPU @ 2.0GHz
BenchmarkLock/impl=ipcsync.Mutex/procs=1/fault=trap-2   100	 30.0 ns/op	 0 B/op	 0 allocs/op
BenchmarkLock/impl=sync.Mutex/procs=1-2                 100	 10.0 ns/op	 0 B/op	 0 allocs/op
BenchmarkLock/impl=ipcsync.Mutex/procs=1/fault=guard-2  100	 40.0 ns/op	 0 B/op	 0 allocs/op
BenchmarkWatched/impl=segment/segments=2000/fault=trap-2  8	 90000 ns/op	 40 threads	 0.25 idle-cpu-%
PASS
`

const deaths = `deaths: 1000
BenchmarkTakeover/impl=ipcsync.Mutex/waiter=late/fault=trap-2        1	 20538 ns/op	 18564 p50-ns	 65022 p99-ns
`

func parsed(t *testing.T, runs ...string) *results {
	t.Helper()
	r := newResults()
	if err := r.parse(strings.NewReader(strings.Join(runs, "")), "test"); err != nil {
		t.Fatal(err)
	}
	return r
}

func TestParse(t *testing.T) {
	r := parsed(t, output, strings.ReplaceAll(output, "30.0", "90.0"), strings.ReplaceAll(output, "10.0", "20.0"))
	ours, base := nsPerOp("Lock/impl=ipcsync.Mutex/procs=1/fault=trap"), nsPerOp("Lock/impl=sync.Mutex/procs=1")
	if r.config["cpu"] != "Some CPU @ 2.0GHz" {
		t.Errorf("cpu is %q", r.config["cpu"])
	}
	if len(r.names) != 4 {
		t.Errorf("names are %q", r.names)
	}
	if got := r.median(ours); got != 30 {
		t.Errorf("median is %v", got)
	}
	if got := summary(r.ratios(ours, base)).Center; got != 3 { // of 3, 9 and 1.5
		t.Errorf("ratio is %v", got)
	}
	if got := r.median(nsPerOp("None")); !math.IsNaN(got) {
		t.Errorf("median of nothing is %v", got)
	}
	for _, wrong := range []string{
		"BenchmarkX 1 many ns/op\n",
		"pkg: example.org/other\nBenchmarkLock/impl=sync.Mutex/procs=1-2 100 10.0 ns/op\n", // in both packages
	} {
		if err := r.parse(strings.NewReader(wrong), "test"); err == nil {
			t.Errorf("no error for %q", wrong)
		}
	}
}

func TestParseName(t *testing.T) {
	name, b := parseName(benchfmt.Name("Lock/impl=a/b-c/procs=4/fault=trap-2"))
	if want := "Lock/impl=a/b-c/procs=4/fault=trap"; name != want {
		t.Errorf("name is %q, want %q", name, want)
	}
	if diff := cmp.Diff(map[string]string{"impl": "a/b-c", "procs": "4", "fault": "trap"}, b.keys); b.base != "Lock" || diff != "" {
		t.Errorf("base is %q; %s", b.base, diff)
	}
}

func TestTables(t *testing.T) {
	const machine = "go1.26.8, linux/amd64, 2 processors (Some CPU @ 2.0GHz). " +
		"Medians of 5 rounds of 300ms each; Takeover: one of 1000 deaths.\n"
	const budgets = `| what | budget | measured | met |
| --- | --- | --- | --- |
| Lock+Unlock | ≤ 1.5 x sync.Mutex | 3 ± 17% (30 ns : 10 ns) | no |
| Lock+Unlock, guard | | 4 (40 ns : 10 ns) | |
| 2,000 watched segments, threads | ≤ 64 | 40 | yes |
| 2,000 watched segments, idle, % of a processor | ≤ 0.1 | 0.25 | no |
| Allocations: Lock+Unlock | ≤ 0 | 0 | yes |
`
	const medians = "| benchmark | ns/op | MB/s | B/op | allocs/op | others |\n" +
		"| --- | ---: | ---: | ---: | ---: | --- |\n" +
		"| `Lock/impl=ipcsync.Mutex/procs=1/fault=trap` | 30 ± 17% |  | 0 | 0 |  |\n" +
		"| `Lock/impl=sync.Mutex/procs=1` | 10 |  | 0 | 0 |  |\n" +
		"| `Lock/impl=ipcsync.Mutex/procs=1/fault=guard` | 40 |  | 0 | 0 |  |\n" +
		"| `Watched/impl=segment/segments=2000/fault=trap` | 90000 |  |  |  | 0.25 idle-cpu-%, 40 threads |\n" +
		"| `Takeover/impl=ipcsync.Mutex/waiter=late/fault=trap` | 20538 |  |  |  | 18564 p50-ns, 65022 p99-ns |\n"
	slower, faster := strings.ReplaceAll(output, "30.0", "35.0"), strings.ReplaceAll(output, "30.0", "29.0")
	r := parsed(t, output, slower, output, output, faster, deaths)
	for _, c := range []struct {
		write func(w io.Writer, r *results)
		want  string
	}{{writeMachine, machine}, {writeBudgets, budgets}, {writeMedians, medians}} {
		var b strings.Builder
		c.write(&b, r)
		if diff := cmp.Diff(c.want, b.String()); diff != "" {
			t.Error(diff)
		}
	}
}

// TestFewRounds checks results with too few rounds for an interval.
func TestFewRounds(t *testing.T) {
	var b strings.Builder
	writeBudgets(&b, parsed(t, output, strings.ReplaceAll(output, "30.0", "90.0")))
	if strings.Contains(b.String(), "±") {
		t.Error(b.String())
	}
}

func TestFormat(t *testing.T) {
	for _, c := range []struct {
		v    float64
		unit string
		want string
	}{
		{0, "allocs/op", "0"},
		{1, "allocs/op", "1"},
		{0.7181, "ns/op", "0.718 ns"},
		{5.496, "ns/op", "5.5 ns"},
		{97181, "p50-ns", "97.2 µs"},
		{693151, "p50-ns", "693 µs"},
		{15e6, "p99-ns", "15 ms"},
		{784531250, "loads/s", "784531250"},
	} {
		if got := format(c.v, c.unit); got != c.want {
			t.Errorf("format(%v, %q) = %q, want %q", c.v, c.unit, got, c.want)
		}
	}
}

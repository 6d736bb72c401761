package main

import (
	"math"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const output = `goos: linux
cpu: Some CPU @ 2.0GHz
BenchmarkLock/impl=ipcsync.Mutex/procs=1/fault=on-2     100	 30.0 ns/op	 0 B/op	 0 allocs/op
BenchmarkLock/impl=sync.Mutex/procs=1-2                 100	 10.0 ns/op	 0 B/op	 0 allocs/op
BenchmarkReaders/impl=segment/size=64B/guard=SeqLock-2    8	 23837500 1-reader-loads/s	 1.95 ratio
PASS
`

func parsed(t *testing.T, runs ...string) *results {
	t.Helper()
	r := newResults()
	for _, run := range runs {
		if err := r.parse(strings.NewReader(run)); err != nil {
			t.Fatal(err)
		}
	}
	return r
}

func TestParse(t *testing.T) {
	r := parsed(t, output, strings.ReplaceAll(output, "30.0", "90.0"), strings.ReplaceAll(output, "10.0", "20.0"))
	ours, base := nsPerOp("Lock/impl=ipcsync.Mutex/procs=1/fault=on"), nsPerOp("Lock/impl=sync.Mutex/procs=1")
	if r.cpu != "Some CPU @ 2.0GHz" {
		t.Errorf("cpu is %q", r.cpu)
	}
	if len(r.names) != 3 {
		t.Errorf("names are %q", r.names)
	}
	if got := r.median(ours); got != 30 {
		t.Errorf("median is %v", got)
	}
	if got := r.ratio(ours, base); got != 3 { // of 3, 9 and 1.5
		t.Errorf("ratio is %v", got)
	}
	if got := r.median(nsPerOp("None")); !math.IsNaN(got) {
		t.Errorf("median of nothing is %v", got)
	}
	if err := r.parse(strings.NewReader("BenchmarkX 1 many ns/op\n")); err == nil {
		t.Error("no error for a line that is no result")
	}
}

func TestTables(t *testing.T) {
	const budgets = `| what | budget | measured | met |
| --- | --- | --- | --- |
| Lock+Unlock, uncontended | ≤ 2 x sync.Mutex | 3.00 (30 ns : 10 ns) | no |
| Allocations: Lock+Unlock | ≤ 0 | 0 | yes |
| Loads per second of 2 processes, by that of 1 | ≥ 1.9 | 1.95 | yes |
`
	const medians = "| benchmark | ns/op | MB/s | B/op | allocs/op | others |\n" +
		"| --- | ---: | ---: | ---: | ---: | --- |\n" +
		"| `Lock/impl=ipcsync.Mutex/procs=1/fault=on` | 30 |  | 0 | 0 |  |\n" +
		"| `Lock/impl=sync.Mutex/procs=1` | 10 |  | 0 | 0 |  |\n" +
		"| `Readers/impl=segment/size=64B/guard=SeqLock` |  |  |  |  | 1.95 ratio, 23837500 1-reader-loads/s |\n"
	r := parsed(t, output)
	var b, m strings.Builder
	writeBudgets(&b, r)
	writeMedians(&m, r)
	if diff := cmp.Diff(budgets, b.String()); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(medians, m.String()); diff != "" {
		t.Error(diff)
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

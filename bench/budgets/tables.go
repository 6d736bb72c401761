package main

import (
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
)

// A budget is a promise about a measure.
type budget struct {
	what  string
	ours  measure
	than  string  // what it is measured against, if anything
	base  measure // likewise
	limit float64 // of the ratio, or of the measure itself; NaN: it is there for comparison
	least bool    // the limit is the lowest that is good, not the highest
}

// In nanoseconds.
const (
	microsecond = 1e3
	millisecond = 1e6
)

// Parts of names.
const (
	usual     = "/guard=SeqLock/fault=on"
	fixed64   = "/codec=Fixed/size=64B"
	mutex     = "Lock/impl=ipcsync.Mutex/procs=1/fault="
	roundTrip = "/size=64B/load="
)

func budgets() []budget {
	all := []budget{
		{what: "Lock+Unlock, uncontended", ours: nsPerOp(mutex + "on"),
			than: "sync.Mutex", base: nsPerOp("Lock/impl=sync.Mutex/procs=1"), limit: 2},
		{what: "Lock+Unlock, uncontended, NoFaultGuard", ours: nsPerOp(mutex + "off"),
			than: "sync.Mutex", base: nsPerOp("Lock/impl=sync.Mutex/procs=1"), limit: 2},
		{what: "Load, Fixed, 64 B", ours: nsPerOp("Load/impl=segment" + fixed64 + "/call=Load" + usual),
			than: "RWMutex and copy", base: nsPerOp("Load/impl=rwmutex" + fixed64), limit: 1},
		{what: "Load, Fixed, 64 B, NoFaultGuard", ours: nsPerOp("Load/impl=segment" + fixed64 + "/call=Load/guard=SeqLock/fault=off"),
			than: "copy", base: nsPerOp("Load/impl=copy" + fixed64), limit: 2.5},
		{what: "Store, Fixed, 64 B", ours: nsPerOp("Store/impl=segment" + fixed64 + "/call=Store" + usual),
			than: "Mutex and copy", base: nsPerOp("Store/impl=mutex" + fixed64), limit: 2.5},
	}
	for _, call := range []string{"LoadInto", "Store"} {
		for _, size := range []string{"4KiB", "64KiB", "1MiB"} {
			limit := 1.05
			if size == "4KiB" {
				limit = 1.25
			}
			bench, value := strings.TrimSuffix(call, "Into"), "/codec=Bytes/size="+size
			all = append(all, budget{
				what: fmt.Sprintf("%s, Bytes, %s", call, size),
				ours: nsPerOp(bench + "/impl=segment" + value + "/call=" + call + usual),
				than: "copy", base: nsPerOp(bench + "/impl=copy" + value), limit: limit,
			})
		}
	}
	for _, a := range []struct {
		what, bench string
		allocs      float64
	}{
		{"Lock+Unlock", mutex + "on", 0},
		{"Load, Fixed", "Load/impl=segment" + fixed64 + "/call=Load" + usual, 0},
		{"Store, Fixed", "Store/impl=segment" + fixed64 + "/call=Store" + usual, 0},
		{"LoadInto, Bytes", "Load/impl=segment/codec=Bytes/size=4KiB/call=LoadInto" + usual, 0},
		{"Store, String", "Store/impl=segment/codec=String/size=4KiB/call=Store" + usual, 0},
		{"Load, String", "Load/impl=segment/codec=String/size=4KiB/call=Load" + usual, 1},
	} {
		all = append(all, budget{what: "Allocations: " + a.what, ours: measure{a.bench, "allocs/op"}, limit: a.allocs})
	}
	return append(all, []budget{
		{what: "Loads per second of 2 processes, by that of 1", limit: 1.9, least: true,
			ours: measure{"Readers/impl=segment/size=64B/guard=SeqLock", "ratio"}},
		{what: "The same for plain assignments, the machine's own limit", limit: math.NaN(),
			ours: measure{"Readers/impl=assign/size=64B", "ratio"}},
		{what: "64 B there and back, busy, p50", ours: measure{"RoundTrip/impl=segment" + roundTrip + "busy", "p50-ns"}, limit: 500},
		{what: "64 B there and back, busy, mean", ours: nsPerOp("RoundTrip/impl=segment" + roundTrip + "busy"), limit: 2 * microsecond},
		{what: "64 B there and back, idle, p50", ours: measure{"RoundTrip/impl=segment" + roundTrip + "idle", "p50-ns"},
			than: "pipe", base: measure{"RoundTrip/impl=pipe" + roundTrip + "idle", "p50-ns"}, limit: 1},
		{what: "Takeover, nobody waiting, p99", ours: measure{"Takeover/impl=ipcsync.Mutex/waiter=late", "p99-ns"}, limit: 15 * millisecond},
		{what: "Takeover, somebody waiting, p99", ours: measure{"Takeover/impl=ipcsync.Mutex/waiter=parked", "p99-ns"}, limit: 15 * millisecond},
		{what: "Open+Close, existing segment", ours: nsPerOp("OpenClose/impl=segment/call=Open"), limit: 60 * microsecond},
	}...)
}

func nsPerOp(bench string) measure { return measure{bench, "ns/op"} }

// writeBudgets leaves out what was not measured.
func writeBudgets(w io.Writer, r *results) {
	fmt.Fprintln(w, "| what | budget | measured | met |")
	fmt.Fprintln(w, "| --- | --- | --- | --- |")
	for _, b := range budgets() {
		ours := r.median(b.ours)
		got, limit, measured := ours, format(b.limit, b.ours.unit), format(ours, b.ours.unit)
		if b.than != "" {
			got = r.ratio(b.ours, b.base)
			limit = fmt.Sprintf("%g x %s", b.limit, b.than)
			measured = fmt.Sprintf("%.2f (%s : %s)", got, measured, format(r.median(b.base), b.base.unit))
		}
		switch {
		case math.IsNaN(got):
		case math.IsNaN(b.limit):
			fmt.Fprintf(w, "| %s | | %s | |\n", b.what, measured)
		case b.least:
			fmt.Fprintf(w, "| %s | ≥ %s | %s | %s |\n", b.what, limit, measured, yesNo(got >= b.limit))
		default:
			fmt.Fprintf(w, "| %s | ≤ %s | %s | %s |\n", b.what, limit, measured, yesNo(got <= b.limit))
		}
	}
}

// The units with a column of their own; the others share the last.
var columns = []string{"ns/op", "MB/s", "B/op", "allocs/op"}

func writeMedians(w io.Writer, r *results) {
	fmt.Fprintf(w, "| benchmark | %s | others |\n", strings.Join(columns, " | "))
	fmt.Fprintln(w, "| --- | ---: | ---: | ---: | ---: | --- |")
	for _, name := range r.names {
		fmt.Fprintf(w, "| `%s` ", name)
		for _, unit := range columns {
			cell := ""
			if v := r.median(measure{name, unit}); !math.IsNaN(v) {
				cell = number(v)
			}
			fmt.Fprintf(w, "| %s ", cell)
		}
		var others []string
		for m := range r.values {
			if m.bench == name && !slices.Contains(columns, m.unit) {
				others = append(others, number(r.median(m))+" "+m.unit)
			}
		}
		slices.Sort(others)
		fmt.Fprintf(w, "| %s |\n", strings.Join(others, ", "))
	}
}

// format writes times in a unit of suitable size.
func format(v float64, unit string) string {
	switch {
	case unit != "ns/op" && !strings.HasSuffix(unit, "-ns"):
		return number(v)
	case v < microsecond:
		return number(v) + " ns"
	case v < millisecond:
		return number(v/microsecond) + " µs"
	}
	return number(v/millisecond) + " ms"
}

// number writes three significant digits or, of what has more before the point, those.
func number(v float64) string {
	if v >= 100 {
		return strconv.FormatFloat(v, 'f', 0, 64)
	}
	return strconv.FormatFloat(v, 'g', 3, 64)
}

func yesNo(yes bool) string {
	if yes {
		return "yes"
	}
	return "no"
}

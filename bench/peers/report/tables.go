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
	contended = "Lock/impl=ipcsync.Mutex/procs="
	mutex     = contended + "1/fault="
	roundTrip = "/size=64B/load="
)

func budgets() []budget {
	all := []budget{
		{what: "Lock+Unlock, uncontended", ours: nsPerOp(mutex + "on"),
			than: "sync.Mutex", base: nsPerOp("Lock/impl=sync.Mutex/procs=1"), limit: 2},
		{what: "Lock+Unlock, uncontended, NoFaultGuard", ours: nsPerOp(mutex + "off"),
			than: "sync.Mutex", base: nsPerOp("Lock/impl=sync.Mutex/procs=1"), limit: 2},
		{what: "Lock+Unlock, 2 processes contending, per acquisition", ours: nsPerOp(contended + "2/fault=on"), limit: 40},
		{what: "Lock+Unlock, 2 processes contending, per acquisition, NoFaultGuard", ours: nsPerOp(contended + "2/fault=off"), limit: 40},
		{what: "Lock+Unlock, 4 processes contending, the least share (1 is even)", limit: 0.2, least: true,
			ours: measure{contended + "4/fault=on", "min-share"}},
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
		{what: "64 B there and back, busy, p50", ours: measure{"RoundTrip/impl=segment" + roundTrip + "busy", "p50-ns"},
			than: "unix socket", base: measure{"RoundTrip/impl=unix" + roundTrip + "busy", "p50-ns"}, limit: 0.1},
		{what: "64 B there and back, idle, p50", ours: measure{"RoundTrip/impl=segment" + roundTrip + "idle", "p50-ns"},
			than: "pipe", base: measure{"RoundTrip/impl=pipe" + roundTrip + "idle", "p50-ns"}, limit: 1},
		{what: "Takeover, nobody waiting, p50", ours: measure{"Takeover/impl=ipcsync.Mutex/waiter=late", "p50-ns"}, limit: math.NaN()},
		{what: "Takeover, nobody waiting, p99", ours: measure{"Takeover/impl=ipcsync.Mutex/waiter=late", "p99-ns"}, limit: 15 * millisecond},
		{what: "Takeover, somebody waiting, p50", ours: measure{"Takeover/impl=ipcsync.Mutex/waiter=parked", "p50-ns"}, limit: math.NaN()},
		{what: "Takeover, somebody waiting, p99", ours: measure{"Takeover/impl=ipcsync.Mutex/waiter=parked", "p99-ns"}, limit: 15 * millisecond},
		{what: "Threads of a process with 1,000 watchers", ours: measure{"Watchers/impl=segment/watchers=1000", "threads"}, limit: 49},
		{what: "Open+Close, existing segment", ours: nsPerOp("OpenClose/impl=segment/call=Open"), limit: 60 * microsecond},
	}...)
}

func nsPerOp(bench string) measure { return measure{bench, "ns/op"} }

// writeMachine says where and how it was measured, as far as that is known.
func writeMachine(w io.Writer, r *results) {
	platform := ""
	if os, arch := r.config["goos"], r.config["goarch"]; os != "" && arch != "" {
		platform = os + "/" + arch
	}
	processors := r.config["cpu"]
	if n := r.config[configCPUs]; n != "" {
		processors = fmt.Sprintf("%s processors (%s)", n, processors)
	}
	where := slices.DeleteFunc([]string{r.config[configVersion], platform, processors}, func(s string) bool { return s == "" })
	rounds := 0
	for _, v := range r.values {
		rounds = max(rounds, len(v))
	}
	how := fmt.Sprintf("Medians of %d rounds", rounds)
	if rounds == 1 {
		how = "One round"
	}
	if t := r.config[configTime]; t != "" {
		how += " of " + t + " each"
	}
	if n := r.config[configDeaths]; n != "" {
		how += "; Takeover: one of " + n + " deaths"
	}
	fmt.Fprintf(w, "%s. %s.\n", strings.Join(where, ", "), how)
}

// writeBudgets leaves out what was not measured.
func writeBudgets(w io.Writer, r *results) {
	fmt.Fprintln(w, "| what | budget | measured | met |")
	fmt.Fprintln(w, "| --- | --- | --- | --- |")
	for _, b := range budgets() {
		ours := summary(r.values[b.ours])
		got, limit, measured := ours.Center, format(b.limit, b.ours.unit), format(ours.Center, b.ours.unit)
		if b.than == "" {
			measured += spread(ours)
		} else {
			ratio := summary(r.ratios(b.ours, b.base))
			got = ratio.Center
			limit = fmt.Sprintf("%g x %s", b.limit, b.than)
			measured = fmt.Sprintf("%s%s (%s : %s)", number(got), spread(ratio), measured, format(r.median(b.base), b.base.unit))
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
			if s := summary(r.values[measure{name, unit}]); !math.IsNaN(s.Center) {
				cell = number(s.Center) + spread(s)
			}
			fmt.Fprintf(w, "| %s ", cell)
		}
		var others []string
		for m := range r.values {
			if m.bench == name && !slices.Contains(columns, m.unit) {
				s := summary(r.values[m])
				others = append(others, number(s.Center)+spread(s)+" "+m.unit)
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

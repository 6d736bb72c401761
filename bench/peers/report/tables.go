package main

import (
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
)

// A budget is a limit for a measure.
type budget struct {
	what  string
	ours  measure
	than  string  // the benchmark that it is compared with, if any
	base  measure // the measure of that benchmark
	limit float64 // of the ratio, or of the measure itself; NaN if the row is only for comparison
}

// Units of time, in nanoseconds.
const (
	microsecond = 1e3
	millisecond = 1e6
)

// Parts of names.
const (
	fixed64   = "/codec=Fixed/size=64B"
	bools64   = "/codec=FixedBools/size=64B"
	string64  = "/codec=String/size=64B"
	utf16     = "/codec=UTF16/size=64B"
	lock      = "Lock/impl=ipcsync.Mutex/procs="
	rlock     = "RWMutex/impl=ipcsync.RWMutex/op=RLock/procs=1"
	semaphore = "Semaphore/impl=ipcsync.Semaphore/procs=1"
)

// call returns the name of the benchmark of a segment's method, with the
// default options.
func call(method, value string) string {
	base := "Load"
	if method == "Store" || method == "Loan" {
		base = "Store"
	}
	return base + "/impl=segment" + value + "/call=" + method + "/reads=free" + trapKey
}

// message returns the name of the benchmark of messages from one process to
// another.
func message(impl string) string { return "Queue/impl=" + impl + "/from=1/to=1/size=64B" }

// there returns the name of the benchmark of a message to a process and back.
func there(impl, load string) string { return "RoundTrip/impl=" + impl + "/size=64B/load=" + load }

// budgets returns the budgets of the design.
func budgets() []budget {
	const rwMutex, mutex = "RWMutex and copy", "Mutex and copy"
	lockedReads := strings.Replace(call("Load", fixed64), "reads=free", "reads=locked", 1)
	calls := []budget{
		perOp("LoadInto, Fixed, 64 B", call("LoadInto", fixed64), rwMutex, "Load/impl=rwmutex"+fixed64, 1.2),
		perOp("Load, Fixed, 64 B", call("Load", fixed64), rwMutex, "Load/impl=rwmutex"+fixed64, 2),
		perOp("Store, Fixed, 64 B", call("Store", fixed64), mutex, "Store/impl=mutex"+fixed64, 2),
		perOp("Load, String, 64 B", call("Load", string64), "the codec alone", "Load/impl=codec"+string64, 1.4),
		perOp("Load with LockReads, Fixed, 64 B", lockedReads, mutex, "Load/impl=mutex"+fixed64, 3),
		perOp("Lock+Unlock", lock+"1"+trapKey, "sync.Mutex", "Lock/impl=sync.Mutex/procs=1", 1.5),
		perOp("Lock+Unlock, 2 processes contending, per acquisition", lock+"2"+trapKey, "", "", 40),
		perOp("RLock+RUnlock", rlock+trapKey, "sync.RWMutex", "Lock/impl=sync.RWMutex/procs=1", 2.5),
		perOp("Semaphore, Acquire+Release", semaphore+trapKey, "ipcsync.Mutex", lock+"1"+trapKey, 3),
	}
	for _, size := range []struct {
		name, key   string
		load, store float64
	}{
		{"64 B", "64B", 3, 3.5},
		{"4 KiB", "4KiB", 1.25, 1.25},
		{"64 KiB", "64KiB", 1.05, 1.05},
		{"1 MiB", "1MiB", 1.05, 1.05},
	} {
		value := "/codec=Bytes/size=" + size.key
		calls = append(calls,
			perOp("LoadInto, Bytes, "+size.name, call("LoadInto", value), "copy", "Load/impl=copy"+value, size.load),
			perOp("Store, Bytes, "+size.name, call("Store", value), "copy", "Store/impl=copy"+value, size.store))
	}
	for _, size := range []struct{ name, key string }{{"64 B", "64B"}, {"64 MiB", "64MiB"}} {
		value := "/codec=Bytes/size=" + size.key
		calls = append(calls,
			perOp("Borrow+Release, "+size.name, call("Borrow", value), "", "", 50),
			perOp("Loan+Publish, "+size.name, call("Loan", value), "", "", 50))
	}
	busy, idle, pipe := there("segment", "busy")+trapKey, there("segment", "idle")+trapKey, there("pipe", "idle")
	calls = append(calls,
		budget{"64 B there and back, busy, p50", measure{busy, "p50-ns"}, "", measure{}, 500},
		budget{"64 B there and back, idle, p50", measure{idle, "p50-ns"}, "pipe", measure{pipe, "p50-ns"}, 1},
		budget{"64 B there and back, idle, p99", measure{idle, "p99-ns"}, "pipe", measure{pipe, "p99-ns"}, 1},
		perOp("Open+Close, existing segment", "OpenClose/impl=segment/call=Open"+trapKey, "", "", 60*microsecond))

	const borrowers = "Borrowers/impl=segment/size=64B/borrowers="
	calls = append(calls,
		perOp("Store, 64 B, one live borrower", borrowers+"1"+trapKey, "Store without", borrowers+"0"+trapKey, 1.3))
	const alone = "Queue/impl=queue/procs=1/size=64B" + trapKey
	calls = append(calls, perOp("Queue, 64 B: Send+Receive+Done in one process", alone, "", "", 60))
	queues := []budget{
		perOp("Queue, 64 B, from process to process, per message", message("queue")+trapKey, "", "", 250),
		{"Queue, 64 B there and back, busy, p50", measure{there("queue", "busy") + trapKey, "p50-ns"}, "", measure{}, 700},
	}
	for _, impl := range []string{"mq", "pipe", "unixpacket"} {
		queues = append(queues,
			perOp("Queue, 64 B, from process to process", message("queue")+trapKey, impl, message(impl), 0.1),
			budget{"Queue, 64 B there and back, busy, p50", measure{there("queue", "busy") + trapKey, "p50-ns"},
				impl, measure{there(impl, "busy"), "p50-ns"}, 0.1})
	}
	queues = append(queues, budget{"Queue: a killed receiver's message to one that waits, p99",
		measure{"Takeover/impl=queue/waiter=parked" + trapKey, "p99-ns"}, "", measure{}, 15 * millisecond})

	const watched = "Watched/impl=segment/segments=2000" + trapKey
	all := append(append(withGuard(calls), queues...),
		budget{"2,000 watched segments, threads", measure{watched, "threads"}, "", measure{}, 64},
		budget{"2,000 watched segments, idle, % of a processor", measure{watched, "idle-cpu-%"}, "", measure{}, 0.1})
	for _, a := range []struct {
		what, bench string
		limit       float64
	}{
		{"Load, Fixed", call("Load", fixed64), 0},
		{"Store, Fixed", call("Store", fixed64), 0},
		{"Load, Fixed with bools", call("Load", bools64), 0},
		{"Store, Fixed with bools", call("Store", bools64), 0},
		{"LoadInto, Bytes", call("LoadInto", "/codec=Bytes/size=64B"), 0},
		{"Load, String", call("Load", string64), 1},
		{"Store, String", call("Store", string64), 0},
		{"Store, UTF16", call("Store", utf16), 0},
		{"Lock+Unlock", lock + "1" + trapKey, 0},
		{"Queue, Fixed: Send+Receive+Done", alone, 0},
		{"RLock+RUnlock", rlock + trapKey, 0},
		{"Semaphore, Acquire+Release", semaphore + trapKey, 0},
	} {
		all = append(all, budget{"Allocations: " + a.what, measure{a.bench, "allocs/op"}, "", measure{}, a.limit})
	}
	return all
}

// perOp returns a budget for the time of an operation, relative to another
// benchmark if than names one.
func perOp(what, ours, than, base string, limit float64) budget {
	return budget{what, nsPerOp(ours), than, nsPerOp(base), limit}
}

// withGuard returns each budget, which is for the trap, followed by the same
// measure with the guard, without a limit, for comparison.
func withGuard(all []budget) (both []budget) {
	for _, b := range all {
		guarded := b
		guarded.what += ", guard"
		guarded.ours.bench = strings.Replace(b.ours.bench, trapKey, "/fault=guard", 1)
		guarded.limit = math.NaN()
		both = append(both, b, guarded)
	}
	return both
}

func nsPerOp(bench string) measure { return measure{bench, "ns/op"} }

// writeMachine writes where and how the benchmarks were run, as far as that is
// known.
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

// writeBudgets writes the budgets, except those that were not measured.
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
		default:
			fmt.Fprintf(w, "| %s | ≤ %s | %s | %s |\n", b.what, limit, measured, yesNo(got <= b.limit))
		}
	}
}

// The units with their own columns. The other units share the last column.
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

// format formats a value. It writes times in a unit of suitable size.
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

// number formats a number with three significant digits, or with all digits
// before the point if these are more.
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

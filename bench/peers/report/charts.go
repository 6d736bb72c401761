package main

import (
	"bytes"
	"cmp"
	"fmt"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"gonum.org/v1/plot/plotter"
)

// A chart draws a figure from results, or returns nil if its benchmarks were
// not run.
type chart struct {
	file string
	draw func(r *results) (*figure, error)
}

var charts = []chart{
	{"roundtrip.svg", roundTripChart},
	{"locks.svg", locksChart},
	{"takeover.svg", takeoverChart},
	{"queue.svg", queueChart},
	{"copy.svg", copyChart},
	{"inplace.svg", inPlaceChart},
	{"watchers.svg", watchersChart},
}

// writeCharts writes the charts. It does not change a file if the benchmarks of
// its chart were not run.
func writeCharts(dir string, r *results) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for _, c := range charts {
		f, err := c.draw(r)
		if err != nil {
			return fmt.Errorf("%s: %w", c.file, err)
		}
		if f == nil {
			fmt.Fprintf(os.Stderr, "%s: not measured\n", c.file)
			continue
		}
		var b bytes.Buffer
		if err := f.writeSVG(&b); err != nil {
			return fmt.Errorf("%s: %w", c.file, err)
		}
		if err := writeFile(filepath.Join(dir, c.file), b.Bytes()); err != nil {
			return err
		}
	}
	return nil
}

// selected returns the benchmarks of a base with these values of keys, in order
// of appearance.
func (r *results) selected(base string, keys map[string]string) []string {
	return slices.DeleteFunc(slices.Clone(r.names), func(name string) bool {
		b := r.parts[name]
		if b.base != base {
			return true
		}
		for key, value := range keys {
			if b.keys[key] != value {
				return true
			}
		}
		return false
	})
}

// label returns the label of a benchmark: its mechanism, and the values of all
// keys except those that the chart shows in another way.
func (b benchmark) label(shown ...string) string {
	label := b.keys["impl"]
	for _, key := range slices.Sorted(maps.Keys(b.keys)) {
		value := b.keys[key]
		switch {
		case key == "impl" || slices.Contains(shown, key):
		case key == "fault" && value == "trap", key == "reads" && value == "free": // the default
		case key == "fault":
			label += ", " + value
		default:
			label += ", " + key + "=" + value
		}
	}
	return label
}

func (b benchmark) ours() bool {
	return slices.Contains([]string{"segment", "ipcsync.Mutex", "queue"}, b.keys["impl"])
}

// quantiles are the marks of a dot chart for the units that it has.
var quantiles = []markKind{{"p50", "p50-ns"}, {"p99", "p99-ns"}, {"p99.9", "p99.9-ns"}}

type markKind struct{ label, unit string }

func roundTripChart(r *results) (*figure, error) {
	d := dots{
		title: "64 bytes to another process and back",
		desc: "Time of a round trip by mechanism: median, 99th and 99.9th percentile, without a pause between round trips and " +
			"with one.",
		axis:  "time of a round trip, logarithmic",
		marks: quantiles,
	}
	for _, load := range []struct{ value, title string }{
		{"busy", "busy: the next one at once"},
		{"idle", "idle: 1 ms of rest before each"},
	} {
		d.panels = append(d.panels, r.quantilePanel(load.title, "RoundTrip", "load", load.value, "size"))
	}
	return d.figure()
}

func takeoverChart(r *results) (*figure, error) {
	d := dots{
		title: "A lock whose owner was killed, or a message whose receiver was",
		desc:  "Time until the next owner has the lock, or the message, by mechanism: median and 99th percentile.",
		axis:  "time to the next owner, logarithmic",
		marks: quantiles[:2],
	}
	for _, waiter := range []struct{ value, title string }{
		{"late", "no waiter: from the first attempt after the death"},
		{"parked", "with a waiter: from the kill"},
	} {
		d.panels = append(d.panels, r.quantilePanel(waiter.title, "Takeover", "waiter", waiter.value))
	}
	return d.figure()
}

// quantilePanel returns a panel with a row for each benchmark of a base with
// this value of a key.
func (r *results) quantilePanel(title, base, key, value string, shown ...string) panel {
	p := panel{title: title}
	for _, name := range r.selected(base, map[string]string{key: value}) {
		b := r.parts[name]
		row := row{label: b.label(append(shown, key)...), ours: b.ours()}
		for _, q := range quantiles {
			row.values = append(row.values, r.median(measure{name, q.unit}))
		}
		p.rows = append(p.rows, row)
	}
	return p
}

func queueChart(r *results) (*figure, error) {
	ways := []struct{ from, to, label string }{
		{"1", "1", "1 to 1"}, {"1", "2", "1 to 2"}, {"2", "1", "2 to 1"}, {"2", "2", "2 to 2"},
	}
	d := dots{
		title: "Messages from some processes to others, each to one of them",
		desc: "Time per message by mechanism, by the number of processes that send and that receive, or goroutines where " +
			"it is a channel.",
		axis: "time per message, logarithmic",
	}
	for _, way := range ways {
		d.marks = append(d.marks, markKind{label: way.label})
	}
	for _, size := range []string{"64B", "4KiB", "1MiB"} {
		n, err := parseSize(size)
		if err != nil {
			return nil, err
		}
		p := panel{title: formatSize(n)}
		rows := make(map[string]int)
		for i, way := range ways {
			for _, name := range r.selected("Queue", map[string]string{"size": size, "from": way.from, "to": way.to}) {
				b := r.parts[name]
				label := b.label("from", "to", "size")
				if b.keys["impl"] == "chan" {
					label += ", goroutines"
				}
				at, ok := rows[label]
				if !ok {
					at = len(p.rows)
					rows[label] = at
					p.rows = append(p.rows, row{label, b.ours(), slices.Repeat([]float64{math.NaN()}, len(ways))})
				}
				p.rows[at].values[i] = r.median(nsPerOp(name))
			}
		}
		d.panels = append(d.panels, p)
	}
	return d.figure()
}

func locksChart(r *results) (*figure, error) {
	var all []int // numbers of processes
	rows := make(map[string]map[int]float64)
	ours, goroutines := make(map[string]bool), make(map[string]bool)
	for _, name := range r.selected("Lock", nil) {
		b := r.parts[name]
		procs, err := strconv.Atoi(cmp.Or(b.keys["procs"], b.keys["goroutines"]))
		if err != nil {
			continue
		}
		label := b.label("procs", "goroutines")
		goroutines[label] = goroutines[label] || b.keys["goroutines"] != ""
		if rows[label] == nil {
			rows[label] = make(map[int]float64)
		}
		rows[label][procs] = r.median(nsPerOp(name))
		ours[label] = b.ours()
		all = append(all, procs)
	}
	slices.Sort(all)
	all = slices.Compact(all)
	d := dots{
		title: "Lock and unlock",
		desc: "Time of an acquisition by mechanism, by the number of processes, or goroutines where the lock is one of " +
			"package sync, that do nothing but lock and unlock.",
		axis: "time of an acquisition, by any of the processes, logarithmic",
	}
	var p panel
	for _, n := range all {
		label := fmt.Sprintf("%d processes", n)
		if n == 1 {
			label = "1 process"
		}
		d.marks = append(d.marks, markKind{label: label})
	}
	for _, label := range slices.Sorted(maps.Keys(rows)) {
		row := row{label: label, ours: ours[label]}
		if goroutines[label] {
			row.label += ", goroutines"
		}
		for _, n := range all {
			v, ok := rows[label][n]
			if !ok {
				v = math.NaN()
			}
			row.values = append(row.values, v)
		}
		p.rows = append(p.rows, row)
	}
	d.panels = []panel{p}
	return d.figure()
}

func copyChart(r *results) (*figure, error) {
	c := curves{
		title: "Bytes into and out of shared memory",
		desc:  "Throughput by the size of the value and by mechanism.",
		xAxis: "size of the value", xFormat: formatSize,
		yAxis: "throughput, logarithmic", yFormat: formatThroughput,
	}
	for _, p := range []struct{ base, call, title string }{
		{"Load", "LoadInto", "LoadInto: mapping to heap"},
		{"Store", "Store", "Store: heap to mapping"},
	} {
		lines := newLines()
		for _, name := range r.selected(p.base, map[string]string{"codec": "Bytes"}) {
			b := r.parts[name]
			size, err := parseSize(b.keys["size"])
			// copyring is left out: it is there to measure what a segment's
			// ring costs, and is as fast as copy.
			if err != nil || size < 64 || b.keys["reads"] == "locked" || b.keys["impl"] == "copyring" {
				continue
			}
			if call := b.keys["call"]; call != "" && call != p.call {
				continue
			}
			lines.add(b.label("codec", "size", "call"), b.ours(), size, size/r.median(nsPerOp(name)))
		}
		c.panels = append(c.panels, linePanel{p.title, lines.all})
	}
	return c.figure()
}

// inPlaceChart shows only the trap. Other charts show what the guard adds to
// each call.
func inPlaceChart(r *results) (*figure, error) {
	c := curves{
		title: "In place, or copied",
		desc:  "Time by the size of the value: in place, copied, and copied without protection.",
		xAxis: "size of the value", xFormat: formatSize,
		yAxis: "time, logarithmic", yFormat: formatTime,
	}
	for _, p := range []struct{ base, inPlace, copied, title string }{
		{"Load", "Borrow", "LoadInto", "read"},
		{"Store", "Loan", "Store", "write"},
	} {
		lines := newLines()
		for _, l := range []struct{ label, impl, call string }{
			{"Borrow, Loan: in place", "segment", p.inPlace},
			{"LoadInto, Store: copied", "segment", p.copied},
			{"copy, without protection", "copy", ""},
		} {
			for _, name := range r.selected(p.base, map[string]string{"codec": "Bytes", "impl": l.impl, "call": l.call}) {
				b := r.parts[name]
				size, err := parseSize(b.keys["size"])
				if err != nil || size < 64 || b.keys["reads"] == "locked" || b.keys["fault"] == "guard" {
					continue
				}
				lines.add(l.label, b.ours(), size, r.median(nsPerOp(name)))
			}
		}
		c.panels = append(c.panels, linePanel{p.title, lines.all})
	}
	return c.figure()
}

func watchersChart(r *results) (*figure, error) {
	c := curves{
		title: "From a Store until all watchers have the value",
		desc:  "By the number of watchers: the time from a Store until the last one has the value, and that time divided by their number.",
		xAxis: "watchers", xFormat: number,
		yAxis: "time, logarithmic", yFormat: formatTime,
	}
	for _, p := range []struct{ unit, title string }{
		{"ns/op", "until the last one has it"},
		{"ns/watcher", "the same, divided by the number of watchers"},
	} {
		lines := newLines()
		for _, name := range r.selected("Watchers", nil) {
			b := r.parts[name]
			if n, err := strconv.ParseFloat(b.keys["watchers"], 64); err == nil {
				lines.add(b.label("watchers"), b.ours(), n, r.median(measure{name, p.unit}))
			}
		}
		c.panels = append(c.panels, linePanel{p.title, lines.all})
	}
	return c.figure()
}

// lines collects points into lines.
type lines struct {
	all   []line
	index map[string]int // index in all, by label
}

func newLines() *lines { return &lines{index: make(map[string]int)} }

// add adds a point. It ignores a value that was not measured.
func (l *lines) add(label string, ours bool, x, y float64) {
	if !drawable(x) || !drawable(y) {
		return
	}
	i, ok := l.index[label]
	if !ok {
		i = len(l.all)
		l.index[label] = i
		l.all = append(l.all, line{label: label, ours: ours})
	}
	points := append(l.all[i].points, plotter.XY{X: x, Y: y})
	slices.SortFunc(points, func(a, b plotter.XY) int { return cmp.Compare(a.X, b.X) })
	l.all[i].points = points
}

func formatTime(ns float64) string { return format(ns, "ns/op") }

func formatThroughput(bytesPerNs float64) string {
	if bytesPerNs < 1 {
		return number(bytesPerNs*1000) + " MB/s"
	}
	return number(bytesPerNs) + " GB/s"
}

var sizeUnits = []struct {
	name string
	size float64
}{{"MiB", 1 << 20}, {"KiB", 1 << 10}, {"B", 1}}

func formatSize(bytes float64) string {
	for _, u := range sizeUnits {
		if bytes >= u.size {
			return number(bytes/u.size) + " " + u.name
		}
	}
	return number(bytes)
}

// parseSize parses a size in a benchmark's name, such as 4KiB.
func parseSize(s string) (float64, error) {
	for _, u := range sizeUnits {
		if digits, ok := strings.CutSuffix(s, u.name); ok {
			n, err := strconv.ParseFloat(digits, 64)
			return n * u.size, err
		}
	}
	return 0, fmt.Errorf("%q is not a size", s)
}

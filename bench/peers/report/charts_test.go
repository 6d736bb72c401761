package main

import (
	"encoding/xml"
	"errors"
	"fmt"
	"image/color"
	"io"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// chartOutput has results for each chart.
func chartOutput() string {
	var b strings.Builder
	n := 0
	result := func(name string, units ...string) {
		fmt.Fprintf(&b, "Benchmark%s-2 1", name)
		for _, unit := range units {
			n = n*31%9973 + 7
			fmt.Fprintf(&b, " %d %s", n, unit)
		}
		b.WriteByte('\n')
	}
	quantiles := []string{"ns/op", "p50-ns", "p99-ns", "p99.9-ns"}
	for _, impl := range []string{"segment", "pipe", "unix", "a<b&c"} {
		for _, load := range []string{"busy", "idle"} {
			result("RoundTrip/impl="+impl+"/size=64B/load="+load, quantiles...)
		}
	}
	for _, impl := range []string{"ipcsync.Mutex", "queue", "flock", "gofrs/flock"} {
		for _, waiter := range []string{"late", "parked"} {
			result("Takeover/impl="+impl+"/waiter="+waiter, quantiles...)
		}
	}
	for _, size := range []string{"64B", "4KiB", "1MiB"} {
		for _, way := range []string{"from=1/to=1", "from=1/to=2", "from=2/to=1", "from=2/to=2"} {
			for _, impl := range []string{"queue/%s/size=%s/fault=trap", "queue/%s/size=%s/fault=guard", "chan/%s/size=%s"} {
				result("Queue/impl="+fmt.Sprintf(impl, way, size), "ns/op", "MB/s")
			}
		}
	}
	result("Queue/impl=queue/procs=1/size=64B/fault=trap", "ns/op")
	result("Queue/impl=tcp/from=1/to=1/size=64B", "ns/op")
	for procs := 1; procs <= 4; procs *= 2 {
		for _, impl := range []string{"ipcsync.Mutex/procs=%d/fault=trap", "ipcsync.Mutex/procs=%d/fault=guard", "flock/procs=%d"} {
			result("Lock/impl="+fmt.Sprintf(impl, procs), "ns/op", "min-share")
		}
		result(fmt.Sprintf("Lock/impl=sync.Mutex/goroutines=%d", procs), "ns/op")
	}
	for _, size := range []string{"64B", "4KiB", "1MiB"} {
		for _, value := range []string{"/codec=Bytes/size=" + size, "/codec=Fixed/size=" + size} {
			result("Load/impl=segment"+value+"/call=LoadInto/reads=free/fault=trap", "ns/op")
			result("Load/impl=segment"+value+"/call=LoadInto/reads=locked/fault=trap", "ns/op")
			result("Load/impl=segment"+value+"/call=Borrow/reads=free/fault=trap", "ns/op")
			result("Load/impl=mmap-go"+value, "ns/op")
			result("Load/impl=copy"+value, "ns/op")
			result("Store/impl=segment"+value+"/call=Store/reads=free/fault=guard", "ns/op")
			result("Store/impl=segment"+value+"/call=Store/reads=free/fault=trap", "ns/op")
			result("Store/impl=segment"+value+"/call=Loan/reads=free/fault=guard", "ns/op")
			result("Store/impl=segment"+value+"/call=Loan/reads=free/fault=trap", "ns/op")
			result("Store/impl=copy"+value, "ns/op")
		}
	}
	b.WriteString("BenchmarkLoad/impl=copy/codec=Bytes/size=64B-2 1 0 ns/op\n")
	b.WriteString("BenchmarkLock/impl=ofd/procs=1-2 1 +Inf ns/op\n")
	for watchers := 1; watchers <= 1000; watchers *= 10 {
		for _, impl := range []string{"segment", "chan"} {
			result(fmt.Sprintf("Watchers/impl=%s/watchers=%d", impl, watchers), "ns/op", "ns/watcher", "threads")
		}
	}
	return b.String()
}

func TestCharts(t *testing.T) {
	dir := t.TempDir()
	if err := writeCharts(dir, parsed(t, chartOutput())); err != nil {
		t.Fatal(err)
	}
	for file, want := range map[string][]string{
		"roundtrip.svg": {"segment", "pipe", "unix", "a<b&c", "p50", "p99", "p99.9", "busy", "idle", "time of a round trip", "1 µs", "10 µs"},
		"locks.svg":     {"ipcsync.Mutex", "ipcsync.Mutex, guard", "flock", "sync.Mutex, goroutines", "1 process", "2 processes", "4 processes"},
		"queue.svg":     {"queue", "queue, guard", "chan, goroutines", "tcp", "64 B", "4 KiB", "1 MiB", "1 to 1", "2 to 2", "time per message"},
		"takeover.svg":  {"ipcsync.Mutex", "queue", "flock", "gofrs/flock", "p50", "p99", "no waiter", "with a waiter"},
		"copy.svg":      {"segment", "segment, guard", "mmap-go", "copy", "64 B", "4 KiB", "1 MiB", "LoadInto", "Store", "GB/s"},
		"inplace.svg":   {"Borrow, Loan: in place", "LoadInto, Store: copied", "copy, without protection", "64 B", "1 MiB", "read", "write", "1 µs"},
		"watchers.svg":  {"segment", "chan", "1", "10", "100", "1000", "watchers"},
	} {
		t.Run(file, func(t *testing.T) {
			svg, err := os.ReadFile(filepath.Join(dir, file))
			if err != nil {
				t.Fatal(err)
			}
			texts := texts(t, string(svg))
			for _, want := range want {
				if !slices.ContainsFunc(texts, func(s string) bool { return strings.HasPrefix(s, want) || strings.HasSuffix(s, want) }) {
					t.Errorf("no %q in %q", want, texts)
				}
			}
			if wrong := regexp.MustCompile(`NaN|Inf|reads=|fault=|codec=`).FindString(string(svg)); wrong != "" {
				t.Errorf("unexpected %s", wrong)
			}
			// Colours that let the page show through, such as the grid's, need
			// no contrast.
			for _, m := range regexp.MustCompile(`(#[0-9A-F]{6})(;[a-z]+-opacity)?`).FindAllStringSubmatch(string(svg), -1) {
				known := slices.ContainsFunc(append(inks, ink, darkInk, oursInk), func(c color.NRGBA) bool { return hex(c) == m[1] })
				if !known && m[2] == "" {
					t.Errorf("unexpected colour %s", m[1])
				}
			}
		})
	}
}

// texts returns the texts of a picture. It fails the test if the picture is not
// XML.
func texts(t *testing.T, svg string) (texts []string) {
	t.Helper()
	d := xml.NewDecoder(strings.NewReader(svg))
	inText := false
	for {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			return texts
		} else if err != nil {
			t.Fatal(err)
		}
		switch token := token.(type) {
		case xml.StartElement:
			inText = token.Name.Local == "text"
		case xml.EndElement:
			inText = false
		case xml.CharData:
			if inText {
				texts = append(texts, string(token))
			}
		}
	}
}

func TestChartsAreTheSameAgain(t *testing.T) {
	r := parsed(t, chartOutput())
	dirs := []string{t.TempDir(), t.TempDir()}
	for _, dir := range dirs {
		if err := writeCharts(dir, r); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range charts {
		first, err := os.ReadFile(filepath.Join(dirs[0], c.file))
		if err != nil {
			t.Fatal(err)
		}
		if second, err := os.ReadFile(filepath.Join(dirs[1], c.file)); string(first) != string(second) {
			t.Errorf("%s differs, %v", c.file, err)
		}
	}
}

// TestChartsNotMeasured checks that an existing file is kept if its benchmarks
// were not run.
func TestChartsNotMeasured(t *testing.T) {
	dir := t.TempDir()
	old := filepath.Join(dir, "copy.svg")
	if err := os.WriteFile(old, []byte("old"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := writeCharts(dir, parsed(t, output)); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(old); string(got) != "old" {
		t.Errorf("copy.svg is %q, %v", got, err)
	}
	if _, err := os.Stat(filepath.Join(dir, "locks.svg")); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(filepath.Join(dir, "watchers.svg")); err == nil {
		t.Error("watchers.svg was written without results")
	}
}

// TestContrast checks contrast ratios, as defined by
// https://www.w3.org/TR/WCAG22/#dfn-contrast-ratio.
func TestContrast(t *testing.T) {
	luminance := func(c color.NRGBA) float64 {
		linear := func(v uint8) float64 {
			f := float64(v) / 255
			if f <= 0.04045 {
				return f / 12.92
			}
			return math.Pow((f+0.055)/1.055, 2.4)
		}
		return 0.2126*linear(c.R) + 0.7152*linear(c.G) + 0.0722*linear(c.B)
	}
	contrast := func(a, b color.NRGBA) float64 {
		la, lb := luminance(a), luminance(b)
		return (max(la, lb) + 0.05) / (min(la, lb) + 0.05)
	}
	light, dark := rgb(0xff, 0xff, 0xff), rgb(0x0d, 0x11, 0x17)
	for _, c := range slices.Concat(inks, []color.NRGBA{oursInk, ink, darkInk}) {
		for _, page := range []color.NRGBA{light, dark} {
			if got := contrast(c, page); got < 3 {
				t.Errorf("%s on %s has contrast %.2f", hex(c), hex(page), got)
			}
		}
	}
	if got := contrast(ink, light); got < 4.5 {
		t.Errorf("text on a light page has contrast %.2f", got)
	}
	if got := contrast(darkInk, dark); got < 4.5 {
		t.Errorf("text on a dark page has contrast %.2f", got)
	}
}

func TestLogRange(t *testing.T) {
	for _, c := range []struct {
		values    []float64
		low, high float64
	}{
		{[]float64{30, 400}, 20, 500},
		{[]float64{9.5e3, 1e6}, 5e3, 2e6},
		{[]float64{0.3}, 0.2, 0.5},
		{[]float64{7}, 5, 10},
	} {
		low, high := logRange(c.values)
		if math.Abs(low/c.low-1) > 1e-9 || math.Abs(high/c.high-1) > 1e-9 {
			t.Errorf("range of %v is %v to %v, not %v to %v", c.values, low, high, c.low, c.high)
		}
	}
}

func TestSizes(t *testing.T) {
	for name, want := range map[string]string{"64B": "64 B", "4KiB": "4 KiB", "1MiB": "1 MiB"} {
		if size, err := parseSize(name); err != nil || formatSize(size) != want {
			t.Errorf("%s is %v, %v", name, size, err)
		}
	}
	if _, err := parseSize("64"); err == nil {
		t.Error("no error for a size without a unit")
	}
}

// TestSkips checks the patterns that divide the benchmarks into runs.
func TestSkips(t *testing.T) {
	for _, name := range []string{"BenchmarkLoad", "BenchmarkTakeover", "BenchmarkThroughput", "BenchmarkRoundTrip", "BenchmarkQueue"} {
		inRounds := !regexp.MustCompile(takeovers).MatchString(name)
		inDeaths := !regexp.MustCompile(exceptTakeovers).MatchString(name)
		if inRounds == inDeaths || inDeaths != (name == "BenchmarkTakeover") {
			t.Errorf("%s: in rounds %v, in deaths %v", name, inRounds, inDeaths)
		}
	}
	for impl, ours := range map[string]bool{
		"segment": true, "ipcsync.Mutex": true, "queue": true,
		"assign": false, "codec": false, "copy": false, "copyring": false, "convert": false, "flock": false, "mmap": false,
		"mutex": false, "mq": false, "unixpacket": false, "chan": false, "netrpc": false, "ofd": false, "pipe": false, "rwmutex": false, "sync.Mutex": false,
		"sync.RWMutex": false, "tcp": false, "unix": false,
	} {
		if got := !regexp.MustCompile(others).MatchString("impl=" + impl); got != ours {
			t.Errorf("%s: with the guard %v", impl, got)
		}
	}
}

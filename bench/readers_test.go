package bench

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/sharedseg/sharedseg/bench/internal/harness"
	"github.com/sharedseg/sharedseg/codec"
	"github.com/sharedseg/sharedseg/internal/proctest"
	"github.com/sharedseg/sharedseg/segment"
)

// A readerKind is a way to share a quote with readers.
type readerKind struct {
	// serve stores the quote under a name.
	serve func(name string, q quote) (io.Closer, error)
	open  func(name string) (*quoteReader, error)
}

// A quoteReader loads the quote n times. Its process closes it before it exits,
// because otherwise the kernel can keep the mappings and locks of an exited
// process a moment longer.
type quoteReader struct {
	io.Closer
	load func(q *quote, n int) error
}

// readerKinds are all mechanisms, by the name of the sub-benchmark.
var readerKinds = func() map[string]readerKind {
	all := maps.Clone(rawReaders)
	for _, lockReads := range []bool{false, true} {
		all["impl=segment/size=64B"+readsKey(lockReads)+faultKey] = readerKind{
			serve: func(name string, q quote) (io.Closer, error) {
				s, err := segment.Open(name, codec.Fixed[quote](), &segment.Options{LockReads: lockReads})
				if err != nil {
					return nil, err
				}
				return s, s.Store(q)
			},
			open: openSegmentReader,
		}
	}
	return all
}()

func openSegmentReader(name string) (*quoteReader, error) {
	s, err := segment.Attach(name, codec.Fixed[quote](), nil)
	if err != nil {
		return nil, err
	}
	return &quoteReader{s, func(q *quote, n int) (err error) {
		for range n {
			if *q, err = s.Load(); err != nil {
				break
			}
		}
		return err
	}}, nil
}

var theQuote = quote{Seq: 71}

// BenchmarkReaders has one process load for a while, then two at the same time,
// and so on, and reports medians. Each process has one P, so that two
// processors can run both.
func BenchmarkReaders(b *testing.B) {
	for _, kind := range slices.Sorted(maps.Keys(readerKinds)) {
		b.Run(kind, func(b *testing.B) {
			name := proctest.Name(b)
			served, err := readerKinds[kind].serve(name, theQuote)
			harness.Keep(b, served, err)
			var readers []*proctest.Proc
			for range 2 {
				cmd := proctest.Command("reader", kind, name)
				cmd.Env = append(cmd.Env, "GOMAXPROCS=1")
				p := proctest.StartCmd(b, cmd)
				p.Expect("ready")
				readers = append(readers, p)
			}
			var one, two, ratios []float64
			for b.Loop() {
				n1, n2 := loadRate(b, readers[:1]), loadRate(b, readers)
				for n1 == 0 { // another program used the processor
					n1 = loadRate(b, readers[:1])
				}
				one, two, ratios = append(one, n1), append(two, n2), append(ratios, n2/n1)
			}
			for _, p := range readers {
				p.Wait()
			}
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(harness.Median(one), "1-reader-loads/s")
			b.ReportMetric(harness.Median(two), "2-readers-loads/s")
			b.ReportMetric(harness.Median(ratios), "ratio")
		})
	}
}

// loadRate has readers load at the same time, and returns the sum of their
// loads per second.
func loadRate(b *testing.B, readers []*proctest.Proc) (sum float64) {
	const window = 10 * time.Millisecond
	start := time.Now().Add(time.Millisecond)
	for _, p := range readers {
		p.Say(fmt.Sprint(start.UnixNano(), start.Add(window).UnixNano()))
	}
	for _, p := range readers {
		var loads int
		if _, err := fmt.Sscan(p.Line(), &loads); err != nil {
			b.Fatal(err)
		}
		sum += float64(loads) / window.Seconds()
	}
	return sum
}

// reader, with the arguments KIND NAME, reads lines with the start and the end
// of a period, in Unix nanoseconds. In that period it loads as often as it can,
// and then prints how often.
func reader(args []string) error {
	kind, err := harness.Find(readerKinds, args[0])
	if err != nil {
		return err
	}
	r, err := kind.open(args[1])
	if err != nil {
		return err
	}
	defer r.Close()
	fmt.Println("ready")
	for proctest.Stdin.Scan() {
		var start, end int64
		if _, err := fmt.Sscan(proctest.Stdin.Text(), &start, &end); err != nil {
			return err
		}
		for time.Now().UnixNano() < start {
		}
		const batch = 1000 // reading the clock takes as long as a load
		loads := 0
		for q := new(quote); time.Now().UnixNano() < end; loads += batch {
			if err := r.load(q, batch); err != nil {
				return err
			}
			if *q != theQuote {
				return fmt.Errorf("loaded %v, want %v", *q, theQuote)
			}
		}
		fmt.Println(loads)
	}
	return nil
}

package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"maps"
	"slices"
	"strconv"
	"sync/atomic"
	"testing"
	"time"
	"unsafe"

	"github.com/sharedseg/sharedseg/bench/internal/harness"
	"github.com/sharedseg/sharedseg/codec"
	"github.com/sharedseg/sharedseg/internal/proctest"
	"github.com/sharedseg/sharedseg/segment"
)

// line is 64 bytes of a log. Each of its words is its number.
type line = [8]uint64

// A followKind is a way to deliver each line that one process writes to others.
type followKind struct {
	// hold creates the name, which exists until the Closer is closed.
	hold func(name string) (io.Closer, error)
	// follow opens the log for follower i, in its process.
	follow func(name string, i int) (lines, error)
	// write opens the log for the writer, after all followers.
	write func(name string, followers int) (sharedWords[line], error)
}

// lines are the lines that one follower sees, each with its number, or with a
// MissedError in place of several.
type lines struct {
	io.Closer
	all iter.Seq2[segment.Version[line], error]
}

// follows are all mechanisms, by the name of the sub-benchmark.
var follows = func() map[string]followKind {
	all := maps.Clone(rawFollows)
	open := func(name string) (*segment.Segment[line], error) {
		return segment.Open(name, codec.Fixed[line](), &segment.Options{Slots: 1024})
	}
	all["impl=segment/size=64B"+faultKey] = followKind{
		hold: func(name string) (io.Closer, error) { return open(name) },
		follow: func(name string, i int) (lines, error) {
			s, err := open(name)
			if err != nil {
				return lines{}, err
			}
			return lines{s, s.Follow(context.Background(), 0)}, nil
		},
		write: func(name string, followers int) (sharedWords[line], error) {
			s, err := open(name)
			return sharedWords[line]{Closer: s, store: func(v *line) error { return s.Store(*v) }}, err
		},
	}
	return all
}()

// BenchmarkFollow has one process write lines as fast as it can, and others
// follow. It reports the rates, those of the followers together, and the share
// of lines that were overwritten before a follower saw them, and reported as
// missed.
func BenchmarkFollow(b *testing.B) {
	for _, kind := range slices.Sorted(maps.Keys(follows)) {
		for _, n := range []int{1, 2, 4} {
			b.Run(fmt.Sprintf("%s/followers=%d", kind, n), func(b *testing.B) {
				name := proctest.Name(b)
				held, err := follows[kind].hold(name)
				harness.Keep(b, held, err)
				var procs []*proctest.Proc
				start := func(role string, i int) {
					p := proctest.Start(b, role, kind, name, strconv.Itoa(i))
					p.Expect("ready")
					procs = append(procs, p)
				}
				for i := range n {
					start("follower", i)
				}
				start("follow-writer", n)
				var stores, takes, missed []float64
				for b.Loop() {
					done := harness.Window(b, procs, harness.WindowLength())
					rate, took, lost := 0.0, 0, 0
					for _, w := range done[:n] {
						rate += w.PerSecond()
						took += w.N
						lost += w.Missed
					}
					stores = append(stores, done[n].PerSecond())
					takes = append(takes, rate)
					missed = append(missed, 100*float64(lost)/float64(max(took+lost, 1)))
				}
				for _, p := range slices.Backward(procs) {
					p.Wait()
				}
				b.ReportMetric(0, "ns/op")
				b.ReportMetric(harness.Median(stores), "stores/s")
				b.ReportMetric(harness.Median(takes), "takes/s")
				b.ReportMetric(harness.Median(missed), "missed-%")
			})
		}
	}
}

// BenchmarkCatchUp follows values that all exist already, without a writer.
func BenchmarkCatchUp(b *testing.B) {
	catchUp[[8]uint64](b)
	catchUp[[512]uint64](b)
}

func catchUp[T words](b *testing.B) {
	const n = 1000
	v := new(T)
	size := harness.SizeName(int(unsafe.Sizeof(*v)))
	harness.Run(b, "impl=segment/size="+size+faultKey, 0, func(b *testing.B) {
		s := open(b, proctest.Name(b), codec.Fixed[T](), &segment.Options{Slots: n})
		for number := range uint64(n) {
			for i := range len(*v) {
				(*v)[i] = number + 1
			}
			harness.Must(b, s.Store(*v))
		}
		for b.Loop() {
			last := uint64(0)
			for v, err := range s.Follow(context.Background(), 0) {
				if last++; err != nil || v.Number != last || v.Value[0] != last || isTorn(&v.Value) {
					b.Fatalf("entry %d has number %d and value %d, %v", last, v.Number, v.Value, err)
				}
				if last == n {
					break
				}
			}
		}
		b.ReportMetric(float64(b.Elapsed())/float64(b.N)/n, "ns/value")
	})
}

// followRoles returns the roles of the processes that the benchmark starts.
// Their arguments are KIND NAME N.
func followRoles() map[string]func(args []string) error {
	find := func(args []string) (kind followKind, name string, n int, err error) {
		if kind, err = harness.Find(follows, args[0]); err == nil {
			n, err = strconv.Atoi(args[2])
		}
		return kind, args[1], n, err
	}
	return map[string]func([]string) error{
		"follow-writer": func(args []string) error {
			kind, name, n, err := find(args)
			if err != nil {
				return err
			}
			w, err := kind.write(name, n)
			if err != nil {
				return err
			}
			defer w.Close()
			return writeLines(w.store)
		},
		"follower": func(args []string) error {
			kind, name, n, err := find(args)
			if err != nil {
				return err
			}
			l, err := kind.follow(name, n)
			if err != nil {
				return err
			}
			defer l.Close()
			return followLines(l.all)
		},
	}
}

// writeLines writes lines in windows.
func writeLines(write func(v *line) error) error {
	v := new(line)
	return harness.ServeWindows(func(stop *atomic.Bool) (w harness.Work, err error) {
		for ; !stop.Load(); w.N++ {
			for i := range v {
				v[i]++
			}
			if err := write(v); err != nil {
				return w, err
			}
		}
		return w, nil
	})
}

// followLines reads lines as they arrive, and reports their number in windows.
// It fails if a line is torn, or if its number is not the next one and no gap
// was reported.
func followLines(all iter.Seq2[segment.Version[line], error]) error {
	var taken, missed atomic.Int64
	failed := make(chan error, 1)
	go func() {
		last := uint64(0)
		for v, err := range all {
			if gap, ok := errors.AsType[*segment.MissedError](err); ok {
				if gap.First != last+1 || gap.Last < gap.First {
					failed <- fmt.Errorf("missed %d to %d after %d", gap.First, gap.Last, last)
					return
				}
				missed.Add(int64(gap.Last - last))
				last = gap.Last
				continue
			}
			last++
			if err == nil && (v.Number != last || v.Value[0] != last || isTorn(&v.Value)) {
				err = fmt.Errorf("entry %d has number %d and value %d", last, v.Number, v.Value)
			}
			if err != nil {
				failed <- err
				return
			}
			taken.Add(1)
		}
	}()
	return harness.ServeWindows(func(stop *atomic.Bool) (w harness.Work, err error) {
		t, m := taken.Load(), missed.Load()
		for !stop.Load() {
			select {
			case err := <-failed:
				return w, err
			case <-time.After(time.Millisecond):
			}
		}
		return harness.Work{N: int(taken.Load() - t), Missed: int(missed.Load() - m)}, nil
	})
}

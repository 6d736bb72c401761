package bench

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"sync/atomic"
	"testing"
	"unsafe"

	"github.com/sharedseg/sharedseg/bench/internal/harness"
	"github.com/sharedseg/sharedseg/codec"
	"github.com/sharedseg/sharedseg/internal/proctest"
	"github.com/sharedseg/sharedseg/segment"
)

// words is a value whose words are all the same number, unless it is torn.
type words interface{ [8]uint64 | [512]uint64 }

// A sharedWords is a handle of a value that processes share.
type sharedWords[T words] struct {
	io.Closer
	store, load func(v *T) error
}

// A fanOut is a way to share a value that one process writes and others read.
type fanOut struct {
	// hold creates the value, which exists until the Closer is closed.
	hold func(name string) (io.Closer, error)
	// write and read write and read the value in windows, in separate
	// processes.
	write, read func(name string) error
}

// unprotected is the mechanism whose loads can be torn.
const unprotected = "assign"

// fanOuts are all mechanisms, by the name of the sub-benchmark.
var fanOuts = func() map[string]fanOut {
	all := map[string]fanOut{}
	addFanOuts[[8]uint64](all)
	addFanOuts[[512]uint64](all)
	return all
}()

func addFanOuts[T words](all map[string]fanOut) {
	size := "/size=" + harness.SizeName(int(unsafe.Sizeof(*new(T))))
	for _, lockReads := range []bool{false, true} {
		all["impl=segment"+size+readsKey(lockReads)+faultKey] = newFanOut(func(name string) (sharedWords[T], error) {
			s, err := segment.Open(name, codec.Fixed[T](), &segment.Options{LockReads: lockReads})
			store := func(v *T) error { return s.Store(*v) }
			load := func(v *T) error {
				_, err := s.LoadInto(v)
				return err
			}
			return sharedWords[T]{s, store, load}, err
		}, false)
	}
	for impl, open := range rawWords[T]() {
		all["impl="+impl+size] = newFanOut(open, impl == unprotected)
	}
}

func newFanOut[T words](open func(name string) (sharedWords[T], error), mayTear bool) fanOut {
	return fanOut{
		hold: func(name string) (io.Closer, error) {
			s, err := open(name)
			if err != nil {
				return nil, err
			}
			return s, s.store(new(T))
		},
		write: func(name string) error {
			s, err := open(name)
			if err != nil {
				return err
			}
			defer s.Close()
			v, last := new(T), new(T)
			return harness.ServeWindows(func(stop *atomic.Bool) (harness.Work, error) {
				stores := 0
				for ; !stop.Load(); stores++ {
					next := (*v)[0] + 1
					for i := range len(*v) {
						(*v)[i] = next
					}
					if err := s.store(v); err != nil {
						return harness.Work{}, err
					}
				}
				if err := s.load(last); err != nil {
					return harness.Work{}, err
				}
				if *last != *v {
					return harness.Work{}, fmt.Errorf("loaded %d, want the last value stored, %d", *last, *v)
				}
				return harness.Work{N: stores}, nil
			})
		},
		read: func(name string) error {
			s, err := open(name)
			if err != nil {
				return err
			}
			defer s.Close()
			v, newest := new(T), uint64(0)
			return harness.ServeWindows(func(stop *atomic.Bool) (harness.Work, error) {
				w := harness.Work{}
				for ; !stop.Load(); w.N++ {
					if err := s.load(v); err != nil {
						return w, err
					}
					first := (*v)[0]
					if isTorn(v) {
						w.Torn++
						if !mayTear {
							return w, fmt.Errorf("a load was torn: %d", *v)
						}
					}
					if first < newest {
						return w, fmt.Errorf("loaded %d after %d", first, newest)
					}
					newest = first
				}
				return w, nil
			})
		},
	}
}

// isTorn checks eight words, including the first and the last. The check takes
// the same time for all sizes.
func isTorn[T words](v *T) bool {
	last := len(*v) - 1
	first := (*v)[0]
	for i := range 7 {
		if (*v)[last-i*(last/7)] != first {
			return true
		}
	}
	return false
}

// BenchmarkFanOut has one process store a new value as often as it can, and
// others load as often as they can. It reports the rates, those of the readers
// together, and the share of torn loads.
func BenchmarkFanOut(b *testing.B) {
	for _, kind := range slices.Sorted(maps.Keys(fanOuts)) {
		for _, readers := range []int{1, 2, 4} {
			b.Run(fmt.Sprintf("%s/readers=%d", kind, readers), func(b *testing.B) {
				name := proctest.Name(b)
				held, err := fanOuts[kind].hold(name)
				harness.Keep(b, held, err)
				procs := []*proctest.Proc{proctest.Start(b, "fanout-writer", kind, name)}
				for range readers {
					procs = append(procs, proctest.Start(b, "fanout-reader", kind, name))
				}
				for _, p := range procs {
					p.Expect("ready")
				}
				var stores, loads, torn []float64
				for b.Loop() {
					done := harness.Window(b, procs, harness.WindowLength())
					loaded, n, tornN := 0.0, 0, 0
					for _, w := range done[1:] {
						loaded += w.PerSecond()
						n += w.N
						tornN += w.Torn
					}
					stores = append(stores, done[0].PerSecond())
					loads = append(loads, loaded)
					torn = append(torn, 100*float64(tornN)/float64(max(n, 1)))
				}
				for _, p := range procs {
					p.Wait()
				}
				b.ReportMetric(0, "ns/op")
				b.ReportMetric(harness.Median(stores), "stores/s")
				b.ReportMetric(harness.Median(loads), "loads/s")
				b.ReportMetric(harness.Median(torn), "torn-%")
			})
		}
	}
}

// fanOutRoles returns the roles of the processes that the benchmark starts.
// Their arguments are KIND NAME.
func fanOutRoles() map[string]func(args []string) error {
	return map[string]func([]string) error{
		"fanout-writer": func(args []string) error {
			kind, err := harness.Find(fanOuts, args[0])
			if err != nil {
				return err
			}
			return kind.write(args[1])
		},
		"fanout-reader": func(args []string) error {
			kind, err := harness.Find(fanOuts, args[0])
			if err != nil {
				return err
			}
			return kind.read(args[1])
		},
	}
}

package bench

import (
	"context"
	"fmt"
	"math"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sharedseg/sharedseg/bench/internal/harness"
	"github.com/sharedseg/sharedseg/codec"
	"github.com/sharedseg/sharedseg/internal/proctest"
	"github.com/sharedseg/sharedseg/segment"
)

// signal is the value that watchers wait for.
type signal struct {
	Round uint64
	Time  int64 // when it was stored, in Unix nanoseconds
}

// BenchmarkWatchers stores after a rest in which all watchers of one process
// have started to wait, and measures the time until the last of them has the
// value. It uses the wall clock, which processes share. On Windows it ticks
// every half millisecond.
func BenchmarkWatchers(b *testing.B) {
	for _, n := range []int{1, 10, 100, 1000} {
		b.Run(fmt.Sprintf("impl=segment/watchers=%d%s", n, faultKey), func(b *testing.B) { watchSegment(b, n) })
		b.Run(fmt.Sprintf("impl=chan/watchers=%d", n), func(b *testing.B) { watchChan(b, n) })
	}
}

// A seeing is the report of a group of watchers about a value that all have
// seen.
type seeing struct {
	round  uint64
	last   time.Duration // from the store until the last one had it
	spread time.Duration // from when the first one had it until the last one had it
}

// measureWatchers has n watchers see one value after the other.
func measureWatchers(b *testing.B, n int, store func(v signal) error, wait func() seeing) {
	times, spreads := new(harness.Histogram), new(harness.Histogram)
	for round := uint64(1); b.Loop(); round++ {
		time.Sleep(time.Millisecond)
		if err := store(signal{round, time.Now().UnixNano()}); err != nil {
			b.Fatal(err)
		}
		seen := wait()
		if seen.round != round {
			b.Fatalf("all watchers saw value %d, want %d", seen.round, round)
		}
		times.Add(seen.last)
		spreads.Add(seen.spread)
	}
	times.Report(b)
	b.ReportMetric(times.Mean()/float64(n), "ns/watcher")
	b.ReportMetric(spreads.Quantile(0.5), "p50-spread-ns")
}

func watchSegment(b *testing.B, n int) {
	name := proctest.Name(b)
	s := open(b, name, codec.Fixed[signal](), nil)
	harness.Must(b, s.Store(signal{}))
	p := proctest.Start(b, "watchers", name, strconv.Itoa(n))
	wait := func() (seen seeing) {
		_, err := fmt.Sscan(p.Line(), &seen.round, (*int64)(&seen.last), (*int64)(&seen.spread))
		harness.Must(b, err)
		return seen
	}
	wait()
	measureWatchers(b, n, s.Store, wait)
	reportRest(b, p)
}

// reportRest reports a watching process's threads and its use of the CPU while
// nothing is stored, as seen from outside. Then it ends the process.
func reportRest(b *testing.B, p *proctest.Proc) {
	// Polling becomes rarer over some seconds without an event.
	time.Sleep(5 * harness.WindowLength())
	begun, before := time.Now(), usageOf(p.Pid())
	time.Sleep(3 * harness.WindowLength())
	rested, after := time.Since(begun), usageOf(p.Pid())
	p.Wait()
	if after.threads > 0 {
		b.ReportMetric(float64(after.threads), "threads")
		b.ReportMetric(100*float64(after.cpu-before.cpu)/float64(rested), "idle-cpu-%")
	}
}

// watchChan has goroutines of this process wait until a channel is closed. That
// is the minimum cost of the wake-ups.
func watchChan(b *testing.B, n int) {
	type link struct {
		stored chan struct{}
		value  signal
		next   *link // nil at the end
	}
	newest := &link{stored: make(chan struct{})}
	seen := make(chan seeing, 1)
	all := newGroup(n, func(s seeing) { seen <- s })
	var watching sync.WaitGroup
	for range n {
		l := newest
		watching.Go(func() {
			for {
				<-l.stored
				if l.next == nil {
					return
				}
				all.saw(l.value)
				l = l.next
			}
		})
	}
	measureWatchers(b, n, func(v signal) error {
		next := &link{stored: make(chan struct{})}
		l := newest
		l.value, l.next, newest = v, next, next
		close(l.stored)
		return nil
	}, func() seeing { return <-seen })
	close(newest.stored)
	watching.Wait()
}

// usage is the resource usage of a process so far.
type usage struct {
	threads int // 0 if unknown
	cpu     time.Duration
}

// watchers, with the arguments NAME N, watches with N goroutines on one handle.
// When all have seen a value, it prints its number, how long after its store
// the last goroutine had it, and how long before that the first one had it.
func watchers(args []string) error {
	s, err := segment.Attach(args[0], codec.Fixed[signal](), nil)
	if err != nil {
		return err
	}
	defer s.Close()
	n, err := strconv.Atoi(args[1])
	if err != nil {
		return err
	}
	all := newGroup(n, func(s seeing) { fmt.Println(s.round, s.last.Nanoseconds(), s.spread.Nanoseconds()) })
	ended := make(chan error, n+1)
	for range n {
		go func() {
			next := uint64(0)
			for v, err := range s.Watch(context.Background()) {
				if err == nil && v.Round != next {
					err = fmt.Errorf("saw value %d, want %d", v.Round, next)
				}
				if err != nil {
					ended <- err
					return
				}
				all.saw(v)
				next++
			}
		}()
	}
	go func() {
		proctest.Await()
		ended <- nil
	}()
	return <-ended
}

// BenchmarkWatched has one process watch many segments, each on its own handle.
// An operation is a store to one of them, after a rest. It lasts until the
// segment's watcher has the value. At the end there is a store to each segment
// in turn, and each watcher must see that last value.
func BenchmarkWatched(b *testing.B) {
	n := 2000
	if testing.Short() {
		n = 100
	}
	b.Run(fmt.Sprintf("impl=segment/segments=%d%s", n, faultKey), func(b *testing.B) {
		base := proctest.Name(b)
		all := make([]*segment.Segment[signal], n)
		for i := range all {
			all[i] = open(b, watchedName(base, i), codec.Fixed[signal](), nil)
			harness.Must(b, all[i].Store(signal{}))
		}
		p := proctest.Start(b, "watched", base, strconv.Itoa(n))
		told := func() (which int, round uint64, at time.Time) {
			var ns int64
			_, err := fmt.Sscan(p.Line(), &which, &round, &ns)
			harness.Must(b, err)
			return which, round, time.Unix(0, ns)
		}
		// allTold waits until each watcher has the value of a round, and
		// returns the time when the last one had it.
		allTold := func(round uint64) (last time.Time) {
			seen := make(map[int]bool)
			for range n {
				i, got, at := told()
				if got != round || seen[i] {
					b.Fatalf("watcher %d saw value %d, want value %d once", i, got, round)
				}
				seen[i] = true
				if at.After(last) {
					last = at
				}
			}
			return last
		}
		allTold(0)

		times, which, round := new(harness.Histogram), 0, uint64(0)
		for b.Loop() {
			time.Sleep(time.Millisecond)
			which = (which + 997) % n // a prime, so each segment gets its turn
			round++
			now := time.Now()
			if err := all[which].Store(signal{round, now.UnixNano()}); err != nil {
				b.Fatal(err)
			}
			i, got, at := told()
			if i != which || got != round {
				b.Fatalf("watcher %d saw value %d, want watcher %d and value %d", i, got, which, round)
			}
			times.Add(at.Sub(now))
		}
		round++
		now := time.Now()
		for _, s := range all {
			harness.Must(b, s.Store(signal{round, now.UnixNano()}))
		}
		times.Report(b)
		b.ReportMetric(float64(allTold(round).Sub(now)), "all-ns")
		reportRest(b, p)
	})
}

func watchedName(base string, i int) string { return fmt.Sprintf("%s.%d", base, i) }

// watched, with the arguments BASE N, watches N segments. For each value it
// prints the segment, the round, and the time when the watcher had it.
func watched(args []string) error {
	n, err := strconv.Atoi(args[1])
	if err != nil {
		return err
	}
	ended := make(chan error, n+1)
	for i := range n {
		s, err := segment.Attach(watchedName(args[0], i), codec.Fixed[signal](), nil)
		if err != nil {
			return err
		}
		defer s.Close()
		go func() {
			for v, err := range s.Watch(context.Background()) {
				if err != nil {
					ended <- err
					return
				}
				fmt.Println(i, v.Round, time.Now().UnixNano())
			}
		}()
	}
	go func() {
		proctest.Await()
		ended <- nil
	}()
	return <-ended
}

// group is all watchers of a process.
type group struct {
	size        int64
	report      func(seeing)
	seen        atomic.Int64
	first, last atomic.Int64 // Unix nanoseconds
}

func newGroup(size int, report func(seeing)) *group {
	c := &group{size: int64(size), report: report}
	c.first.Store(math.MaxInt64)
	return c
}

// saw is called by each watcher for each value.
func (c *group) saw(v signal) {
	now := time.Now().UnixNano()
	for old := c.first.Load(); now < old && !c.first.CompareAndSwap(old, now); old = c.first.Load() {
	}
	for old := c.last.Load(); now > old && !c.last.CompareAndSwap(old, now); old = c.last.Load() {
	}
	if c.seen.Add(1) < c.size {
		return
	}
	// No other watcher gets here before the next store, which follows the
	// report.
	first, last := c.first.Load(), c.last.Load()
	c.first.Store(math.MaxInt64)
	c.last.Store(0)
	c.seen.Store(0)
	c.report(seeing{v.Round, time.Duration(last - v.Time), time.Duration(last - first)})
}

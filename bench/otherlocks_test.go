package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sharedseg/sharedseg/bench/internal/harness"
	"github.com/sharedseg/sharedseg/codec"
	"github.com/sharedseg/sharedseg/internal/proctest"
	"github.com/sharedseg/sharedseg/segment"
	"github.com/sharedseg/sharedseg/sync"
)

func openRWMutex(name string) (*ipcsync.RWMutex, error) {
	return ipcsync.OpenRWMutex(name, &ipcsync.Options{Repair: func() error { return nil }})
}

// pairs are the pairs of operations on a lock that a process repeats, by
// mechanism.
var pairs = map[string]func(name string) (once func() error, close func() error, err error){
	"RLock": func(name string) (func() error, func() error, error) {
		rw, err := openRWMutex(name)
		ctx := context.Background()
		return func() error { return errors.Join(rw.RLock(ctx), rw.RUnlock()) }, rw.Close, err
	},
	"Lock": func(name string) (func() error, func() error, error) {
		rw, err := openRWMutex(name)
		ctx := context.Background()
		return func() error { return errors.Join(rw.Lock(ctx), rw.Unlock()) }, rw.Close, err
	},
	"Acquire": func(name string) (func() error, func() error, error) {
		s, err := ipcsync.OpenSemaphore(name, 8, nil)
		ctx := context.Background()
		return func() error { return errors.Join(s.Acquire(ctx, 1), s.Release(1)) }, s.Close, err
	},
}

// pairing, with the arguments KIND NAME, executes pairs in each window. Torn is
// the time of the longest one, in microseconds.
func pairing(args []string) error {
	open, err := harness.Find(pairs, args[0])
	if err != nil {
		return err
	}
	once, close, err := open(args[1])
	if err != nil {
		return err
	}
	defer close()
	return harness.ServeWindows(func(stop *atomic.Bool) (harness.Work, error) {
		w := harness.Work{}
		for last := time.Now(); !stop.Load(); w.N++ {
			if err := once(); err != nil {
				return w, err
			}
			if w.N%4096 == 4095 {
				runtime.Gosched() // runs the timers, including that of the window's end
			}
			if w.N%64 == 0 || w.N < 64 { // reading the clock takes longer than a pair
				now := time.Now()
				w.Torn = max(w.Torn, int(now.Sub(last).Microseconds()))
				last = now
			}
		}
		return w, nil
	})
}

// startPairs starts processes with one P each.
func startPairs(b *testing.B, name string, kinds ...string) (ps []*proctest.Proc) {
	for _, kind := range kinds {
		cmd := proctest.Command("pairing", kind, name)
		cmd.Env = append(cmd.Env, "GOMAXPROCS=1")
		p := proctest.StartCmd(b, cmd)
		p.Expect("ready")
		ps = append(ps, p)
	}
	return ps
}

func BenchmarkRWMutex(b *testing.B) {
	ctx := context.Background()
	harness.Run(b, "impl=ipcsync.RWMutex/op=RLock/procs=1"+faultKey, 0, func(b *testing.B) {
		opened, err := openRWMutex(proctest.Name(b))
		rw := harness.Keep(b, opened, err)
		for b.Loop() {
			if err := rw.RLock(ctx); err != nil {
				b.Fatal(err)
			}
			if err := rw.RUnlock(); err != nil {
				b.Fatal(err)
			}
		}
	})
	harness.Run(b, "impl=ipcsync.RWMutex/op=Lock/procs=1"+faultKey, 0, func(b *testing.B) {
		opened, err := openRWMutex(proctest.Name(b))
		rw := harness.Keep(b, opened, err)
		for b.Loop() {
			if err := rw.Lock(ctx); err != nil {
				b.Fatal(err)
			}
			if err := rw.Unlock(); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("impl=ipcsync.RWMutex/op=RLock/procs=2"+faultKey, func(b *testing.B) {
		name := proctest.Name(b)
		opened, err := openRWMutex(name)
		harness.Keep(b, opened, err)
		ps := startPairs(b, name, "RLock", "RLock")
		var ones, twos []float64
		for b.Loop() {
			ones = append(ones, harness.Window(b, ps[:1], harness.WindowLength())[0].PerSecond())
			both := harness.Window(b, ps, harness.WindowLength())
			twos = append(twos, both[0].PerSecond()+both[1].PerSecond())
		}
		one, two := harness.Median(ones), harness.Median(twos)
		b.ReportMetric(one, "pairs/s-1")
		b.ReportMetric(two, "pairs/s-2")
		b.ReportMetric(two/one, "ratio")
		for _, p := range ps {
			p.Wait()
		}
	})
	b.Run("impl=ipcsync.RWMutex/op=RLock/writers=1"+faultKey, func(b *testing.B) {
		name := proctest.Name(b)
		opened, err := openRWMutex(name)
		harness.Keep(b, opened, err)
		ps := startPairs(b, name, "RLock", "Lock")
		var reads, writes, longest []float64
		for b.Loop() {
			both := harness.Window(b, ps, harness.WindowLength())
			reads = append(reads, both[0].PerSecond())
			writes = append(writes, both[1].PerSecond())
			longest = append(longest, float64(both[0].Torn))
		}
		b.ReportMetric(harness.Median(reads), "pairs/s")
		b.ReportMetric(harness.Median(writes), "writes/s")
		b.ReportMetric(harness.Median(longest), "longest-µs")
		for _, p := range ps {
			p.Wait()
		}
	})
}

func BenchmarkSemaphore(b *testing.B) {
	harness.Run(b, "impl=ipcsync.Semaphore/procs=1"+faultKey, 0, func(b *testing.B) {
		opened, err := ipcsync.OpenSemaphore(proctest.Name(b), 8, nil)
		s, ctx := harness.Keep(b, opened, err), context.Background()
		for b.Loop() {
			if err := s.Acquire(ctx, 1); err != nil {
				b.Fatal(err)
			}
			if err := s.Release(1); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("impl=ipcsync.Semaphore/procs=2"+faultKey, func(b *testing.B) {
		name := proctest.Name(b)
		opened, err := ipcsync.OpenSemaphore(name, 8, nil)
		harness.Keep(b, opened, err)
		ps := startPairs(b, name, "Acquire", "Acquire")
		harness.Shares(b, func() []harness.Work { return harness.Window(b, ps, harness.WindowLength()) })
		for _, p := range ps {
			p.Wait()
		}
	})
}

// A link sends messages to another process, one at a time.
type link struct {
	in, out     *segment.Segment[harness.Message]
	told, tells io.Closer // Events, or Conds of m
	m           *ipcsync.Mutex
	seen        uint64 // the version of in that was read last
}

// openLink opens a link. The other end opens it with out and in exchanged.
func openLink(impl, out, in string) (l *link, err error) {
	l, c := new(link), codec.Fixed[harness.Message]()
	var errs [5]error
	l.out, errs[0] = segment.Open(out, c, nil)
	l.in, errs[1] = segment.Open(in, c, nil)
	l.m, errs[2] = openMutex(min(out, in) + ".mutex")
	open := func(name string) (io.Closer, error) {
		if impl == eventEcho {
			return ipcsync.OpenEvent(name+".event", nil)
		}
		return ipcsync.OpenCond(name+".cond", l.m, nil)
	}
	l.tells, errs[3] = open(out)
	l.told, errs[4] = open(in)
	return l, errors.Join(errs[:]...)
}

func (l *link) Close() error {
	return errors.Join(l.told.Close(), l.tells.Close(), l.in.Close(), l.out.Close(), l.m.Close())
}

func (l *link) send(m *harness.Message) error {
	if e, ok := l.tells.(*ipcsync.Event); ok {
		return errors.Join(l.out.Store(*m), e.Set())
	}
	if err := l.m.Lock(context.Background()); err != nil {
		return err
	}
	return errors.Join(l.out.Store(*m), l.tells.(*ipcsync.Cond).Signal(), l.m.Unlock())
}

func (l *link) receive(m *harness.Message) (err error) {
	if e, ok := l.told.(*ipcsync.Event); ok {
		if err := e.Wait(context.Background()); err != nil {
			return err
		}
		if err := e.Reset(); err != nil {
			return err
		}
		_, err := l.in.LoadInto(m)
		return err
	}
	if err := l.m.Lock(context.Background()); err != nil {
		return err
	}
	for l.in.Version() == l.seen {
		if err := l.told.(*ipcsync.Cond).Wait(context.Background()); err != nil {
			return err
		}
	}
	l.seen, err = l.in.LoadInto(m)
	return errors.Join(err, l.m.Unlock())
}

// The keys of the links in echoes.
var (
	eventEcho = "ipcsync.Event" + faultKey
	condEcho  = "ipcsync.Cond" + faultKey
)

func linkEcho(impl string) harness.Echo {
	return harness.Echo{
		Dial: func(b *testing.B) harness.RoundTrip {
			there, back := proctest.Name(b), proctest.Name(b)
			opened, err := openLink(impl, there, back)
			l := harness.Keep(b, opened, err)
			echo := proctest.Start(b, "echo", impl, there, back)
			b.Cleanup(echo.Wait)
			echo.Expect("ready")
			return func(sent, got *harness.Message) error {
				if err := l.send(sent); err != nil {
					return err
				}
				return l.receive(got)
			}
		},
		Serve: func(args []string) error {
			l, err := openLink(impl, args[1], args[0])
			if err != nil {
				return err
			}
			defer l.Close()
			go func() {
				proctest.Await()
				l.told.Close()
			}()
			fmt.Println("ready")
			for m := new(harness.Message); ; {
				if err := l.receive(m); errors.Is(err, fs.ErrClosed) {
					return nil
				} else if err != nil {
					return err
				}
				if err := l.send(m); err != nil {
					return err
				}
			}
		},
	}
}

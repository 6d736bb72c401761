package notify

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sharedseg/sharedseg/internal/kernel"
	"github.com/sharedseg/sharedseg/internal/layout"
	"github.com/sharedseg/sharedseg/internal/mapping"
	"github.com/sharedseg/sharedseg/internal/park"
	"github.com/sharedseg/sharedseg/internal/proctest"
)

func TestMain(m *testing.M) {
	proctest.Main(m, map[string]func([]string) error{"party": party, "taker": taker})
}

// newSet returns a set whose threads can wait for the given number of words
// each. Its limits are so long that a lost wake-up fails the test.
func newSet(words int) *set {
	return &set{words: func() int { return words }, first: time.Hour, last: time.Hour}
}

// kinds are the ways in which threads wait: for as many words as possible, for
// one, for none, and for none because the flag is missing.
var kinds = []string{"many", "one", "none", "no flag"}

// end waits until the set has no goroutines any more.
func (s *set) end(t *testing.T) {
	t.Helper()
	eventually(t, "all goroutines end", func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.watchdog != nil {
			s.watchdog.rouse() // it sleeps for an hour
		}
		return s.threads == 0 && len(s.groups) == 0 && s.poller == nil && s.watchdog == nil
	})
}

func setOf(kind string) *set {
	switch kind {
	case "many":
		return newSet(park.Words())
	case "one":
		return newSet(min(park.Words(), 1))
	case "none":
		return newSet(0)
	}
	return newSet(park.Words())
}

// variable is a word with its flag, in private memory.
type variable struct {
	word, flag atomic.Uint32
	broadcast  *park.Broadcast
	lost       atomic.Bool // whether Use fails
}

var errLost = errors.New("lost")

func newVariable() *variable {
	v := new(variable)
	v.broadcast = park.NewBroadcast(&v.word, nil)
	return v
}

func (v *variable) source(kind string) Source {
	s := Source{Word: &v.word, Flag: &v.flag, Sleep: v.broadcast, Use: func(f func() error) error {
		if v.lost.Load() {
			return errLost
		}
		err := f()
		if v.lost.Load() { // what f saw is invalid
			return errLost
		}
		return err
	}}
	if kind == "no flag" {
		s.Flag = nil
	}
	return s
}

func (v *variable) publish() {
	n := newIn(newSet(0), v.source(""))
	armed := n.Disarm()
	old := v.word.Add(1) - 1
	n.Notify(old, armed)
}

// after returns a function that reports whether the word is not old.
func (v *variable) after(old uint32) func() bool {
	return func() bool { return v.word.Load() != old }
}

// waiting starts a goroutine that waits for the next change. It returns the
// channel of its result when the goroutine waits or has ended.
func (v *variable) waiting(t *testing.T, ctx context.Context, n *Notifier) <-chan error {
	t.Helper()
	n.mu.Lock()
	before := n.subscribers.Load()
	n.mu.Unlock()
	result := make(chan error, 1)
	old := v.word.Load()
	go func() { result <- n.Wait(ctx, v.after(old)) }()
	eventually(t, "the goroutine waits", func() bool {
		n.mu.Lock()
		defer n.mu.Unlock()
		return n.solo != nil || n.subscribers.Load() > before || len(result) > 0
	})
	return result
}

var eventually = proctest.Eventually

// expect fails the test unless the result of a wait is want.
func expect(t *testing.T, result <-chan error, want error) {
	t.Helper()
	proctest.Want(t, proctest.Receive(t, result), want)
}

func each(t *testing.T, test func(t *testing.T, kind string, set *set)) {
	for _, kind := range kinds {
		t.Run(kind, func(t *testing.T) {
			set := setOf(kind)
			test(t, kind, set)
			set.end(t)
		})
	}
}

// A change, the context, Close, and an error of Use end waits, however many
// goroutines wait. Waits for other words go on.
func TestEnds(t *testing.T) {
	each(t, func(t *testing.T, kind string, set *set) {
		for _, waiters := range []int{1, 2, 20} {
			v, other := newVariable(), newVariable()
			bystander := newIn(set, other.source(kind))
			undisturbed := other.waiting(t, t.Context(), bystander)
			start := func(ctx context.Context, n *Notifier) (results []<-chan error) {
				for range waiters {
					results = append(results, v.waiting(t, ctx, n))
				}
				return results
			}
			n := newIn(set, v.source(kind))
			for range 10 {
				results := start(t.Context(), n)
				v.publish()
				for _, r := range results {
					expect(t, r, nil)
				}
			}
			ctx, cancel := context.WithCancel(t.Context())
			results := start(ctx, n)
			cancel()
			for _, r := range results {
				expect(t, r, context.Canceled)
			}
			if err := n.Wait(ctx, v.after(v.word.Load())); !errors.Is(err, context.Canceled) {
				t.Errorf("a wait with a context that is done: %v", err)
			}
			soon, cancel := context.WithTimeout(t.Context(), time.Millisecond)
			for _, r := range start(soon, n) {
				expect(t, r, context.DeadlineExceeded)
			}
			cancel()
			results = start(t.Context(), n)
			n.Close()
			for _, r := range results {
				expect(t, r, fs.ErrClosed)
			}
			if err := n.Wait(t.Context(), func() bool { t.Error("ready is called after Close"); return true }); !errors.Is(err, fs.ErrClosed) {
				t.Errorf("a wait after Close: %v", err)
			}
			n.Close()
			n = newIn(set, v.source(kind))
			results = start(t.Context(), n)
			v.lost.Store(true)
			if kind == "many" || kind == "one" {
				v.publish() // without this the threads would go on sleeping
			}
			for _, r := range results {
				expect(t, r, errLost)
			}
			if err := n.Wait(t.Context(), v.after(0)); !errors.Is(err, errLost) {
				t.Errorf("a wait after Use failed: %v", err)
			}
			n.Close()
			select {
			case err := <-undisturbed:
				t.Errorf("a wait for another word ended: %v", err)
			default:
			}
			other.publish()
			expect(t, undisturbed, nil)
			bystander.Close()
		}
	})
}

// A publisher that dies before it publishes leaves the flag cleared. One that
// dies after it has published leaves waiters asleep. The limits of sleeps end
// both.
func TestRescue(t *testing.T) {
	each(t, func(t *testing.T, kind string, set *set) {
		set.first, set.last = 5*time.Millisecond, 20*time.Millisecond
		for _, waiters := range []int{1, 2, 20} {
			v := newVariable()
			n := newIn(set, v.source(kind))
			for range 5 {
				var results []<-chan error
				for range waiters {
					results = append(results, v.waiting(t, t.Context(), n))
				}
				if n.src.Flag != nil && set.words() > 0 {
					eventually(t, "it is armed", func() bool { return v.flag.Load() != 0 })
					time.Sleep(10 * time.Millisecond)
					n.Disarm()
					eventually(t, "it is armed again", func() bool { return v.flag.Load() != 0 })
				}
				v.flag.Store(0)
				v.word.Add(1)
				for _, r := range results {
					expect(t, r, nil)
				}
			}
			n.Close()
		}
	})
}

// A waiter that sets the flag after a publisher has cleared it is woken by the
// same publisher.
func TestArmedLate(t *testing.T) {
	each(t, func(t *testing.T, kind string, set *set) {
		for _, waiters := range []int{1, 2} {
			v := newVariable()
			n, publisher := newIn(set, v.source(kind)), newIn(set, v.source(""))
			armed := publisher.Disarm()
			var results []<-chan error
			for range waiters {
				results = append(results, v.waiting(t, t.Context(), n))
			}
			if n.src.Flag != nil && set.words() > 0 {
				eventually(t, "it is armed", func() bool { return v.flag.Load() != 0 })
			}
			publisher.Notify(v.word.Add(1)-1, armed)
			for _, r := range results {
				expect(t, r, nil)
			}
			n.Close()
		}
	})
}

// If a change happens after a waiter has looked and before it subscribes, and
// the other subscribers have been told already, the waiter does not sleep.
func TestSubscribedLate(t *testing.T) {
	each(t, func(t *testing.T, kind string, set *set) {
		v := newVariable()
		n := newIn(set, v.source(kind))
		v.waiting(t, t.Context(), n) // may park by itself
		told := v.waiting(t, t.Context(), n)
		second := make(chan error, 1)
		go func() { second <- n.Wait(t.Context(), func() bool { return v.word.Load() == 2 }) }()
		eventually(t, "it waits", func() bool { return n.subscribers.Load() >= 2 })
		time.Sleep(5 * spinFor) // or the policy would make the next one spin
		late, looks := make(chan error, 1), 0
		go func() {
			late <- n.Wait(t.Context(), func() bool {
				if looks++; looks == waitSpins+1 {
					v.publish()
					expect(t, told, nil)
					return false
				}
				return v.word.Load() == 1
			})
		}()
		expect(t, late, nil)
		v.publish()
		expect(t, second, nil)
		n.Close()
	})
}

// Publishers that change the word only if they find the flag set wake all
// waiters for whom there is enough, however these wait.
func TestOnDemand(t *testing.T) {
	each(t, func(t *testing.T, kind string, set *set) {
		if kind == "no flag" {
			return
		}
		rounds := 300
		if testing.Short() {
			rounds = 50
		}
		const waiters = 4
		v := newVariable()
		s := v.source(kind)
		s.OnDemand = true
		n, other := newIn(set, s), newIn(set, s)
		for range rounds {
			var level atomic.Int64
			results := make(chan error, 2*waiters)
			for i := range waiters {
				for _, n := range []*Notifier{n, other} {
					go func() { results <- n.Wait(t.Context(), func() bool { return level.Load() > int64(i) }) }()
				}
			}
			for range waiters {
				time.Sleep(time.Duration(rand.IntN(100)) * time.Microsecond)
				level.Add(1)
				if n.Disarm() {
					n.Notify(v.word.Add(1)-1, true)
				}
			}
			for range 2 * waiters {
				expect(t, results, nil)
			}
		}
		n.Close()
		other.Close()
	})
}

// A Wait that finds at once what it waits for needs no thread.
func TestReady(t *testing.T) {
	each(t, func(t *testing.T, kind string, set *set) {
		v := newVariable()
		n := newIn(set, v.source(kind))
		defer n.Close()
		if err := n.Wait(t.Context(), func() bool { return true }); err != nil {
			t.Error(err)
		}
		if v.flag.Load() != 0 || set.threads != 0 || set.poller != nil {
			t.Error("Wait set the flag or started a thread")
		}
	})
}

// A panic of ready propagates, and later waits work.
func TestPanic(t *testing.T) {
	each(t, func(t *testing.T, kind string, set *set) {
		v := newVariable()
		n := newIn(set, v.source(kind))
		for first := range 2 {
			calls := 0
			ended, stopped := make(chan bool), make(chan bool)
			go func() {
				defer close(stopped)
				for {
					select {
					case <-ended:
						return
					case <-time.After(time.Millisecond):
						v.publish()
					}
				}
			}()
			func() {
				defer func() {
					close(ended)
					<-stopped
					if p := recover(); p != "broken" {
						t.Errorf("recovered %v", p)
					}
				}()
				n.Wait(t.Context(), func() bool {
					if calls++; calls > first*(waitSpins+1) { // in its first call, then when it arms the flag or after it parked
						panic("broken")
					}
					return false
				})
			}()
		}
		r := v.waiting(t, t.Context(), n)
		v.publish()
		expect(t, r, nil)
		n.Close()
	})
}

// Two Notifiers of one word are both told about each change, even after the
// other is closed.
func TestSameWord(t *testing.T) {
	each(t, func(t *testing.T, kind string, set *set) {
		v := newVariable()
		a, b := newIn(set, v.source(kind)), newIn(set, v.source(kind))
		for range 100 {
			var results []<-chan error
			for _, n := range []*Notifier{a, b, b, a, b} {
				results = append(results, v.waiting(t, t.Context(), n))
			}
			v.publish()
			for _, r := range results {
				expect(t, r, nil)
			}
		}
		r := v.waiting(t, t.Context(), b)
		a.Close()
		v.publish()
		expect(t, r, nil)
		b.Close()
	})
}

// Many words need few threads, and each waiter is told about each change of its
// word. It does not look again when another word changes.
func TestThreads(t *testing.T) {
	words := 2000
	if testing.Short() {
		words = 500
	}
	each(t, func(t *testing.T, kind string, set *set) {
		vs, ns := make([]*variable, words), make([]*Notifier, words)
		results := make([]<-chan error, words)
		looks := make([]atomic.Int64, words)
		for i := range vs {
			vs[i] = newVariable()
			ns[i] = newIn(set, vs[i].source(kind))
			results[i] = vs[i].waiting(t, t.Context(), ns[i])
		}
		set.mu.Lock()
		threads, groups, polls := set.threads, len(set.groups), set.poller != nil
		set.mu.Unlock()
		t.Logf("%d words: %d threads, %d groups", words, threads, groups)
		if threads > maxThreads || kind == "one" && park.Words() > 0 && threads < maxThreads {
			t.Errorf("%d threads", threads)
		}
		if all := kind == "many" && park.Words() > 1; polls == all {
			t.Errorf("polling: %v", polls)
		}
		for i := range vs {
			vs[i].publish()
		}
		for _, r := range results {
			expect(t, r, nil)
		}
		for i := range vs {
			old := vs[i].word.Load()
			r := make(chan error, 1)
			results[i] = r
			go func() {
				r <- ns[i].Wait(t.Context(), func() bool { looks[i].Add(1); return vs[i].word.Load() != old })
			}()
		}
		for i := range ns {
			eventually(t, "all wait", func() bool {
				ns[i].mu.Lock()
				defer ns[i].mu.Unlock()
				return ns[i].solo != nil || ns[i].subscribers.Load() > 0
			})
		}
		time.Sleep(10 * time.Millisecond)
		sum := func() (n int64) {
			for i := range looks[1:] {
				n += looks[1+i].Load()
			}
			return n
		}
		before := sum()
		for range 20 {
			vs[0].publish()
			expect(t, results[0], nil)
			results[0] = vs[0].waiting(t, t.Context(), ns[0])
		}
		// On Windows a park without named events ends early, and waiters that
		// park by themselves then look again.
		if after := sum(); after != before && runtime.GOOS != "windows" {
			t.Errorf("20 changes of another word caused %d looks", after-before)
		}
		for i := range vs {
			vs[i].publish()
		}
		for _, r := range results {
			expect(t, r, nil)
		}
		for _, n := range ns {
			n.Close()
		}
	})
}

// A word that is polled because no thread was left is parked on when one
// becomes free.
func TestHandOver(t *testing.T) {
	if park.Words() == 0 {
		t.Skip("threads cannot be woken on this platform")
	}
	set := newSet(1)
	defer set.end(t)
	const words = 2 * maxThreads
	var ns []*Notifier
	var vs []*variable
	var results []<-chan error
	for range words {
		v := newVariable()
		n := newIn(set, v.source(""))
		ns, vs, results = append(ns, n), append(vs, v), append(results, v.waiting(t, t.Context(), n))
	}
	parked := func() (n int) {
		for i := range ns {
			ns[i].mu.Lock()
			if _, ok := ns[i].owner.(*group); ok {
				n++
			}
			ns[i].mu.Unlock()
		}
		return n
	}
	if n := parked(); n != maxThreads {
		t.Errorf("%d words are parked on, want %d", n, maxThreads)
	}
	for i := range maxThreads {
		ns[i].Close()
		expect(t, results[i], fs.ErrClosed)
	}
	eventually(t, "the others are parked on", func() bool { return parked() == maxThreads })
	for i := maxThreads; i < words; i++ {
		vs[i].publish()
		expect(t, results[i], nil)
		ns[i].Close()
	}
}

// shared is shared memory with a word, its flag, and counters of a test.
type shared struct {
	place  *mapping.Place
	obj    *mapping.Object
	view   *mapping.View
	words  layout.Words
	family *kernel.Family
}

func share(name string) (*shared, error) {
	p := &mapping.Place{Name: name}
	obj, err := mapping.Enter(p, true, false, proctest.Patience)
	if err != nil {
		return nil, err
	}
	size := 4 * mapping.PageSize()
	defer obj.UnlockRegistry()
	if obj.Created() {
		if err := obj.Reset(p, layout.Mark(false), int64(size)); err != nil {
			return nil, err
		}
	}
	view, err := obj.Map(size, true)
	if err != nil {
		return nil, err
	}
	return &shared{p, obj, view, layout.NewWords(view.Mem), obj.Family()}, nil
}

func (s *shared) close() {
	s.view.Unmap()
	if s.obj.Created() && s.place.Lasting() {
		s.obj.Unlink()
	}
	s.obj.Close()
}

func (s *shared) version() *uint64        { return &s.words.Versions()[1] }
func (s *shared) seen() *uint64           { return &s.words.Versions()[0] } // rounds seen, summed over all waiters
func (s *shared) lock() *atomic.Uint32    { return s.words.Mutex() }
func (s *shared) flag() *atomic.Uint32    { return s.words.Rotor() }
func (s *shared) waiters() *atomic.Uint32 { return s.words.HolderPID(0) } // in all processes

func (s *shared) notifier(set *set) *Notifier {
	word := layout.LowHalf(s.version())
	return newIn(set, Source{Word: word, Flag: s.flag(), Sleep: park.NewBroadcast(word, s.family), Use: s.view.Guard})
}

func (s *shared) publish(n *Notifier) {
	for !s.lock().CompareAndSwap(0, 1) {
		runtime.Gosched()
	}
	armed := n.Disarm()
	version := atomic.AddUint64(s.version(), 1)
	s.lock().Store(0)
	n.Notify(uint32(version-1), armed)
}

const (
	parties = 3 // processes
	rounds  = 200
)

// play runs the part of one process. In each round, two goroutines publish once
// each, and others wait through two Notifiers until all processes have
// published. No round begins before all waiters have ended the last one, and
// sleeps are not limited, so a single lost wake-up fails the test.
func (s *shared) play(set *set, rounds int) error {
	const waiters = 4
	a, b := s.notifier(set), s.notifier(set)
	defer a.Close()
	defer b.Close()
	s.waiters().Add(waiters)
	var wg sync.WaitGroup
	ctx, cancel := context.WithTimeout(context.Background(), proctest.Patience)
	defer cancel()
	failed := make(chan error, 2+waiters)
	total := func(round int) uint64 { return uint64(round) * 2 * parties }
	for i := range waiters {
		n := a
		if i == 0 {
			n = b
		}
		wg.Go(func() {
			for round := range rounds {
				if err := n.Wait(ctx, func() bool { return atomic.LoadUint64(s.version()) >= total(round+1) }); err != nil {
					failed <- fmt.Errorf("round %d: %w; version %d", round, err, atomic.LoadUint64(s.version()))
					return
				}
				atomic.AddUint64(s.seen(), 1)
			}
		})
	}
	for range 2 {
		wg.Go(func() {
			for round := range rounds {
				for atomic.LoadUint64(s.seen()) < uint64(round*parties*waiters) || s.waiters().Load() < parties*waiters {
					if ctx.Err() != nil {
						return
					}
					time.Sleep(20 * time.Microsecond)
				}
				switch rand.IntN(3) {
				case 0:
					time.Sleep(time.Duration(rand.IntN(300)) * time.Microsecond)
				case 1:
					for range rand.IntN(20) {
						runtime.Gosched()
					}
				}
				s.publish(a)
			}
		})
	}
	wg.Wait()
	select {
	case err := <-failed:
		return err
	default:
		return nil
	}
}

// party NAME KIND ROUNDS calls play with the memory NAME.
func party(args []string) error {
	s, err := share(args[0])
	if err != nil {
		return err
	}
	defer s.close()
	var rounds int
	if _, err := fmt.Sscan(args[2], &rounds); err != nil {
		return err
	}
	return s.play(setOf(args[1]), rounds)
}

// No wake-up is lost between processes.
func TestNoneLost(t *testing.T) {
	rounds := rounds
	if testing.Short() {
		rounds /= 4
	}
	for _, kind := range []string{"many", "one", "mixed"} {
		t.Run(kind, func(t *testing.T) {
			name := proctest.Name(t)
			s, err := share(name)
			if err != nil {
				t.Fatal(err)
			}
			defer s.close()
			kindOf := func(i int) string {
				if kind == "mixed" {
					return kinds[i]
				}
				return kind
			}
			var others []*proctest.Proc
			for i := range parties - 1 {
				others = append(others, proctest.Start(t, "party", name, kindOf(i+1), fmt.Sprint(rounds)))
			}
			set := setOf(kindOf(0))
			if err := s.play(set, rounds); err != nil {
				t.Error(err)
			}
			set.end(t)
			for _, p := range others {
				p.Wait()
			}
		})
	}
}

package park

import (
	"fmt"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sharedseg/sharedseg/internal/kernel"
	"github.com/sharedseg/sharedseg/internal/layout"
	"github.com/sharedseg/sharedseg/internal/mapping"
	"github.com/sharedseg/sharedseg/internal/proctest"
)

// roles are the functions that tests run in other processes.
var roles = map[string]func([]string) error{"partner": partner, "idler": idler}

func TestMain(m *testing.M) { proctest.Main(m, roles) }

// shared is shared memory with a word and a counter.
type shared struct {
	place   *mapping.Place
	obj     *mapping.Object
	view    *mapping.View
	word    *atomic.Uint32
	counter *uint64
	family  *kernel.Family
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
	words := layout.NewWords(view.Mem)
	return &shared{p, obj, view, words.Mutex(), &words.Versions()[0], obj.Family()}, nil
}

func (s *shared) close() {
	s.view.Unmap()
	if s.obj.Created() && s.place.Lasting() {
		s.obj.Unlink()
	}
	s.obj.Close()
}

var within = proctest.Within

// place is where threads sleep on one word.
type place interface {
	Wait(old uint32, limit time.Duration)
	Kick()
	Close()
}

// bed is the place of one thread that waits for a Broadcast.
type bed struct {
	*Sleeper
	b    *Broadcast
	spot Spot
}

func newBed(b *Broadcast, words int) *bed { return &bed{Sleeper: NewSleeper(words), b: b} }

func (b *bed) Wait(old uint32, limit time.Duration) {
	if b.spot.Prepare(b.b, old) {
		b.Sleep([]*Spot{&b.spot}, limit)
	}
}

func (b *bed) Close() { b.spot.Close() }

func TestWaitReturns(t *testing.T) {
	s, err := share(proctest.Name(t))
	if err != nil {
		t.Fatal(err)
	}
	defer s.close()
	for _, family := range []*kernel.Family{s.family, nil} {
		queue, broadcast := NewQueue(s.word, family, MutexPart), NewBroadcast(s.word, family)
		queue.Wake() // no thread sleeps
		broadcast.Wake(1)
		for _, p := range []place{queue, newBed(broadcast, 1), newBed(broadcast, Words())} {
			s.word.Store(1)
			p.Kick()
			within(t, "Wait for another value", func() { p.Wait(0, time.Hour) })
			within(t, "Wait with a limit of 0", func() { p.Wait(1, 0) })
			within(t, "Wait with a negative limit", func() { p.Wait(1, -time.Hour) })
			within(t, "Wait with a limit", func() { p.Wait(1, time.Millisecond) })
			within(t, "a sleeper that is kicked", func() {
				woken := make(chan bool)
				go func() { p.Wait(1, 2*proctest.Patience); close(woken) }()
				for {
					select {
					case <-woken:
						return
					case <-time.After(time.Millisecond):
						s.word.Store(2) // for platforms that poll
						p.Kick()
					}
				}
			})
			p.Close()
		}
	}
}

const rounds = 1000

// work does the work of one of two parties, with a place of the given kind.
func (s *shared) work(kind string, party uint32) {
	if kind == "broadcast" {
		s.volley(party)
	} else {
		s.count()
	}
}

// volley waits until the word has the given parity, and adds 1, rounds times.
func (s *shared) volley(parity uint32) {
	broadcast := NewBroadcast(s.word, s.family)
	bed := newBed(broadcast, Words())
	defer bed.Close()
	for range rounds {
		for v := s.word.Load(); v%2 != parity; v = s.word.Load() {
			bed.Wait(v, time.Hour)
		}
		broadcast.Wake(s.word.Add(1) - 1)
	}
}

// count adds 1 to the counter, rounds times, with a mutex held. The mutex is
// Drepper's second: its word is 0 if it is free, 1 if it is locked, and 2 if it
// is locked and a thread may sleep.
func (s *shared) count() {
	queue := NewQueue(s.word, s.family, MutexPart)
	defer queue.Close()
	for range rounds {
		if !s.word.CompareAndSwap(0, 1) {
			for s.word.Swap(2) != 0 {
				queue.Wait(2, time.Hour)
			}
		}
		n := *s.counter
		runtime.Gosched()
		*s.counter = n + 1
		if s.word.Swap(0) == 2 {
			queue.Wake()
		}
	}
}

// partner NAME KIND is the second party in the memory NAME, with a place of
// KIND.
func partner(args []string) error {
	s, err := share(args[0])
	if err != nil {
		return err
	}
	defer s.close()
	fmt.Println("ready")
	s.work(args[1], 1)
	return nil
}

// idler does nothing until it is killed.
func idler([]string) error {
	fmt.Println("ready")
	proctest.Await()
	return nil
}

// Wake wakes threads that sleep on another mapping of the same word, in this
// process or in another. Sleeps are limited to an hour, so a lost Wake fails
// the test.
func TestWakeAcross(t *testing.T) {
	for _, where := range []string{"mapping", "process"} {
		for _, kind := range []string{"queue", "broadcast"} {
			t.Run(where+"/"+kind, func(t *testing.T) {
				name := proctest.Name(t)
				s, err := share(name)
				if err != nil {
					t.Fatal(err)
				}
				defer s.close()
				s.word.Store(0)
				*s.counter = 0
				var join func()
				if where == "process" {
					p := proctest.Start(t, "partner", name, kind)
					p.Expect("ready")
					join = p.Wait
				} else {
					other, err := share(name)
					if err != nil {
						t.Fatal(err)
					}
					done := make(chan bool)
					go func() { other.work(kind, 1); close(done) }()
					join = func() { <-done; other.close() }
				}
				within(t, "the work", func() { s.work(kind, 0) })
				join()
				if kind == "queue" && *s.counter != 2*rounds {
					t.Errorf("counted %d, want %d", *s.counter, 2*rounds)
				}
			})
		}
	}
}

// A change and a Wake wake all sleepers, including those that go to sleep while
// it happens.
func TestWakeAll(t *testing.T) {
	s, err := share(proctest.Name(t))
	if err != nil {
		t.Fatal(err)
	}
	defer s.close()
	broadcast := NewBroadcast(s.word, s.family)
	for round := range 100 {
		s.word.Store(0)
		const sleepers = 5
		done := make(chan bool, sleepers)
		for range sleepers {
			go func() {
				bed := newBed(broadcast, []int{1, Words()}[round%2])
				defer bed.Close()
				for s.word.Load() == 0 {
					bed.Wait(0, time.Hour)
				}
				done <- true
			}()
		}
		s.word.Store(1)
		broadcast.Wake(0)
		within(t, "a sleeper", func() {
			for range sleepers {
				<-done
			}
		})
	}
}

// A Wake wakes a thread that saw an earlier value than the one that the last
// change replaced, if Changed followed each change.
func TestChanged(t *testing.T) {
	s, err := share(proctest.Name(t))
	if err != nil {
		t.Fatal(err)
	}
	defer s.close()
	broadcast := NewBroadcast(s.word, s.family)
	s.word.Store(0)
	bed := newBed(broadcast, Words())
	defer bed.Close()
	if !bed.spot.Prepare(broadcast, 0) {
		t.Fatal("the word changed by itself")
	}
	woken := make(chan bool)
	go func() {
		for s.word.Load() != 2 {
			bed.Sleep([]*Spot{&bed.spot}, time.Hour)
		}
		close(woken)
	}()
	time.Sleep(time.Millisecond)
	for old := range uint32(2) {
		s.word.Store(old + 1)
		broadcast.Changed(old)
	}
	broadcast.Wake(1)
	within(t, "the sleeper", func() { <-woken })
}

// several returns n shared words, a Broadcast for each, and a Spot for each.
func several(t *testing.T, n int) (memory []*shared, broadcasts []*Broadcast, spots []*Spot) {
	for range n {
		s, err := share(proctest.Name(t))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(s.close)
		s.word.Store(0)
		b := NewBroadcast(s.word, s.family)
		spot := new(Spot)
		t.Cleanup(spot.Close)
		memory, broadcasts, spots = append(memory, s), append(broadcasts, b), append(spots, spot)
	}
	return memory, broadcasts, spots
}

// A thread that sleeps on as many words as possible is woken by a change of any
// of them, and by Kick, including one before the Sleep. Otherwise it sleeps
// until the limit.
func TestSleepOnMany(t *testing.T) {
	n := Words()
	if n == 0 {
		t.Skip("Wake has no effect on this platform")
	}
	memory, broadcasts, spots := several(t, n)
	sleeper := NewSleeper(n)
	prepare := func() {
		for i, spot := range spots {
			if !spot.Prepare(broadcasts[i], memory[i].word.Load()) {
				t.Fatal("a word changed by itself")
			}
		}
	}
	prepare()
	if !sleeper.Sleep(spots, 20*time.Millisecond) {
		t.Error("a Sleep ended early")
	}
	for i := range memory {
		prepare()
		within(t, "a Sleep", func() {
			woken := make(chan bool)
			go func() {
				for memory[i].word.Load() == 0 {
					sleeper.Sleep(spots, time.Hour)
				}
				close(woken)
			}()
			if i%2 == 0 {
				time.Sleep(time.Millisecond)
			}
			memory[i].word.Store(1)
			broadcasts[i].Wake(0)
			<-woken
		})
	}
	prepare()
	within(t, "a Sleep after Kick", func() {
		sleeper.Kick()
		if n == 1 { // it can miss the Kick
			return
		}
		sleeper.Sleep(spots, time.Hour)
	})
	if n > 1 {
		prepare()
		if !sleeper.Sleep(spots, 20*time.Millisecond) {
			t.Error("a Kick ended two Sleeps")
		}
	}
}

// One thread may sleep on the same word twice.
func TestSleepTwice(t *testing.T) {
	if Words() < 2 {
		t.Skip("a thread can sleep on one word only on this platform")
	}
	s, err := share(proctest.Name(t))
	if err != nil {
		t.Fatal(err)
	}
	defer s.close()
	s.word.Store(0)
	sleeper, a, b := NewSleeper(2), NewBroadcast(s.word, s.family), NewBroadcast(s.word, s.family)
	spots := []*Spot{new(Spot), new(Spot)}
	defer spots[0].Close()
	defer spots[1].Close()
	for range 100 {
		old := s.word.Load()
		spots[0].Prepare(a, old)
		spots[1].Prepare(b, old)
		woken := make(chan bool)
		go func() {
			sleeper.Sleep(spots, time.Hour)
			close(woken)
		}()
		s.word.Store(old + 1)
		a.Wake(old)
		within(t, "a Sleep", func() { <-woken })
	}
}

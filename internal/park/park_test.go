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

// roles are the parts that tests play in processes of their own.
var roles = map[string]func([]string) error{"partner": partner, "idler": idler}

func TestMain(m *testing.M) { proctest.Main(m, roles) }

// shared is a word that processes share.
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
		if err := obj.Reset(p, layout.Mark(), int64(size)); err != nil {
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

// within fails the test if f does not return.
func within(t *testing.T, what string, f func()) {
	t.Helper()
	done := make(chan bool)
	go func() { f(); close(done) }()
	select {
	case <-done:
	case <-time.After(proctest.Patience):
		t.Fatal(what, "does not return")
	}
}

// place is what Queue and Crowd have in common.
type place interface {
	Wait(old uint32, limit time.Duration)
	Kick()
	Close()
}

func TestWaitReturns(t *testing.T) {
	s, err := share(proctest.Name(t))
	if err != nil {
		t.Fatal(err)
	}
	defer s.close()
	for _, family := range []*kernel.Family{s.family, nil} {
		queue, crowd := NewQueue(s.word, family), NewCrowd(s.word, family)
		queue.Wake() // nobody
		crowd.Wake(1)
		for _, p := range []place{queue, crowd} {
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
						s.word.Store(2) // for those who poll
						p.Kick()
					}
				}
			})
			p.Close()
		}
	}
}

const rounds = 1000

// work does its part of what two parties do with a place of that kind.
func (s *shared) work(kind string, party uint32) {
	if kind == "crowd" {
		s.volley(party)
	} else {
		s.count()
	}
}

// volley waits until the word is odd, or even, and adds 1, rounds times.
func (s *shared) volley(parity uint32) {
	crowd := NewCrowd(s.word, s.family)
	defer crowd.Close()
	for range rounds {
		for v := s.word.Load(); v%2 != parity; v = s.word.Load() {
			crowd.Wait(v, time.Hour)
		}
		crowd.Wake(s.word.Add(1) - 1)
	}
}

// count adds 1 to the counter, rounds times, under a mutex: Drepper's second, whose word is 0, 1 if it is locked, 2 if
// somebody may sleep besides.
func (s *shared) count() {
	queue := NewQueue(s.word, s.family)
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

// partner is the second party in the memory NAME, with a place of KIND.
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

// A Wake reaches who sleeps on another mapping of the same word, in this process or another. Without a limit to
// rescue it, one lost Wake would stop the two for good.
func TestWakeAcross(t *testing.T) {
	for _, where := range []string{"mapping", "process"} {
		for _, kind := range []string{"queue", "crowd"} {
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

// All of a crowd go on after a change and a Wake, on whichever side of it they fall asleep.
func TestWakeAll(t *testing.T) {
	s, err := share(proctest.Name(t))
	if err != nil {
		t.Fatal(err)
	}
	defer s.close()
	for range 100 {
		crowd := NewCrowd(s.word, s.family)
		s.word.Store(0)
		const sleepers = 5
		done := make(chan bool, sleepers)
		for range sleepers {
			go func() {
				for s.word.Load() == 0 {
					crowd.Wait(0, time.Hour)
				}
				done <- true
			}()
		}
		s.word.Store(1)
		crowd.Wake(0)
		within(t, "a sleeper", func() {
			for range sleepers {
				<-done
			}
		})
		crowd.Close()
	}
}

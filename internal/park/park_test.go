package park

import (
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sharedseg/sharedseg/internal/kernel"
	"github.com/sharedseg/sharedseg/internal/layout"
	"github.com/sharedseg/sharedseg/internal/mapping"
	"github.com/sharedseg/sharedseg/internal/proctest"
)

func TestMain(m *testing.M) {
	proctest.Main(m, map[string]func([]string) error{"ponger": ponger})
}

// shared is a word that processes share.
type shared struct {
	obj    *mapping.Object
	mem    []byte
	word   *atomic.Uint32
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
		if err := obj.Reset(p, layout.Mark(), int64(size)); err != nil {
			return nil, err
		}
	}
	mem, err := obj.Map(size, true)
	if err != nil {
		return nil, err
	}
	return &shared{obj, mem, layout.NewWords(mem).Mutex(), obj.Family()}, nil
}

func (s *shared) close() {
	mapping.Unmap(s.mem)
	if s.obj.Created() && mapping.Lasting {
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

// volley waits until the word is odd, or even, and adds 1, rounds times.
func (s *shared) volley(kind string, parity uint32) {
	queue, crowd := NewQueue(s.word, s.family), NewCrowd(s.word, s.family)
	defer queue.Close()
	defer crowd.Close()
	for range rounds {
		for v := s.word.Load(); v%2 != parity; v = s.word.Load() {
			if kind == "queue" {
				queue.Wait(v, time.Hour)
			} else {
				crowd.Wait(v, time.Hour)
			}
		}
		v := s.word.Add(1)
		if kind == "queue" {
			queue.Wake()
		} else {
			crowd.Wake(v - 1)
		}
	}
}

// ponger answers in the word of NAME, KIND of place.
func ponger(args []string) error {
	s, err := share(args[0])
	if err != nil {
		return err
	}
	defer s.close()
	fmt.Println("ready")
	s.volley(args[1], 1)
	return nil
}

// A Wake reaches who sleeps on another mapping of the same word, in this process or another. Without a limit to
// rescue it, one lost Wake would stop the volley.
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
				if where == "process" {
					p := proctest.Start(t, "ponger", name, kind)
					p.Expect("ready")
					defer p.Wait()
				} else {
					other, err := share(name)
					if err != nil {
						t.Fatal(err)
					}
					done := make(chan bool)
					go func() { other.volley(kind, 1); close(done) }()
					defer func() { <-done; other.close() }()
				}
				within(t, "the volley", func() { s.volley(kind, 0) })
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

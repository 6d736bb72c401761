package notify

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sharedseg/sharedseg/internal/layout"
	"github.com/sharedseg/sharedseg/internal/mapping"
	"github.com/sharedseg/sharedseg/internal/park"
	"github.com/sharedseg/sharedseg/internal/proctest"
)

// pool is a number of tokens in shared memory. Takers wait for tokens.
type pool struct {
	*shared
	page layout.WaitPage
}

func openPool(name string) (*pool, error) {
	g := &layout.Geometry{Kind: layout.KindEvent}
	if err := g.Place(mapping.PageSize()); err != nil {
		return nil, err
	}
	s, err := share(name)
	if err != nil {
		return nil, err
	}
	return &pool{s, layout.NewWaitPage(s.view.Mem, g)}, nil
}

func (p *pool) tokens() *atomic.Uint64 { return p.page.Word(0) }
func (p *pool) taken() *atomic.Uint64  { return p.page.Word(1) }
func (p *pool) ended() *atomic.Uint64  { return p.page.Word(2) }

func (p *pool) eventCount(limit time.Duration) *EventCount {
	e := park.NewEvent(p.page, 0, p.family)
	return NewEventCount(e, p.view.Guard, func() time.Duration { return limit }, nil)
}

// take takes a token if there is one.
func (p *pool) take() bool {
	for n := p.tokens().Load(); n > 0; n = p.tokens().Load() {
		if p.tokens().CompareAndSwap(n, n-1) {
			return true
		}
	}
	return false
}

// takeAll takes tokens, in several goroutines and through several EventCounts,
// until the test ends. Some of the waits time out.
func (p *pool) takeAll(limit time.Duration) error {
	a, b := p.eventCount(limit), p.eventCount(limit)
	defer a.Close()
	defer b.Close()
	patience, cancel := context.WithTimeout(context.Background(), proctest.Patience)
	defer cancel()
	var wg sync.WaitGroup
	failed := make(chan error, 4)
	for i := range cap(failed) {
		e := a
		if i == 0 {
			e = b
		}
		wg.Go(func() {
			for p.ended().Load() == 0 {
				ctx, cancel := patience, func() {}
				if i%2 == 1 {
					ctx, cancel = context.WithTimeout(patience, time.Duration(rand.IntN(2000))*time.Microsecond)
				}
				got := false
				err := e.Wait(ctx, func() bool { got = p.take(); return got || p.ended().Load() != 0 })
				cancel()
				if got {
					p.taken().Add(1)
				}
				if err != nil && (got || patience.Err() != nil || !errors.Is(err, context.DeadlineExceeded)) {
					failed <- fmt.Errorf("token taken: %v; %w", got, err)
					return
				}
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

// taker NAME LIMIT takes tokens from the pool NAME and sleeps for at most
// LIMIT.
func taker(args []string) error {
	p, err := openPool(args[0])
	if err != nil {
		return err
	}
	defer p.close()
	limit, err := time.ParseDuration(args[1])
	if err != nil {
		return err
	}
	fmt.Println("ready")
	return p.takeAll(limit)
}

// give adds n tokens, and ends the test when all are taken.
func (p *pool) give(t *testing.T, n int, between func()) {
	e := p.eventCount(time.Hour)
	defer e.Close()
	for range n {
		between()
		p.tokens().Add(1)
		e.Signal()
	}
	eventually(t, "all tokens are taken", func() bool { return p.tokens().Load() == 0 })
	p.ended().Store(1)
	e.Signal()
}

// No wake-up is lost between processes, even if waiters give up or find
// nothing. Sleeps are limited to an hour, so a lost wake-up fails the test.
func TestEventNoneLost(t *testing.T) {
	name := proctest.Name(t)
	p, err := openPool(name)
	if err != nil {
		t.Fatal(err)
	}
	defer p.close()
	var others []*proctest.Proc
	for range 2 {
		others = append(others, proctest.Start(t, "taker", name, "1h"))
	}
	for _, o := range others {
		o.Line()
	}
	const tokens = 2000
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := p.takeAll(time.Hour); err != nil {
			t.Error(err)
		}
	})
	p.give(t, tokens, func() {
		switch rand.IntN(20) {
		case 0:
			time.Sleep(time.Duration(rand.IntN(1000)) * time.Microsecond)
		case 1:
			time.Sleep(0)
		}
	})
	wg.Wait()
	for _, o := range others {
		o.Wait()
	}
	if n := p.taken().Load(); n != tokens {
		t.Errorf("%d tokens were taken of %d", n, tokens)
	}
}

// A waiter that is killed delays the others by at most the limit of a sleep.
func TestEventKilled(t *testing.T) {
	name := proctest.Name(t)
	p, err := openPool(name)
	if err != nil {
		t.Fatal(err)
	}
	defer p.close()
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := p.takeAll(20 * time.Millisecond); err != nil {
			t.Error(err)
		}
	})
	for range 10 {
		victim := proctest.Start(t, "taker", name, "20ms")
		victim.Line()
		for range rand.IntN(20) {
			p.tokens().Add(1)
			e := p.eventCount(time.Hour)
			e.Signal()
			e.Close()
		}
		victim.Kill()
	}
	p.give(t, 100, func() {})
	wg.Wait()
}

// A wait ends with its context, with Close, and with the error of Use.
func TestEventEnds(t *testing.T) {
	name := proctest.Name(t)
	p, err := openPool(name)
	if err != nil {
		t.Fatal(err)
	}
	defer p.close()
	never := func() bool { return false }
	wait := func(e *EventCount, ctx context.Context) <-chan error {
		result := make(chan error, 1)
		go func() { result <- e.Wait(ctx, never) }()
		return result
	}
	parked := func() {
		eventually(t, "a goroutine is parked", func() bool { return p.page.Event(0).Flag.Load() != 0 })
		p.page.Event(0).Flag.Store(0)
	}

	e := p.eventCount(time.Hour)
	ctx, cancel := context.WithCancel(context.Background())
	first := wait(e, ctx)
	parked()
	second := wait(e, ctx)
	cancel()
	expect(t, first, context.Canceled)
	expect(t, second, context.Canceled)
	expect(t, wait(e, ctx), context.Canceled)

	first, second = wait(e, context.Background()), wait(e, context.Background())
	parked()
	e.Close()
	e.Close()
	expect(t, first, fs.ErrClosed)
	expect(t, second, fs.ErrClosed)
	expect(t, wait(e, context.Background()), fs.ErrClosed)

	var gone atomic.Bool
	e = p.eventCount(time.Millisecond)
	e.use = func(f func() error) error {
		if gone.Load() {
			return layout.ErrCorrupt
		}
		return f()
	}
	first = wait(e, context.Background())
	parked()
	gone.Store(true)
	expect(t, first, layout.ErrCorrupt)
	e.Close()

	e = p.eventCount(time.Hour)
	defer e.Close()
	if !panics(func() { e.Wait(context.Background(), func() bool { panic("ready") }) }) {
		t.Error("Wait does not propagate a panic")
	}
	if err := e.Wait(context.Background(), func() bool { return true }); err != nil {
		t.Error(err)
	}
}

func panics(f func()) (p bool) {
	defer func() { p = recover() != nil }()
	f()
	return false
}

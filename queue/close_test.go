package queue_test

import (
	"errors"
	"io/fs"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sharedseg/sharedseg/codec"
	"github.com/sharedseg/sharedseg/internal/proctest"
	"github.com/sharedseg/sharedseg/queue"
)

// Every method runs concurrently with Close. A call either succeeds or returns
// fs.ErrClosed, and always fs.ErrClosed if it begins after Close has returned.
// Each message whose Send or Publish succeeded is done exactly once, or left
// for another handle.
func TestCloseRace(t *testing.T) {
	rounds := 100
	if testing.Short() {
		rounds = 20
	}
	for round := range rounds {
		if round%2 == 0 {
			closeRace(t, round, codec.Fixed[uint64]())
		} else {
			closeRace(t, round, codec.JSON[uint64]())
		}
	}
}

// An account lists the numbers of messages.
type account struct {
	mu      sync.Mutex
	numbers map[uint64]int
}

func (a *account) add(n uint64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.numbers[n]++
}

func closeRace(t *testing.T, round int, c codec.Codec[uint64]) {
	name := proctest.Name(t)
	other := open(t, name, c, &queue.Options{Depth: 8, Capacity: 24})
	q, err := queue.Open(name, c, nil)
	must(t, err)
	sent, done := account{numbers: map[uint64]int{}}, account{numbers: map[uint64]int{}}
	var last atomic.Uint64
	var closed atomic.Bool // each Close has returned
	var calls, closes sync.WaitGroup
	try := func(what string, call func() error) {
		for range 2 {
			calls.Go(func() {
				for ; ; runtime.Gosched() {
					late := closed.Load()
					err := call()
					if errors.Is(err, fs.ErrClosed) {
						return
					}
					if err != nil || late {
						t.Errorf("%s, begun after Close: %v, returned %v", what, late, err)
						return
					}
				}
			})
		}
	}
	ctx := t.Context()
	end := func(d *queue.Delivery[uint64]) error {
		defer d.Return()
		n, err := d.Value()
		if err != nil {
			return err
		}
		d.Bytes()
		if n%4 == 0 && d.Attempt() < 3 {
			return d.Return()
		}
		if err := d.Done(); err != nil {
			return err
		}
		done.add(n)
		return nil
	}
	try("Send", func() error {
		n := last.Add(1)
		err := q.Send(ctx, n)
		if err == nil {
			sent.add(n)
		}
		return err
	})
	try("TrySend", func() error {
		n := last.Add(1)
		ok, err := q.TrySend(n)
		if ok {
			sent.add(n)
		}
		return err
	})
	try("Loan", func() error {
		n := last.Add(1)
		l, err := q.Loan(ctx)
		if err != nil || n%3 == 0 {
			return errors.Join(err, discard(l))
		}
		encoding, err := c.Append(nil, n)
		must(t, err)
		err = l.Publish(copy(l.Bytes(), encoding))
		if err == nil {
			sent.add(n)
		}
		return err
	})
	try("Receive", func() error {
		d, err := q.Receive(ctx)
		if err != nil {
			return err
		}
		return end(d)
	})
	try("TryReceive", func() error {
		d, err := q.TryReceive()
		if err != nil || d == nil {
			return err
		}
		return end(d)
	})
	try("Len", func() error {
		if q.Len() > q.Cap() {
			return errors.New("too long")
		}
		if closed.Load() {
			return fs.ErrClosed
		}
		return nil
	})

	time.Sleep(time.Duration(round%10) * 100 * time.Microsecond)
	for range 3 {
		closes.Go(func() {
			if err := q.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	closes.Wait()
	closed.Store(true)
	calls.Wait()
	for {
		d, err := other.TryReceive()
		must(t, err)
		if d == nil {
			break
		}
		n, err := d.Value()
		must(t, err)
		must(t, d.Done())
		done.add(n)
	}
	for n, times := range done.numbers {
		if times != 1 || sent.numbers[n] != 1 {
			t.Errorf("message %d was sent %d times and done %d times", n, sent.numbers[n], times)
		}
	}
	if len(done.numbers) != len(sent.numbers) || other.Len() != 0 {
		t.Errorf("%d messages were sent and %d done; %d are left", len(sent.numbers), len(done.numbers), other.Len())
	}
	must(t, other.Close())
}

func discard[T any](l *queue.Loan[T]) error {
	if l == nil {
		return nil
	}
	return l.Discard()
}

package segment_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sharedseg/sharedseg"
	"github.com/sharedseg/sharedseg/codec"
	"github.com/sharedseg/sharedseg/internal/proctest"
	"github.com/sharedseg/sharedseg/segment"
)

// A cell is a value whose words are all the same number, which is never 0.
// Unmapped memory reads as zeros.
type cell [64]uint64

func cellOf(n uint64) (c cell) {
	for i := range c {
		c[i] = n
	}
	return c
}

func (c *cell) check() error {
	for _, w := range c {
		if w == 0 || w != c[0] {
			return fmt.Errorf("this value was never stored: %v", *c)
		}
	}
	return nil
}

// Every method runs concurrently with Close. A call either succeeds or returns
// fs.ErrClosed, and always fs.ErrClosed if it begins after Close has returned.
// By then the memory is unmapped and the lock is free, whatever the late calls
// do.
func TestCloseRace(t *testing.T) {
	rounds := 100
	if testing.Short() {
		rounds = 20
	}
	for round := range rounds {
		closeRace(t, round, &segment.Options{LockReads: round%2 == 1})
	}
}

func closeRace(t *testing.T, round int, o *segment.Options) {
	name, bareName := proctest.Name(t), proctest.Name(t)
	other := open(t, name, codec.Fixed[cell](), &segment.Options{LockReads: o.LockReads})
	must(t, other.Store(cellOf(1)))
	before, known := proctest.Mappings(name)
	if known && len(before) == 0 {
		t.Fatal("the mapping is not listed")
	}
	s := open(t, name, codec.Fixed[cell](), o)
	r, err := segment.OpenReader(name, codec.Fixed[cell](), nil)
	must(t, err)
	b, err := segment.OpenBare(bareName, 512, codec.Fixed[cell](), nil)
	must(t, err)
	var closed atomic.Bool // each Close has returned
	var calls, closes sync.WaitGroup
	try := func(what string, call func() error) {
		for range 2 {
			calls.Go(func() {
				for ; ; runtime.Gosched() { // otherwise each call waits for the time slices of all others
					late := closed.Load()
					err := call()
					if errors.Is(err, fs.ErrClosed) || closed.Load() && errors.Is(err, context.DeadlineExceeded) {
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
	change := func(v *cell) error { *v = cellOf(v[0] + 1); return v.check() }
	for _, h := range []interface {
		readable[cell]
		borrows[cell]
		Follow(context.Context, uint64) iter.Seq2[segment.Version[cell], error]
	}{s, r} {
		try("Load", func() error {
			v, err := h.Load()
			return errors.Join(err, checkIf(err == nil, &v))
		})
		try("LoadContext", func() error {
			v, err := h.LoadContext(ctx)
			return errors.Join(err, checkIf(err == nil, &v))
		})
		try("LoadInto", func() error {
			var v cell
			_, err := h.LoadInto(&v)
			return errors.Join(err, checkIf(err == nil, &v))
		})
		try("Wait", func() error { _, err := h.Wait(ctx, h.Version()); return err })
		try("Watch", func() error {
			for v, err := range h.Watch(ctx) {
				if err := errors.Join(err, checkIf(err == nil, &v)); err != nil {
					return err
				}
			}
			return errors.New("the loop ended without an error")
		})
		try("Follow", func() error {
			for v, err := range h.Follow(ctx, h.Version()) {
				if _, missed := errors.AsType[*segment.MissedError](err); missed {
					continue
				}
				if err := errors.Join(err, checkIf(err == nil, &v.Value)); err != nil {
					return err
				}
			}
			return errors.New("the loop ended without an error")
		})
		try("Borrow", func() error {
			b, err := h.Borrow(ctx)
			if err != nil {
				return err
			}
			v := *b.Value()
			return errors.Join(b.Release(), v.check())
		})
		try("Version", func() error {
			if h.Version() == 0 {
				return fs.ErrClosed
			}
			return nil
		})
	}
	try("Store", func() error { return s.Store(cellOf(uint64(round + 1))) })
	try("StoreContext", func() error {
		soon, cancel := context.WithTimeout(ctx, 50*time.Microsecond)
		defer cancel()
		err := s.StoreContext(soon, cellOf(uint64(round+2)))
		if errors.Is(err, context.DeadlineExceeded) && !closed.Load() {
			return nil
		}
		return err
	})
	try("Update", func() error { return s.Update(change) })
	try("UpdateContext", func() error { return s.UpdateContext(ctx, change) })
	try("Publish", func() error {
		l, err := s.Loan(ctx)
		if err != nil {
			return err
		}
		*l.Value() = cellOf(1)
		_, err = l.Publish(len(l.Bytes()))
		return err
	})
	try("Discard", func() error {
		l, err := s.Loan(ctx)
		if err != nil {
			return err
		}
		clear(l.Bytes())
		return l.Discard()
	})
	try("Created", func() error {
		if s.Created() {
			return errors.New("true")
		}
		if closed.Load() {
			return fs.ErrClosed
		}
		return nil
	})
	try("Bare Load", func() error { _, err := b.Load(); return err })
	try("Bare Store", func() error { return b.Store(cellOf(1)) })

	time.Sleep(time.Duration(round%10) * 100 * time.Microsecond)
	for _, h := range []interface{ Close() error }{s, r, b} {
		for range 3 {
			closes.Go(func() {
				if err := h.Close(); err != nil {
					t.Error(err)
				}
			})
		}
	}
	closes.Wait()
	closed.Store(true)
	if after, _ := proctest.Mappings(name); len(after) != len(before) {
		t.Errorf("the memory is still mapped after Close: %v", after)
	}
	if after, _ := proctest.Mappings(bareName); len(after) != 0 {
		t.Errorf("the bare memory is still mapped after Close: %v", after)
	}
	calls.Wait()
	soon, cancel := context.WithTimeout(ctx, proctest.Patience)
	defer cancel()
	must(t, other.StoreContext(soon, cellOf(1)))
	other.Close()
}

func checkIf(valid bool, c *cell) error {
	if !valid {
		return nil
	}
	return c.check()
}

// The garbage collector closes unreachable handles.
func TestDroppedHandles(t *testing.T) {
	var names []string
	name := func() string {
		names = append(names, proctest.Name(t))
		return names[len(names)-1]
	}
	keptName := proctest.Name(t)
	kept := open(t, keptName, codec.String(), nil)
	for range 10 {
		s, err := segment.Open(name(), codec.String(), nil)
		must(t, err)
		must(t, s.Store("dropped"))
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		if _, err := s.Wait(ctx, 1); !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
		cancel()
		b, err := segment.OpenBare(name(), 64, codec.UTF16(), nil)
		must(t, err)
		must(t, b.Store("dropped"))
		if _, err := segment.OpenReader(keptName, codec.String(), nil); err != nil {
			t.Fatal(err)
		}
		if _, err := segment.Open(keptName, codec.String(), nil); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range names {
		proctest.Eventually(t, "the only handle is closed", func() bool {
			runtime.GC()
			_, err := sharedseg.Stat(name, nil)
			return errors.Is(err, fs.ErrNotExist)
		})
	}
	proctest.Eventually(t, "all handles are closed, except the one that is kept", func() bool {
		runtime.GC()
		info, err := sharedseg.Stat(keptName, nil)
		return err == nil && info.Writers == 1 && info.Readers == 0
	})
	if err := kept.Store("lives"); err != nil {
		t.Error(err)
	}
}

// Package segment shares one typed value between processes, through named
// shared memory.
//
//	prices, err := segment.Open("prices", codec.JSON[map[string]float64](), nil)
//	if err != nil {
//		return err
//	}
//	defer prices.Close()
//	if err := prices.Store(map[string]float64{"tea": 2.5}); err != nil {
//		return err
//	}
//	current, err := prices.Load() // in any process that opened "prices"
//	if err != nil {
//		return err
//	}
//	fmt.Println(current["tea"])
//
// A [Segment] has a name, and a [codec.Codec] that encodes its value. All
// processes that open the name with the same codec share the value. Store
// publishes a new version of it. Load copies the current version. Watch waits
// for the next one. Update changes the value atomically. Borrow and Loan read
// and write large values in place, without a copy. Follow returns every version
// in order.
//
// A value is never torn. A writer fills a slot other than the current one, and
// publishes it when it is complete. So a process can be killed at any
// instruction without damage: readers still find the previous version, and the
// next writer continues.
//
// The first handle to open a name creates the segment. The segment ends when
// the last handle is closed, by Close or by the exit of its process. Close
// frees the memory. If the last process was killed, the memory is freed by the
// next process that opens the name, or as described at sharedseg.Sweep.
//
// All methods may be called concurrently, from any number of goroutines and
// processes. Nothing in the mapping is trusted: a peer that writes nonsense can
// corrupt values, but it cannot crash this process, hang it, or make it
// allocate without bound.
package segment

import (
	"context"

	"github.com/sharedseg/sharedseg/internal/fault"
	"github.com/sharedseg/sharedseg/internal/layout"
	"github.com/sharedseg/sharedseg/internal/step"
)

// Segment is a handle for reading and writing a shared value. Close it after
// use. An unreachable handle is eventually closed by the garbage collector.
type Segment[T any] struct{ handle[T] }

// Created reports whether this handle initialised the segment.
func (s *Segment[T]) Created() bool { return s.member.Created }

// Store publishes v as the new version. It waits for other writers. It waits
// for readers only if they have borrowed every other slot.
//
// Store returns ErrTooLarge if the encoding is larger than the capacity, the
// error of the codec, ErrCorrupt, ErrNoSpace if reserved memory is gone,
// ErrReentrant if an Update of this handle makes the call, or fs.ErrClosed.
// After an error the old value stays. After ErrCorrupt the value is undefined.
func (s *Segment[T]) Store(v T) error { return s.store(context.Background(), &v) }

// StoreContext is like Store, but stops waiting for other writers, such as one
// that is suspended, when ctx is done. If ctx is already done, StoreContext
// stores nothing. The error then wraps that of ctx, and its text names the
// process that holds the lock, as a hint.
func (s *Segment[T]) StoreContext(ctx context.Context, v T) error {
	if err := ctx.Err(); err != nil {
		return wrap("store", s.name, err)
	}
	return s.store(ctx, &v)
}

// Update atomically replaces the current value with what fn makes of it: no
// other process publishes in between. fn gets a private copy of the value. If
// nothing was stored yet, that is the zero value of T, such as a nil map. If fn
// returns an error, Update publishes nothing and returns an error that wraps
// it. If fn panics, nothing is published either. If the value does not decode,
// Update returns codec.ErrMalformed and does not call fn.
//
// fn runs with the writers' lock held, so it should be short. Store, Update,
// Loan and Close of this handle need the lock, and so does Load with LockReads.
// They return ErrReentrant at once if fn calls them. The same is true for the
// methods of a codec. Two cases are not detected: fn waits for the lock through
// another handle of the segment, or fn waits for another goroutine that waits
// for the lock. Only a context can end those waits; see StoreContext and
// UpdateContext. Close has no context, so fn must not wait for a goroutine that
// closes this handle. On machines other than amd64, 386, arm64 and riscv64, no
// case is detected.
//
// The other errors are those of [Segment.Store] and [Reader.Load].
func (s *Segment[T]) Update(fn func(v *T) error) error {
	return wrap("update", s.name, s.update(context.Background(), fn))
}

// UpdateContext is like Update, but stops waiting for other writers when ctx is
// done. If ctx is already done, it does not call fn. The error is then as for
// StoreContext. Once fn runs, ctx has no effect.
func (s *Segment[T]) UpdateContext(ctx context.Context, fn func(v *T) error) error {
	if err := ctx.Err(); err != nil {
		return wrap("update", s.name, err)
	}
	return wrap("update", s.name, s.update(ctx, fn))
}

// store publishes *v as the next version. The common case is here: there is
// nothing to wait for, and nothing can panic.
func (s *handle[T]) store(ctx context.Context, v *T) error {
	if s.direct && s.turn.TryLock() {
		n, err := s.choose()
		if err == nil {
			return wrap("store", s.name, s.publish(n, v))
		}
		s.turn.Unlock()
		if err != errPinned {
			return wrap("store", s.name, err)
		}
	}
	return wrap("store", s.name, s.storeSlow(ctx, v))
}

// storeSlow is store for the other cases: the lock or the slot is taken, the
// handle accesses memory within Use, or the codec can panic.
func (s *handle[T]) storeSlow(ctx context.Context, v *T) error {
	n, err := s.acquire(ctx)
	if err != nil {
		return err
	}
	return s.turn.Finish(func() error { return s.publish(n, v) })
}

func (s *handle[T]) update(ctx context.Context, fn func(v *T) error) error {
	n, err := s.acquire(ctx)
	if err != nil {
		return err
	}
	v, err := s.updated(fn)
	if err != nil {
		return err
	}
	return s.turn.Finish(func() error { return s.publish(n, v) })
}

// updated returns the value that fn makes of the current one. The lock is held.
// It is released unless fn returns nil.
func (s *handle[T]) updated(fn func(v *T) error) (v *T, err error) {
	ok := false
	defer func() {
		if !ok {
			s.member.Use(s.turn.Unlock)
		}
	}()
	v = new(T)
	if err = s.current(v); err == nil {
		err = fn(v)
	}
	ok = err == nil
	return v, err
}

// next is the version that a writer with the lock is about to publish.
type next struct {
	version uint64
	slot    layout.Slot
}

// choose chooses the next version. In the common case that is the one after the
// current version: no later version was announced, and its slot is not
// borrowed.
func (s *handle[T]) choose() (next, error) {
	previous := s.seq.Version()
	i := s.seq.Slot(previous + 1)
	if s.state.Load() != 0 || s.seq.Announced() != previous || previous+1 == 0 ||
		s.borrowable && s.rows.AnyRow() && s.rows.OrRows()>>i&1 != 0 {
		return s.stepOver()
	}
	return next{previous + 1, s.payload.Slot(i)}, nil
}

// publish writes *v to the slot of the next version, and calls conclude. If the
// codec fails, publish releases the lock. It is called within Use.
func (s *handle[T]) publish(n next, v *T) (err error) {
	n.slot.Unseal()
	step.At(step.SlotUnsealed)
	s.seq.WriteAnnounce(n.version)
	step.At(step.WriteBegun)
	var size int
	if s.payload.Plain {
		size = layout.Put(n.slot, v)
	} else if size, err = s.payload.Put(n.slot, v); err != nil {
		s.turn.Unlock()
		return err
	}
	step.At(step.WriteFilled)
	return s.conclude(n, size)
}

// conclude makes the next version the current one, releases the lock, and wakes
// the watchers. The encoding, of size bytes, is in the slot. If memory has
// vanished, conclude only releases the lock. It is called within Use.
func (s *handle[T]) conclude(n next, size int) error {
	if s.state.Load()&fault.Lost != 0 {
		// Some of the value may be in private memory.
		s.turn.Unlock()
		return s.member.Loss(nil)
	}
	previous := s.seq.Version()
	n.slot.Seal(n.version, previous, size)
	step.At(step.SlotSealed)
	armed := s.notifier.Disarm()
	step.At(step.WatchersDisarmed)
	s.seq.WriteEnd(n.version)
	step.At(step.WriteEnded)
	var err error
	if !s.turn.TryUnlock() {
		err = s.turn.UnlockSlow()
	}
	s.notifier.Notify(uint32(previous), armed)
	if s.state.Load() != 0 {
		return s.member.Loss(err)
	}
	return err
}

// stepOver chooses the next version: the first one, starting with that of
// WriteNext, whose slot is neither borrowed nor that of the current version.
// Only if there is none does it matter whether the borrowers are alive. Then
// stepOver first uses what is known about them, then asks the system. If there
// still is none, it returns errPinned.
func (s *handle[T]) stepOver() (n next, err error) {
	if s.state.Load() != 0 {
		return n, s.member.Verdict(nil)
	}
	from, slot := s.seq.WriteNext()
	current := s.seq.Slot(s.seq.Version())
	var borrowed uint64
	if s.borrowable {
		borrowed = s.rows.OrRows()
	}
	for looks := 0; borrowed != 0 && s.full(borrowed, current); looks++ {
		if looks == 2 {
			return n, errPinned
		}
		borrowed = s.member.Pinned(looks == 1)
	}
	step.At(step.RowsSeen)
	// Versions wrap around, from 2^64-1 to 1, only after a peer wrote nonsense.
	version := from
	for slot == current || borrowed>>slot&1 != 0 {
		version = max(version+1, 1)
		slot = s.seq.Slot(version)
	}
	if version != from {
		if s.seq.Announced() == from {
			// Its writer died or failed, and may have written the number to the
			// slot's header.
			s.payload.Slot(s.seq.Slot(from)).Unseal()
		}
		step.At(step.SteppedOver)
	}
	return next{version, s.payload.Slot(slot)}, nil
}

// acquire waits for the lock and for a slot to write to.
func (s *handle[T]) acquire(ctx context.Context) (n next, err error) {
	for {
		if err := s.turn.Lock(ctx, errStoreWithin); err != nil {
			return n, err
		}
		err := s.member.Use(func() (err error) { n, err = s.stepOver(); return err })
		if err == nil {
			return n, nil
		}
		s.member.Use(s.turn.Unlock)
		if err != errPinned {
			return n, s.member.Verdict(err)
		}
		if err := s.awaitSlot(ctx); err != nil {
			return n, err
		}
	}
}

// current reads the current value into *v, for an Update. The lock is held.
func (s *handle[T]) current(v *T) error {
	private := new(scratch[T])
	var version uint64
	err := s.member.Use(func() (err error) {
		var ok bool
		if version, ok, err = s.tryRead(v, private); !ok {
			err = errCounters
		}
		return err
	})
	if s.payload.Direct {
		private = nil
	}
	return s.finish(v, private, version, s.member.Verdict(err))
}

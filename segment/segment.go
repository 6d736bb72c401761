// Package segment shares one typed value between processes, through named
// shared memory.
//
//	s, err := segment.Open("prices", codec.JSON[map[string]float64](), nil)
//	if err != nil {
//		return err
//	}
//	defer s.Close()
//	err = s.Store(map[string]float64{"tea": 2.5}) // publish it to all processes
//	prices, err := s.Load()                       // the current value
//
// A [Segment] is a name, a mapping and a [codec.Codec]. Every process that
// opens the name with the same codec has the same value: Store publishes a new
// version of it, Load copies the current one out, Watch waits for the next. A
// value is never torn: a version is written to a slot that no reader is sent to
// before it is complete, so a process that is killed half-way, at any
// instruction, costs nothing. The segment is created by the first handle to
// open it, and ends when the last one is closed, by Close or by the exit of its
// process. Close frees its memory; what a last process that was killed leaves
// is freed by the next to open the name, or as sharedseg.Sweep says.
//
// All methods may be called concurrently, from any number of goroutines and
// processes. Nothing in the mapping is trusted: a peer that writes nonsense can
// spoil values, but not crash, hang or bloat this process.
package segment

import (
	"context"

	"github.com/sharedseg/sharedseg/internal/layout"
	"github.com/sharedseg/sharedseg/internal/step"
)

// Segment is a handle of a shared value, for reading and writing. Close it when
// it is no longer used; an unreachable handle is eventually closed by the
// garbage collector.
type Segment[T any] struct{ handle[T] }

// Created reports whether this handle initialised the segment.
func (s *Segment[T]) Created() bool { return s.member.Created }

// Store publishes v as the new version. It waits for other writers, but not for
// readers, unless they have borrowed every other slot.
//
// Errors: ErrTooLarge if the encoding is larger than the capacity, the codec's,
// ErrCorrupt, ErrNoSpace if memory that was reserved is gone, ErrReentrant from
// within an Update of this handle, and fs.ErrClosed.
// After an error the old value stays; after ErrCorrupt it is undefined.
func (s *Segment[T]) Store(v T) error { return s.store(context.Background(), &v) }

// StoreContext is Store, but gives up waiting for other writers, one that is
// stopped perhaps, when ctx is done; if it is from the beginning, it stores
// nothing. The error then wraps that of ctx; its text names the process that
// has the lock, as a hint.
func (s *Segment[T]) StoreContext(ctx context.Context, v T) error {
	if err := ctx.Err(); err != nil {
		return wrap("store", s.name, err)
	}
	return s.store(ctx, &v)
}

// Update publishes what fn makes of the current value, as one step among all
// processes. fn gets a private copy, T's zero value if nothing was stored yet,
// such as a nil map. If it returns an error, Update publishes nothing and
// returns an Error that wraps it; if it panics, nothing is published either. A
// value that does not decode is codec.ErrMalformed, and fn does not run.
//
// fn runs with the writers' lock held: it should be short. Calls of this handle
// that need the lock, which are Store, Update, Loan, Close, and Load with
// LockReads, return ErrReentrant at once when fn makes them. It is not noticed
// if fn waits for its own lock through another handle of the segment, or for
// another goroutine that waits for the lock. Only a context ends that, as of
// StoreContext and UpdateContext. The same is true of a codec's methods. On
// machines other than amd64, 386, arm64 and riscv64, no such call is noticed.
//
// Errors: as of [Segment.Store] and [Reader.Load].
func (s *Segment[T]) Update(fn func(v *T) error) error {
	return wrap("update", s.name, s.update(context.Background(), fn))
}

// UpdateContext is Update, but gives up waiting for other writers when ctx is
// done, at once if it is from the beginning. The error is then as of
// StoreContext. Once fn runs, ctx no longer counts.
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

// storeSlow is store if the lock or a slot is not free, for a handle whose
// memory is touched through the door, and for a codec that may panic.
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

// updated returns what fn makes of the current value. The lock is held. It is
// released unless fn returns nil.
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

// next is the version that a writer that holds the lock publishes next.
type next struct {
	version uint64
	slot    layout.Slot
}

// choose chooses the next version: in the common case the one after the current
// version, as that was the last to be announced, and the slot is not borrowed.
func (s *handle[T]) choose() (next, error) {
	previous := s.seq.Version()
	i := s.seq.Slot(previous + 1)
	if s.state.Load() != 0 || s.seq.Announced() != previous || previous+1 == 0 ||
		s.borrowable && s.rows.AnyRow() && s.rows.OrRows()>>i&1 != 0 {
		return s.stepOver()
	}
	return next{previous + 1, s.payload.Slot(i)}, nil
}

// publish writes *v to the slot of the next version, and concludes. If the
// codec fails, it releases the lock. It is called inside the door.
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

// conclude makes the next version, whose encoding of size bytes is in its slot,
// the current one, releases the lock, and wakes the watchers. It is called
// inside the door.
func (s *handle[T]) conclude(n next, size int) error {
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

// stepOver chooses what is next: the first version from that of WriteNext on
// whose slot is neither borrowed nor the current version's. Whether those live
// that have borrowed slots matters only if there is none, and so is asked only
// then: first of what is known, then of the system. If there still is none, it
// returns errPinned.
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
	// Versions come round, from 2^64-1 to 1, only after a peer wrote nonsense.
	version := from
	for slot == current || borrowed>>slot&1 != 0 {
		version = max(version+1, 1)
		slot = s.seq.Slot(version)
	}
	if version != from {
		if s.seq.Announced() == from {
			// Its writer died, or gave up, and may have put it in the header.
			s.payload.Slot(s.seq.Slot(from)).Unseal()
		}
		step.At(step.SteppedOver)
	}
	return next{version, s.payload.Slot(slot)}, nil
}

// acquire waits for the lock, and for a slot to write to.
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

// current reads the value into *v for an Update. The lock is held.
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

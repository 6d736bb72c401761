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
	"sync/atomic"

	"github.com/sharedseg/sharedseg/internal/fence"
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
func (s *Segment[T]) Store(v T) error { return s.write(context.Background(), "store", &v, nil) }

// StoreContext is Store, but gives up waiting for other writers, one that is
// stopped perhaps, when ctx is done; if it is from the beginning, it stores
// nothing. The error then wraps that of ctx; its text names the process that
// has the lock, as a hint.
func (s *Segment[T]) StoreContext(ctx context.Context, v T) error {
	if err := ctx.Err(); err != nil {
		return wrap("store", s.name, err)
	}
	return s.write(ctx, "store", &v, nil)
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
	return s.update(context.Background(), fn)
}

// UpdateContext is Update, but gives up waiting for other writers when ctx is
// done, at once if it is from the beginning. The error is then as of
// StoreContext. Once fn runs, ctx no longer counts.
func (s *Segment[T]) UpdateContext(ctx context.Context, fn func(v *T) error) error {
	if err := ctx.Err(); err != nil {
		return wrap("update", s.name, err)
	}
	return s.update(ctx, fn)
}

func (s *Segment[T]) update(ctx context.Context, fn func(v *T) error) error {
	v := new(T)
	return s.write(ctx, "update", v, func() error {
		if err := s.current(v); err != nil {
			return err
		}
		return fn(v)
	})
}

// write publishes *v as the next version. If update is not nil, it makes *v
// first, with the lock held. The common case is here: nothing is to be waited
// for, and nothing can panic.
func (s *handle[T]) write(ctx context.Context, op string, v *T, update func() error) error {
	if !s.direct || update != nil || !s.word.TryLock() {
		return s.writeSlow(ctx, op, v, update)
	}
	fence.Acquire(s.member.Key)
	fence.Publish(&s.writing, unnamed) // Close looks at it, as the lock's word may be a peer's forgery
	err := s.publish(next{}, v, 0)
	if err == errPinned {
		return s.writeSlow(ctx, op, v, nil)
	}
	return wrap(op, s.name, err)
}

// next is what a writer that has the lock is going to publish.
type next struct {
	version, previous uint64
	slot              layout.Slot
}

// publish writes *v, unless it is nil and a Loan has been filled with size
// bytes, makes it the current version, and wakes the watchers. If n is zero, it
// chooses what is next: in the common case the version after the current one,
// as that was the last to be announced, and the slot is not borrowed. publish
// is called inside the door, with the lock, which it releases, unless the codec
// panics.
func (s *handle[T]) publish(n next, v *T, size int) (err error) {
	if n.version == 0 {
		if s.state.Load() != 0 {
			s.unlock()
			return s.member.Verdict(nil)
		}
		previous := s.seq.Version()
		i := s.seq.Slot(previous + 1)
		n = next{previous + 1, previous, s.payload.Slot(i)}
		if s.seq.Announced() != previous || n.version == 0 || s.borrowable && s.rows.AnyRow() && s.rows.OrRows()>>i&1 != 0 {
			if n, err = s.stepOver(); err != nil {
				s.unlock()
				return err
			}
		}
	}
	if v != nil {
		n.slot.Unseal()
		step.At(step.SlotUnsealed)
		s.seq.WriteAnnounce(n.version)
		step.At(step.WriteBegun)
		if s.payload.Plain {
			size = layout.Put(n.slot, v)
		} else if size, err = s.payload.Put(n.slot, v); err != nil {
			s.unlock()
			return err
		}
		step.At(step.WriteFilled)
	}
	n.slot.Seal(n.version, n.previous, size)
	step.At(step.SlotSealed)
	armed := s.notifier.Disarm()
	step.At(step.WatchersDisarmed)
	s.seq.WriteEnd(n.version)
	step.At(step.WriteEnded)
	fence.Publish(&s.writing, 0)
	fence.Release(s.member.Key)
	if !s.word.TryUnlock() {
		err = s.unlockSlow()
	}
	s.notifier.Notify(uint32(n.previous), armed)
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
	previous := s.seq.Version()
	from, slot := s.seq.WriteNext()
	current := s.seq.Slot(previous)
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
	return next{version, previous, s.payload.Slot(slot)}, nil
}

// writeSlow is write for a lock or a slot that is not free, for a handle whose
// memory is touched through the door, for a codec that may panic, and for an
// update. However these end, the lock is released.
func (s *handle[T]) writeSlow(ctx context.Context, op string, v *T, update func() error) error {
	self := writer()
	n, err := s.acquire(ctx, self)
	if err != nil {
		return wrap(op, s.name, err)
	}
	published := false
	defer func() {
		// A fault may have come after the release, from waking others.
		if !published && atomic.LoadUint64(&s.writing) == self {
			s.member.Use(s.unlock)
		}
	}()
	if update != nil {
		if err := update(); err != nil {
			return wrap(op, s.name, err)
		}
	}
	return wrap(op, s.name, s.member.Use(func() error {
		err := s.publish(n, v, 0)
		published = true
		return err
	}))
}

// acquire takes the lock, for the goroutine self, as soon as there is also a
// slot to write to.
func (s *handle[T]) acquire(ctx context.Context, self uint64) (n next, err error) {
	for {
		if s.within(self) {
			return n, errStoreWithin
		}
		if err := s.mutex.Lock(ctx); err != nil {
			return n, err
		}
		fence.Publish(&s.writing, self)
		err := s.member.Use(func() (err error) { n, err = s.stepOver(); return err })
		if err == nil {
			return n, nil
		}
		s.member.Use(s.unlock)
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

package segment

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"sync/atomic"

	"github.com/sharedseg/sharedseg/internal/fence"
	"github.com/sharedseg/sharedseg/internal/member"
	"github.com/sharedseg/sharedseg/internal/step"
)

// Loan is the room for the next version of the value, in shared memory, which
// is written where others will read it. Publish makes it the current version;
// Discard gives it back. Until one of them, it has the writers' lock: other
// Stores, Updates and Loans wait, also those of the same handle and goroutine.
// Readers do not.
//
// A process that is killed with a Loan open loses nothing but that: the old
// value stays, and the next writer goes on. A Loan must not be used by two
// goroutines at once, but any goroutine may publish or discard it.
type Loan[T any] struct {
	s     *handle[T]
	token uint64 // as handle.writing has it while the Loan is open
	next  next
	bytes []byte
}

// lent is set in handle.writing while a Loan is open; the other bits tell Loans
// apart. No goroutine.ID has it.
const lent = 1 << 63

// Loan returns the room for the next version, with the writers' lock held. It
// waits for other writers, and while every other slot is borrowed, until ctx is
// done.
//
//	l, err := s.Loan(ctx)
//	if err != nil {
//		return err
//	}
//	defer l.Discard() // does nothing after Publish
//	n, err := io.ReadFull(camera, l.Bytes()[:frame])
//	if err != nil {
//		return err
//	}
//	_, err = l.Publish(n)
//
// Errors: that of ctx, whose text names the process that has the lock, as a
// hint; ErrReentrant from within an Update of this handle; ErrCorrupt,
// ErrNoSpace, fs.ErrClosed.
func (s *Segment[T]) Loan(ctx context.Context) (*Loan[T], error) {
	return s.loan(ctx, new(Loan[T])) // inlined, so that it need not be on the heap
}

// loan is Loan into *l, which it returns.
func (s *handle[T]) loan(ctx context.Context, l *Loan[T]) (_ *Loan[T], err error) {
	if err := ctx.Err(); err != nil {
		return nil, wrap("loan", s.name, err)
	}
	if s.direct && s.word.TryLock() {
		fence.Acquire(s.member.Key)
		fence.Publish(&s.writing, unnamed)
		if l.next, err = s.stepOver(); err == nil {
			s.lend(l)
			return l, nil
		}
		s.unlock()
	}
	if l.next, err = s.acquire(ctx, writer()); err == nil {
		err = s.member.Use(func() error { s.lend(l); return nil })
		if err != nil {
			s.member.Use(s.unlock)
		}
	}
	if err != nil {
		return nil, wrap("loan", s.name, err)
	}
	return l, nil
}

// lend announces the version that l is for. The lock is held, and is the Loan's
// from then on.
func (s *handle[T]) lend(l *Loan[T]) {
	l.next.slot.Unseal()
	step.At(step.SlotUnsealed)
	s.seq.WriteAnnounceFull(l.next.version)
	step.At(step.WriteBegun)
	s.loans++
	l.s, l.token = s, lent|s.loans
	l.bytes = s.payload.Space(l.next.slot)
	fence.Publish(&s.writing, l.token)
	step.At(step.LoanTaken)
}

// Bytes is the room for the encoding of the value, all of the capacity, in
// place. It holds what an older version left there. It is nil after Publish or
// Discard.
func (l *Loan[T]) Bytes() []byte { return l.bytes }

// Value is the room as a T, in place, if the codec is codec.Fixed for a T
// without bools; else it is nil, as it is after Publish or Discard. It holds
// what an older version left there.
func (l *Loan[T]) Value() *T { return l.s.in(l.bytes) }

// Publish makes the first n bytes of Bytes the current version, wakes the
// watchers, and releases the lock. They must be an encoding of the codec, which
// nobody checks here: if they are not, Loads return codec.ErrMalformed. A codec
// whose values always have the same size, as codec.Fixed, takes no other n.
//
// Errors: fs.ErrInvalid if n is not possible; the Loan is then still open.
// fs.ErrClosed if the handle was closed, or if the Loan was published or
// discarded before; ErrCorrupt and ErrNoSpace if the memory is gone. Nothing is
// published then.
func (l *Loan[T]) Publish(n int) (version uint64, err error) {
	s := l.s
	if size, ok := s.payload.Sized(); ok && n != size || n < 0 || n > cap(l.bytes) && l.bytes != nil {
		return 0, wrap("publish", s.name, fmt.Errorf("%w: %d bytes", fs.ErrInvalid, n))
	}
	l.bytes = nil
	if !l.take() {
		return 0, wrap("publish", s.name, l.gone())
	}
	step.At(step.LoanReturning)
	if s.state.Load() != 0 {
		return 0, wrap("publish", s.name, errors.Join(s.member.Verdict(nil), s.takeBack()))
	}
	if s.direct {
		err = s.publish(l.next, nil, n)
	} else {
		err = s.publishSlow(l.next, n)
	}
	if err != nil {
		return 0, wrap("publish", s.name, err)
	}
	return l.next.version, nil
}

// publishSlow is publish of a Loan through the door.
func (s *handle[T]) publishSlow(n next, size int) error {
	err := s.member.Use(func() error { return s.publish(n, nil, size) })
	if err != nil && atomic.LoadUint64(&s.writing) != 0 {
		s.member.Use(s.unlock)
	}
	return err
}

// take takes the lock back from the Loan, so that Close waits for this
// goroutine again. It reports false if the Loan does not have it any more.
func (l *Loan[T]) take() bool {
	return atomic.CompareAndSwapUint64(&l.s.writing, l.token, unnamed)
}

// gone is why a Loan does not have the lock any more.
func (l *Loan[T]) gone() error {
	if err := l.s.member.Verdict(nil); err != nil {
		return err
	}
	return fmt.Errorf("%w: the Loan was published or discarded before", fs.ErrClosed)
}

// Discard gives the room back. Nothing is published, and the lock is released.
// After Publish, or a Discard, it does nothing, so that it can be deferred. It
// returns ErrCorrupt or ErrNoSpace if the memory is gone.
func (l *Loan[T]) Discard() error {
	l.bytes = nil
	if !l.take() {
		return nil
	}
	step.At(step.LoanReturning)
	s := l.s
	err := s.takeBack()
	if s.state.Load() != 0 {
		err = s.member.Loss(err)
	}
	return wrap("discard", s.name, err)
}

// takeBack releases the lock that take took back. If the handle was closed
// meanwhile, where memory cannot be replaced, it may be what Close has left to
// do.
func (s *handle[T]) takeBack() error {
	err := s.member.Use(s.unlock)
	if !member.Pinning || s.state.Load() == 0 {
		return err
	}
	p := s.pins
	p.mu.Lock()
	var leave func() error
	if p.total--; p.total == 0 {
		leave, p.leave = p.leave, nil
	}
	p.mu.Unlock()
	if leave == nil {
		return err
	}
	return errors.Join(err, leave())
}

// recall ends a Loan that is open, for Close. Whoever has it may write to it
// still: to private zeros, or where the memory cannot be replaced, to what the
// lock keeps for it until it is given back.
func (s *handle[T]) recall() {
	w := atomic.LoadUint64(&s.writing)
	if w&lent == 0 {
		return
	}
	s.pins.mu.Lock()
	defer s.pins.mu.Unlock()
	if member.Pinning {
		s.pins.total++
	} else if atomic.CompareAndSwapUint64(&s.writing, w, 0) {
		s.pins.strewn = true
	}
}

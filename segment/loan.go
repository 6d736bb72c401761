package segment

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

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
	token uint64 // of the handle's turn; 0 after Publish or Discard
	next  next
	bytes []byte
}

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
	if s.direct && s.turn.TryLock() {
		if l.next, err = s.choose(); err == nil {
			s.lend(l)
			return l, nil
		}
		s.turn.Unlock()
	}
	if l.next, err = s.acquire(ctx); err == nil {
		err = s.member.Use(func() error { s.lend(l); return nil })
		if err != nil {
			s.member.Use(s.turn.Unlock)
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
	l.s, l.bytes = s, s.payload.Space(l.next.slot)
	l.token = s.turn.Lend()
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
	if held, err := l.reclaim(); !held {
		return 0, wrap("publish", s.name, errors.Join(l.gone(), err))
	}
	if s.state.Load() != 0 {
		err = errors.Join(s.member.Verdict(nil), s.member.Use(s.turn.Unlock))
	} else if s.direct {
		err = s.conclude(l.next, n)
	} else {
		err = s.turn.Finish(func() error { return s.conclude(l.next, n) })
	}
	if err != nil {
		return 0, wrap("publish", s.name, err)
	}
	return l.next.version, nil
}

// Discard gives the room back. Nothing is published, and the lock is released.
// After Publish, or a Discard, it does nothing, so that it can be deferred. It
// returns ErrCorrupt or ErrNoSpace if the memory is gone.
func (l *Loan[T]) Discard() error {
	held, err := l.reclaim()
	if held {
		err = l.s.member.Use(l.s.turn.Unlock)
	}
	return wrap("discard", l.s.name, err)
}

// reclaim ends the Loan and takes the lock back from it, so that Close waits
// for this call. If the Loan no longer holds the lock, reclaim reports false,
// with the error of what Close may have left to do.
func (l *Loan[T]) reclaim() (held bool, err error) {
	token := l.token
	l.bytes, l.token = nil, 0
	switch {
	case token == 0:
		return false, nil
	case !l.s.turn.Reclaim(token):
		return false, l.s.pins.returned()
	}
	step.At(step.LoanReturning)
	return true, nil
}

// gone is why a Loan no longer holds the lock.
func (l *Loan[T]) gone() error {
	if err := l.s.member.Verdict(nil); err != nil {
		return err
	}
	return fmt.Errorf("%w: the Loan was published or discarded before", fs.ErrClosed)
}

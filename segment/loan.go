package segment

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/sharedseg/sharedseg/internal/step"
	"github.com/sharedseg/sharedseg/internal/turn"
)

// Loan is the slot for the next version of the value, in shared memory, for
// writing the value in place. Publish makes it the current version. Discard
// gives the slot back. Until one of them is called, the Loan holds the writers'
// lock: other Stores, Updates and Loans wait, including those of the same
// handle and goroutine. Loads wait only if the segment has LockReads.
//
// If a process is killed with a Loan open, only that version is lost: the old
// value stays, and the next writer continues. Two goroutines must not use a
// Loan at the same time, but any goroutine may publish or discard it.
//
// If a peer truncates the segment's file, accesses to the slot behave as those
// to a [Borrowed] value, and nothing can be published.
type Loan[T any] struct {
	s     *handle[T]
	token uint64 // from the handle's turn; 0 after Publish or Discard
	next  next
	bytes []byte
}

// Loan acquires the writers' lock and returns the slot for the next version. It
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
// Loan returns the error of ctx if ctx ends the wait. The text then names the
// process that holds the lock, as a hint. It returns ErrReentrant if an Update
// of this handle calls Loan. Other errors: ErrCorrupt, ErrNoSpace,
// fs.ErrClosed.
func (s *Segment[T]) Loan(ctx context.Context) (*Loan[T], error) {
	return s.loan(ctx, new(Loan[T])) // inlined, so that the Loan can be on the stack
}

// loan is Loan into *l, which it returns.
func (s *handle[T]) loan(ctx context.Context, l *Loan[T]) (_ *Loan[T], err error) {
	if err := ctx.Err(); err != nil {
		return nil, wrap("loan", s.name, err)
	}
	if s.direct && s.turn.TryLock() {
		if l.next, err = s.choose(); err == nil {
			if err = s.lend(l); err == nil {
				return l, nil
			}
		}
		s.turn.Unlock()
	}
	if l.next, err = s.acquire(ctx); err == nil {
		err = s.member.Use(func() error { return s.lend(l) })
		if err != nil && l.token != 0 {
			l.Discard()
		} else if err != nil {
			s.member.Use(s.turn.Unlock)
		}
	}
	if err != nil {
		return nil, wrap("loan", s.name, err)
	}
	return l, nil
}

// lend announces the version of l, and hands the lock, which is held, over to
// l. If it returns an error, it has not done the latter.
func (s *handle[T]) lend(l *Loan[T]) error {
	l.next.slot.Unseal()
	step.At(step.SlotUnsealed)
	s.seq.WriteAnnounceFull(l.next.version)
	step.At(step.WriteBegun)
	if !s.pins.lend() {
		return fs.ErrClosed
	}
	l.s, l.bytes = s, s.payload.Space(l.next.slot)
	l.token = s.turn.Lend()
	step.At(step.LoanTaken)
	return nil
}

// Bytes returns the memory for the encoding of the value, in place. Its length
// is the capacity of the segment. Its initial content is left over from an
// older version. After Publish or Discard Bytes returns nil.
func (l *Loan[T]) Bytes() []byte { return l.bytes }

// Value returns the memory of the value as a T, in place, if the codec is
// codec.Fixed for a T without bools. For other codecs, and after Publish or
// Discard, it returns nil. The initial content is left over from an older
// version.
func (l *Loan[T]) Value() *T { return l.s.in(l.bytes) }

// Publish makes the first n bytes of Bytes the current version, wakes the
// watchers, and releases the lock. It returns the number of the version. The
// bytes must be a valid encoding of the codec. Publish does not check that: if
// they are not, Loads return codec.ErrMalformed. If the encodings of the codec
// have a fixed size, as those of codec.Fixed do, n must be that size.
//
// Publish returns fs.ErrInvalid if n is out of range; the Loan then stays open.
// It returns fs.ErrClosed if the handle was closed or if the Loan was published
// or discarded before, ErrCorrupt or ErrNoSpace if the memory is gone, and
// ErrCorrupt if a peer took the lock. Except in the last case, nothing is
// published.
func (l *Loan[T]) Publish(n int) (version uint64, err error) {
	s := l.s
	if size, ok := s.payload.Sized(); ok && n != size || n < 0 || n > cap(l.bytes) && l.bytes != nil {
		return 0, wrap("publish", s.name, fmt.Errorf("%w: %d bytes", fs.ErrInvalid, n))
	}
	held, err := l.reclaim()
	switch {
	case !held && s.closed():
		err = errors.Join(fs.ErrClosed, err)
	case !held && err == nil:
		err = errPublished
	case !held:
	case s.state.Load() != 0:
		err = s.member.Verdict(s.member.Use(s.turn.Unlock))
	case s.direct:
		err = s.conclude(l.next, n)
	default:
		err = s.turn.Finish(func() error { return s.conclude(l.next, n) })
	}
	if err != nil {
		return 0, wrap("publish", s.name, err)
	}
	return l.next.version, nil
}

// Discard gives the slot back and releases the lock. Nothing is published.
// After Publish or Discard it does nothing, so it can be deferred. Discard
// returns ErrCorrupt or ErrNoSpace if the memory is gone, and ErrCorrupt if a
// peer took the lock.
func (l *Loan[T]) Discard() error {
	held, err := l.reclaim()
	if held {
		err = l.s.member.Use(l.s.turn.Unlock)
	}
	return wrap("discard", l.s.name, err)
}

// reclaim ends the Loan and takes the lock back from it, so that Close waits
// for this call. If the Loan no longer holds the lock, reclaim reports false.
// The error is then that of what Close has left to do, or ErrCorrupt if a peer
// took the lock.
func (l *Loan[T]) reclaim() (held bool, err error) {
	token, leave := l.s.pins.unlend(&l.token)
	l.bytes = nil
	switch {
	case leave != nil:
		return false, leave()
	case token == 0:
		return false, nil
	case l.s.turn.Reclaim(token):
		step.At(step.LoanReturning)
		return true, nil
	case l.s.closed():
		return false, nil
	}
	return false, l.s.member.Loss(turn.ErrTaken)
}

var errPublished = fmt.Errorf("%w: the Loan was published or discarded before", fs.ErrClosed)

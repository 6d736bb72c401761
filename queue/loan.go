package queue

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/sharedseg/sharedseg/internal/layout"
)

// Loan is the slot of the next message, to be written in place. It holds the
// senders' lock: every other Send waits for its Publish or Discard. It is for
// one goroutine at a time.
type Loan[T any] struct {
	q      *Queue[T] // nil if it is over
	ticket uint64
	slot   layout.Slot
	own    []byte // in place of the slot's room, where that may vanish
}

// Loan returns the slot of the next message. It waits for other senders, and
// while the queue is full, as Send. A goroutine that has a Loan and sends
// through the same handle waits for itself, until ctx ends that.
//
// If the process dies before Publish, or the handle is closed, nothing was
// sent. Errors are as of [Queue.Send].
func (q *Queue[T]) Loan(ctx context.Context) (*Loan[T], error) {
	l, err := q.loan(ctx)
	return l, wrap("loan", q.name, err)
}

func (q *Queue[T]) loan(ctx context.Context) (*Loan[T], error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	for {
		if err := q.turn.Lock(ctx); err != nil {
			return nil, q.member.Verdict(err)
		}
		l, full := new(Loan[T]), false
		err := q.member.Use(func() (err error) {
			l.ticket, l.slot, full, err = q.ring.Reserve()
			if full || err != nil {
				q.turn.Unlock()
				return err
			}
			if !q.member.InPlace() {
				l.own = make([]byte, len(q.payload.Space(l.slot)))
			}
			q.holds.add()
			q.turn.Lend()
			l.q = q
			return nil
		})
		if err == nil && l.q != nil {
			return l, nil
		}
		if err = q.member.Verdict(err); err != nil {
			return nil, err
		}
		if err := q.waitForRoom(ctx); err != nil {
			return nil, err
		}
	}
}

// Bytes returns the room for the message, all of the capacity, in the shared
// memory itself, with whatever was there before. It must not be used after
// Publish or Discard. It is nil then.
func (l *Loan[T]) Bytes() []byte {
	switch {
	case l.q == nil:
		return nil
	case l.own != nil:
		return l.own
	}
	return l.q.payload.Space(l.slot)
}

// Value returns the T in the shared memory, with whatever was there before, for
// codecs whose encoding is the T itself and of which every bit pattern is a T:
// those that codec.Fixed makes of types without bools. For others, and after
// Publish and Discard, it returns nil.
func (l *Loan[T]) Value() *T {
	if l.q == nil || !l.q.payload.Plain {
		return nil
	}
	return layout.In[T](l.Bytes())
}

// Publish sends the first n bytes of Bytes, which must be an encoding of the
// codec; for Value, n is the size of T. The Loan is over then, unless n is less
// than 0 or more than the capacity, which is fs.ErrInvalid.
//
// Errors: fs.ErrClosed if the Loan was over or the handle was closed,
// ErrCorrupt, ErrNoSpace.
func (l *Loan[T]) Publish(n int) error {
	q := l.q
	if q == nil {
		return fmt.Errorf("%w: the loan is over", fs.ErrClosed)
	}
	if room := int(q.member.Geometry.Capacity); n < 0 || n > room {
		return wrap("publish", q.name, fmt.Errorf("%w: %d bytes of %d", fs.ErrInvalid, n, room))
	}
	return wrap("publish", q.name, l.end(func() {
		copy(q.payload.Space(l.slot), l.own)
		q.ring.Send(l.ticket, l.slot, n)
	}))
}

// Discard ends the Loan without sending anything. After Publish it does
// nothing, so that it can be deferred.
func (l *Loan[T]) Discard() error {
	q := l.q
	if q == nil {
		return nil
	}
	err := l.end(func() {})
	if errors.Is(err, fs.ErrClosed) {
		err = nil // Close has released the lock
	}
	return wrap("discard", q.name, err)
}

// end ends the Loan: it sends, perhaps, and releases the lock.
func (l *Loan[T]) end(send func()) error {
	q := l.q
	l.q = nil
	err := q.member.Use(func() error {
		if !q.turn.Reclaim() {
			return fs.ErrClosed
		}
		send()
		err := q.turn.Unlock()
		q.messages.Signal()
		return err
	})
	q.holds.drop()
	return err
}

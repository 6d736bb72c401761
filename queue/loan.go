package queue

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/sharedseg/sharedseg/internal/fault"
	"github.com/sharedseg/sharedseg/internal/layout"
	"github.com/sharedseg/sharedseg/internal/turn"
)

// Loan is the slot of the next message, to be written in place. It holds the
// senders' lock: every other Send waits until Publish or Discard. Only one
// goroutine at a time may use it.
type Loan[T any] struct {
	q      *Queue[T] // nil once the loan has ended
	token  uint64    // from the handle's turn
	ticket uint64
	slot   layout.Slot
	held   hold   // of the slot
	own    []byte // a buffer, if the slot's memory may vanish
}

// Loan returns the slot of the next message. It waits for other senders, and
// while the queue is full, as [Queue.Send] does. A goroutine that has a Loan
// must not send through the same handle: that Send waits until its ctx is done.
//
// If the process dies before Publish, or the handle is closed, nothing is sent.
// Close releases the lock, except on Windows, where the loan keeps it until
// Publish or Discard. The errors are those of [Queue.Send].
func (q *Queue[T]) Loan(ctx context.Context) (*Loan[T], error) {
	l, err := q.loan(ctx)
	return l, wrap("loan", q.name, err)
}

func (q *Queue[T]) loan(ctx context.Context) (*Loan[T], error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	for {
		if err := q.turn.Lock(ctx, errWithin); err != nil {
			return nil, q.member.Verdict(err)
		}
		l, full := new(Loan[T]), false
		err := q.turn.Finish(func() (err error) {
			l.ticket, l.slot, full, err = q.ring.Reserve()
			if full || err != nil {
				q.turn.Unlock()
				return err
			}
			if !q.member.InPlace() {
				l.own = q.payload.Private(len(q.payload.Space(l.slot)))
			}
			if err := q.holds.add(&l.held); err != nil {
				q.turn.Unlock()
				return err
			}
			l.token = q.turn.Lend()
			l.q = q
			return nil
		})
		if err == nil && l.q != nil {
			return l, nil
		}
		l.Discard() // if the memory vanished meanwhile
		if err = q.member.Verdict(err); err != nil {
			return nil, err
		}
		if err := q.waitForRoom(ctx); err != nil {
			return nil, err
		}
	}
}

// Bytes returns the slot's memory, as long as the capacity, in the shared
// memory itself. Its contents are undefined. It must not be used after Publish
// or Discard. After those, Bytes returns nil. On platforms where the process
// would not survive the loss of the memory, as at [Delivery.Bytes], Bytes and
// Value return a buffer, which Publish copies.
func (l *Loan[T]) Bytes() []byte {
	switch {
	case l.q == nil:
		return nil
	case l.own != nil:
		return l.own
	}
	return l.q.payload.Space(l.slot)
}

// Value returns a pointer to the T in the shared memory. Its contents are
// undefined. It is for codecs whose encoding is the T itself and for which
// every bit pattern is a valid T, which are those that codec.Fixed makes of
// types without bools. For other codecs, and after Publish or Discard, Value
// returns nil.
func (l *Loan[T]) Value() *T {
	if l.q == nil || !l.q.payload.Plain {
		return nil
	}
	return layout.In[T](l.Bytes())
}

// Publish sends the first n bytes of Bytes, which must be a valid encoding of
// the codec, and ends the Loan. After Value, n is the size of T. If n is
// negative or more than the capacity, Publish returns fs.ErrInvalid and the
// Loan stays open.
//
// Errors: fs.ErrClosed if the Loan has ended or the handle was closed,
// fs.ErrInvalid, ErrCorrupt, ErrNoSpace.
func (l *Loan[T]) Publish(n int) error {
	q := l.q
	if q == nil {
		return fmt.Errorf("%w: the loan has ended", fs.ErrClosed)
	}
	if room := int(q.member.Geometry.Capacity); n < 0 || n > room {
		return wrap("publish", q.name, fmt.Errorf("%w: %d bytes of %d", fs.ErrInvalid, n, room))
	}
	err, left := l.end(q, func() {
		copy(q.payload.Space(l.slot), l.own)
		q.ring.Post(l.ticket, l.slot, n)
		if q.state.Load()&fault.Lost == 0 { // otherwise some of the slot may be private memory
			q.ring.Send(l.ticket)
		}
	})
	return wrap("publish", q.name, errors.Join(err, left))
}

// Discard ends the Loan without sending anything. After Publish, Discard does
// nothing, so it can be deferred.
//
// Errors: ErrCorrupt, ErrNoSpace.
func (l *Loan[T]) Discard() error {
	q := l.q
	if q == nil {
		return nil
	}
	err, left := l.end(q, func() {})
	if err == fs.ErrClosed {
		err = nil // Close has revoked the loan
	}
	return wrap("discard", q.name, errors.Join(err, left))
}

// end ends the Loan of q: it calls send and releases the lock. left is the
// error of what Close has left to do.
func (l *Loan[T]) end(q *Queue[T], send func()) (err, left error) {
	l.q = nil
	err = turn.ErrTaken
	if q.turn.Reclaim(l.token) {
		err = q.turn.Finish(func() error {
			send()
			err := q.turn.Unlock()
			q.messages.Signal()
			return err
		})
	}
	if err != nil {
		err = q.member.Verdict(err)
	}
	return err, q.holds.drop(&l.held)
}

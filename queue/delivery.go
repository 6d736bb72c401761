package queue

import (
	"errors"
	"fmt"
	"io/fs"
	"runtime"

	"github.com/sharedseg/sharedseg"
	"github.com/sharedseg/sharedseg/internal/layout"
	"github.com/sharedseg/sharedseg/internal/ring"
)

// Delivery is a message that a receiver owns. Only one goroutine at a time may
// use it. End it with Done or Return. The handle owns a Delivery that was not
// ended until the handle is closed.
type Delivery[T any] struct {
	q    *Queue[T] // nil once the delivery has ended
	m    ring.Message
	held hold // of the slot
}

var errEnded = fmt.Errorf("%w: the delivery is done or was returned", fs.ErrClosed)

func (d *Delivery[T]) begin(q *Queue[T], m ring.Message, held hold) {
	if m.Recovered {
		q.member.Count(layout.Redeliveries)
	}
	d.q, d.m, d.held = q, m, held
}

// Attempt returns the number of times that the message was delivered, this time
// included: 1 for the first delivery. A message whose earlier receivers all
// died may be what killed them. The number does not exceed 255.
func (d *Delivery[T]) Attempt() int { return d.m.Attempt() }

// Value decodes the message. The value is a private copy.
//
// Errors: codec.ErrMalformed if the codec cannot decode the message, because a
// program with another type for the same codec ID sent it: call Done, or the
// message is delivered again and again. ErrCorrupt if the memory holds what no
// correct peer writes. ErrNoSpace if reserved memory is gone. fs.ErrClosed
// after Done, Return or the handle's Close.
func (d *Delivery[T]) Value() (v T, err error) {
	q := d.q
	if q == nil {
		return v, errEnded
	}
	if !q.direct || !q.payload.Direct {
		err = q.valueSlow(d.m.Slot, &v)
	} else if q.payload.Plain {
		layout.Get(d.m.Slot, &v)
	} else {
		err = q.payload.Get(d.m.Slot, &v)
	}
	if err == nil && q.state.Load() == 0 {
		return v, nil
	}
	var zero T
	return zero, wrap("receive", q.name, q.member.Verdict(err))
}

// valueSlow is Value if the handle's memory must be accessed within Use, or if
// the codec needs a private copy or a T on the heap.
func (q *Queue[T]) valueSlow(slot layout.Slot, v *T) error {
	if q.payload.Direct {
		return q.member.Use(func() error {
			if q.payload.Plain {
				layout.Get(slot, v)
				return nil
			}
			return q.payload.Get(slot, v)
		})
	}
	private := new(T)
	var enc []byte
	err := q.member.Use(func() error {
		if q.payload.Copied {
			return q.payload.Copy(slot, &enc)
		}
		return q.payload.DecodeInPlace(slot, private)
	})
	if err == nil && q.payload.Copied {
		err = q.payload.Decode(enc, private)
	}
	*v = *private
	return err
}

// Bytes returns the encoding of the message in the shared memory itself. The
// caller must not write to it, and must not use it after Done or Return. No
// correct peer changes it. After the handle's Close it reads as zeros. On
// Windows it stays until Done or Return. Bytes returns nil after Done, and if
// the memory holds what no correct peer writes. On platforms where the process
// would not survive the loss of the memory, which docs/design.md lists, it
// returns a copy.
func (d *Delivery[T]) Bytes() (b []byte) {
	q := d.q
	if q == nil {
		return nil
	}
	q.member.Use(func() error {
		v, err := q.payload.Value(d.m.Slot)
		if err == nil && !q.member.InPlace() {
			b = append([]byte(nil), v...)
		} else if err == nil && q.holds.add(&d.held) == nil {
			b = v
		}
		return nil
	})
	runtime.KeepAlive(q)
	return b
}

// Done ends the delivery. No other receiver gets the message, and its slot is
// free for another message, for which Done wakes a waiting sender. The message
// is gone for good only once Done has returned nil.
//
// Errors: ErrCorrupt, ErrNoSpace, and fs.ErrClosed if the delivery has ended
// already, or if the handle was closed, in which case another receiver gets the
// message. On Windows a closed handle keeps its messages, and Done succeeds.
func (d *Delivery[T]) Done() error {
	q := d.q
	if q == nil {
		return errEnded
	}
	d.q = nil
	var err error
	if q.direct {
		err = q.done(&d.m)
	} else {
		err = q.member.Use(func() error { return q.done(&d.m) })
	}
	switch {
	case err != nil:
		err = q.member.Verdict(err)
	case q.state.Load() != 0:
		err = q.member.Loss(nil)
	}
	if d.held {
		err = errors.Join(err, q.holds.drop(&d.held))
	}
	runtime.KeepAlive(q)
	return wrap("done", q.name, err)
}

// done is Done, within Use.
func (q *Queue[T]) done(m *ring.Message) error {
	done, moved := q.ring.Done(m)
	if !done {
		return errTaken
	}
	if moved {
		q.room.Signal()
		if q.messages.Waited() && q.ring.Ended() {
			q.messages.Signal() // each receiver that wakes signals the next
		}
	}
	return nil
}

var errTaken = fmt.Errorf("%w: a peer took the message from its live receiver", sharedseg.ErrCorrupt)

// Return ends the delivery and gives the message back to the queue. It can be
// delivered again at once, even to this receiver. After Done, Return does
// nothing, so it can be deferred.
//
// Errors: ErrCorrupt, ErrNoSpace, and fs.ErrClosed if the handle was closed, in
// which case the message goes to another receiver anyway. On Windows a closed
// handle keeps its messages, and Return succeeds.
func (d *Delivery[T]) Return() error {
	q := d.q
	if q == nil {
		return nil
	}
	d.q = nil
	err := q.member.Use(func() error {
		if !q.ring.Return(&d.m) {
			return errTaken
		}
		q.messages.Signal()
		return nil
	})
	if err != nil {
		err = q.member.Verdict(err)
	}
	return wrap("return", q.name, errors.Join(err, q.holds.drop(&d.held)))
}

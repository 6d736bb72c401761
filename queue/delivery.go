package queue

import (
	"fmt"
	"io/fs"
	"runtime"

	"github.com/sharedseg/sharedseg"
	"github.com/sharedseg/sharedseg/internal/layout"
	"github.com/sharedseg/sharedseg/internal/ring"
)

// Delivery is a message in the hands of its receiver. It is for one goroutine
// at a time. End it with Done or Return; a Delivery that is dropped stays the
// handle's until that is closed.
type Delivery[T any] struct {
	q *Queue[T] // nil if it is over
	m ring.Message
}

var errEnded = fmt.Errorf("%w: the delivery is done, or was returned", fs.ErrClosed)

func (d *Delivery[T]) begin(q *Queue[T], m ring.Message) {
	if m.Recovered {
		q.member.Count(layout.Redeliveries)
	}
	d.q, d.m = q, m
}

// Attempt returns how many receivers the message was handed to, this one
// included: 1 if it is the first. A message whose earlier receivers all died
// may be what killed them. It stays at 255.
func (d *Delivery[T]) Attempt() int { return d.m.Attempt() }

// Value decodes the message. The value is a copy that nobody else changes.
//
// Errors: codec.ErrMalformed if the codec cannot decode it, as a program that
// has another type for the same codec sent it: say Done, or nobody ever gets
// rid of it. ErrCorrupt if the memory holds what no correct peer writes;
// ErrNoSpace if memory that was reserved is gone; and fs.ErrClosed after Done,
// Return and the handle's Close.
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

// valueSlow is Value for a handle whose memory is touched through the door, and
// for a codec that needs memory on the heap, or a private copy.
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

// Bytes returns the encoding of the message, in the shared memory itself:
// nobody but a peer that breaks the rules changes it. It must not be used after
// Done or Return, and not be written to. After the handle's Close it reads as
// zeros, which Done tells. It is nil after Done, and if the memory holds what
// no correct peer writes. Where the process could not live on if the memory
// vanished, which docs/design.md says, it is a copy.
func (d *Delivery[T]) Bytes() (b []byte) {
	q := d.q
	if q == nil {
		return nil
	}
	q.member.Use(func() (err error) {
		if b, err = q.payload.Value(d.m.Slot); err == nil && !q.member.InPlace() {
			b = append([]byte(nil), b...)
		}
		return err
	})
	return b
}

// Done says that the message is dealt with, so that nobody else gets it, and
// makes room for another. It wakes a sender that waits for that. Only when it
// has returned nil is the message gone for good.
//
// Errors: fs.ErrClosed if the delivery is over already, or if the handle was
// closed, in which case the message goes to another receiver; ErrCorrupt;
// ErrNoSpace.
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
		q.holds.drop()
	}
	switch {
	case err != nil:
		err = q.member.Verdict(err)
	case q.state.Load() != 0:
		err = q.member.Loss(nil)
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
			q.messages.Signal() // each that is woken wakes the next
		}
	}
	return nil
}

var errTaken = fmt.Errorf("%w: a peer took the message from its live receiver", sharedseg.ErrCorrupt)

// Return gives the message back, to be handed to somebody else, who may be this
// receiver again, at once. After Done it does nothing, so that it can be
// deferred.
//
// Errors: fs.ErrClosed if the handle was closed, in which case the message goes
// to another receiver as well; ErrCorrupt; ErrNoSpace.
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
	q.holds.drop()
	if err != nil {
		err = q.member.Verdict(err)
	}
	return wrap("return", q.name, err)
}

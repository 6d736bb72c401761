// Package payload puts a T into a slot of shared memory and takes it out again,
// as its codec says.
package payload

import (
	"fmt"
	"unsafe"

	"github.com/sharedseg/sharedseg"
	"github.com/sharedseg/sharedseg/codec"
	"github.com/sharedseg/sharedseg/internal/form"
	"github.com/sharedseg/sharedseg/internal/layout"
	"github.com/sharedseg/sharedseg/internal/step"
)

// Payload places values of type T in slots. Its methods may be called
// concurrently.
type Payload[T any] struct {
	layout.Slots

	// Plain says that a T may be assigned to and from a slot, by layout.Get and
	// layout.Put. Then Get and Put are not to be called.
	Plain bool
	// Direct says that Get reads to any *v, the stack included, and that neither
	// Get nor Put panics.
	Direct bool
	// Copied says that the codec must not see bytes that change: in place of
	// Get, Copy makes a private copy, and Decode decodes that.
	Copied bool

	form    form.Form
	inPlace codec.InPlaceDecoder[T] // nil if Copied
	codec   codec.Codec[T]
}

// New returns the payload of a codec in slots.
func New[T any](c codec.Codec[T], slots layout.Slots) Payload[T] {
	p := Payload[T]{Slots: slots, codec: c}
	p.inPlace, _ = c.(codec.InPlaceDecoder[T])
	p.Copied = p.inPlace == nil
	if own, ok := c.(form.Codec); ok {
		p.form, p.Direct = own.Form(), true
		p.Plain = p.form == form.Plain
	}
	return p
}

// Get decodes the value of a slot in place, into *v, whose memory it uses again if
// the codec can. It is void if the slot changed meanwhile. *v must be on the heap
// unless Direct.
func (p *Payload[T]) Get(slot layout.Slot, v *T) error {
	b, err := p.Value(slot)
	if err != nil {
		return err
	}
	switch p.form {
	case form.Bytes:
		to := (*[]byte)(unsafe.Pointer(v))
		if cap(*to) < len(b) {
			*to = make([]byte, len(b))
		}
		*to = (*to)[:len(b)]
		copy(*to, b)
	case form.String:
		*(*string)(unsafe.Pointer(v)) = string(b)
	default:
		return undecodable(p.inPlace.DecodeInPlace(b, noEscape(v)))
	}
	return nil
}

// Copy copies the encoding in a slot to *private, whose memory it uses again.
func (p *Payload[T]) Copy(slot layout.Slot, private *[]byte) error {
	b, err := p.Value(slot)
	*private = append((*private)[:0], b...)
	return err
}

// Decode decodes what Copy copied.
func (p *Payload[T]) Decode(private []byte, v *T) error {
	return undecodable(p.codec.Decode(private, v))
}

func undecodable(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%w: the value does not decode: %w", layout.ErrCorrupt, err)
}

// Put encodes *v into a slot and returns the length of the encoding. An encoding
// that does not fit is ErrTooLarge. After an error the slot's content is void.
func (p *Payload[T]) Put(slot layout.Slot, v *T) (n int, err error) {
	space := p.Space(slot)
	switch p.form {
	case form.Bytes:
		from := *(*[]byte)(unsafe.Pointer(v))
		n = len(from)
		copy(space, from)
	case form.String:
		from := *(*string)(unsafe.Pointer(v))
		n = len(from)
		copy(space, from)
	default:
		// The codec appends in place; an encoding that does not fit moves to the
		// heap.
		b, err := p.codec.Append(space[:0], *v)
		if err != nil {
			return 0, err
		}
		n = len(b)
		if !layout.Same(b, space) {
			copy(space, b)
		}
	}
	if n > len(space) {
		return 0, tooLarge(n, len(space))
	}
	step.At(step.WriteEncoded)
	return n, nil
}

func tooLarge(n, capacity int) error {
	return fmt.Errorf("%w: the value takes %d bytes, the capacity is %d; create it with a larger Options.Capacity",
		sharedseg.ErrTooLarge, n, capacity)
}

// noEscape hides v from escape analysis, which cannot see that a codec of this
// module does not keep it.
func noEscape[T any](v *T) *T {
	p := uintptr(unsafe.Pointer(v))
	return *(**T)(unsafe.Pointer(&p))
}

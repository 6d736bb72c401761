// Package payload puts a T into a slot of shared memory and takes it out again,
// as its codec says.
package payload

import (
	"errors"
	"fmt"
	"reflect"
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
	// layout.Put, and that neither Get nor Put is called.
	Plain bool
	// Direct says that the codec is one of ours: values are taken out by Get,
	// to any *v, the stack included, and nothing panics.
	Direct bool
	// Copied says that the codec must not see bytes that change: Copy makes a
	// private copy, and Decode decodes that. A codec that is neither Direct nor
	// Copied decodes by DecodeInPlace.
	Copied bool

	form    form.Form
	remedy  string
	inPlace codec.InPlaceDecoder[T] // nil if the codec is none; Copied is then set
	codec   codec.Codec[T]
}

// New returns the payload of a codec in slots. remedy says what to do about a
// value that does not decode.
func New[T any](c codec.Codec[T], slots layout.Slots, remedy string) Payload[T] {
	p := Payload[T]{Slots: slots, codec: c, remedy: remedy}
	p.inPlace, _ = c.(codec.InPlaceDecoder[T])
	p.Copied = p.inPlace == nil
	if own, ok := c.(form.Codec); ok {
		p.form, p.Direct = own.Form(), true
		p.Plain = p.form.Kind == form.Plain
	}
	return p
}

// Get decodes the value of a slot, if the payload is Direct but not Plain, into
// *v, whose memory it uses again for bytes. It is void if the slot changed
// meanwhile.
func (p *Payload[T]) Get(slot layout.Slot, v *T) error {
	b, err := p.Value(slot)
	if err != nil {
		return err
	}
	switch p.form.Kind {
	case form.Bytes:
		to := (*[]byte)(unsafe.Pointer(v))
		if cap(*to) < len(b) {
			*to = append((*to)[:0], b...)
			break
		}
		*to = (*to)[:len(b)]
		copy(*to, b)
	case form.String:
		*(*string)(unsafe.Pointer(v)) = string(b)
	case form.UTF16:
		*(*string)(unsafe.Pointer(v)) = form.DecodeUTF16(b)
	case form.Bools:
		to := unsafe.Slice((*byte)(unsafe.Pointer(v)), unsafe.Sizeof(*v))
		if len(b) != len(to) {
			return p.undecodable(len(b), codec.ErrMalformed)
		}
		if i, bad := form.CopyBools(to, b, p.form.Bools); i >= 0 {
			return p.undecodable(len(b), notBool(i, bad))
		}
	}
	return nil
}

func notBool(i int, b byte) error {
	return fmt.Errorf("%w: the bool at byte %d is %#02x", codec.ErrMalformed, i, b)
}

// Bytes is the encoding in a slot, in place, its capacity cut.
func (p *Payload[T]) Bytes(slot layout.Slot) ([]byte, error) {
	if p.Plain {
		n := int(unsafe.Sizeof(*new(T)))
		return p.Space(slot)[:n:n], nil
	}
	return p.Value(slot)
}

// In is the T in b, what Bytes returned or room for it, if the payload is
// Plain; else it is nil.
func (p *Payload[T]) In(b []byte) *T {
	if !p.Plain || len(b) < int(unsafe.Sizeof(*new(T))) {
		return nil
	}
	return (*T)(unsafe.Pointer(unsafe.SliceData(b)))
}

// Private is memory for an encoding of n bytes that lies as in a slot, so that
// In finds a T in it.
func (p *Payload[T]) Private(n int) []byte {
	if p.Plain {
		return unsafe.Slice((*byte)(unsafe.Pointer(new(T))), n)
	}
	return make([]byte, n)
}

// Sized returns the number of bytes that each value has, if it is always the
// same.
func (p *Payload[T]) Sized() (n int, ok bool) {
	if p.Plain {
		return int(unsafe.Sizeof(*new(T))), true
	}
	if sized, ok := p.codec.(codec.Sizer); ok {
		return sized.Size(), true
	}
	return 0, false
}

// DecodeInPlace has the codec decode the value of a slot into *v, which it
// might keep. It is void if the slot changed meanwhile.
func (p *Payload[T]) DecodeInPlace(slot layout.Slot, v *T) error {
	b, err := p.Value(slot)
	if err != nil {
		return err
	}
	if err := p.inPlace.DecodeInPlace(b, v); err != nil {
		return p.undecodable(len(b), err)
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
	if err := p.codec.Decode(private, v); err != nil {
		return p.undecodable(len(private), err)
	}
	return nil
}

// Undecodable says what it means that a codec returned err for n bytes: a peer
// with the same codec stored a value of another shape, as programs of two
// versions do. It is codec.ErrMalformed, and whatever else err is. Only a
// length that no value of the codec has is layout.ErrCorrupt.
func Undecodable[T any](c codec.Codec[T], n int, err error, remedy string) error {
	if sized, ok := c.(codec.Sizer); ok && n != sized.Size() {
		return fmt.Errorf("%w: a slot holds %d bytes, each value has %d", layout.ErrCorrupt, n, sized.Size())
	}
	if !errors.Is(err, codec.ErrMalformed) {
		err = fmt.Errorf("%w: %w", codec.ErrMalformed, err)
	}
	return fmt.Errorf("the value does not decode as %v; %s: %w", reflect.TypeFor[T](), remedy, err)
}

func (p *Payload[T]) undecodable(n int, err error) error {
	return Undecodable(p.codec, n, err, p.remedy)
}

// Put encodes *v into a slot and returns the length of the encoding. An
// encoding that does not fit is ErrTooLarge. After an error the slot's content
// is void.
func (p *Payload[T]) Put(slot layout.Slot, v *T) (n int, err error) {
	space := p.Space(slot)
	switch p.form.Kind {
	case form.Bytes:
		from := *(*[]byte)(unsafe.Pointer(v))
		n = len(from)
		copy(space, from)
	case form.String:
		from := *(*string)(unsafe.Pointer(v))
		n = len(from)
		copy(space, from)
	default:
		// The codec appends in place; an encoding that does not fit moves to
		// the heap.
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

// Package payload stores values of a type T in slots of shared memory and loads
// them, with a codec.
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

// Payload stores and loads values of type T. Its methods may be called
// concurrently.
type Payload[T any] struct {
	layout.Slots

	// Plain means that the encoding is the memory of a T. Use layout.Put and
	// layout.Get instead of Put and Get.
	Plain bool
	// Direct means that the codec is one of this module's. Get decodes values
	// to any *v, even on the stack, and nothing panics.
	Direct bool
	// Copied means that the codec must not see bytes that change. Copy makes a
	// private copy, and Decode decodes it. A codec that is neither Direct nor
	// Copied decodes with DecodeInPlace.
	Copied bool

	form    form.Form
	remedy  string
	inPlace codec.InPlaceDecoder[T] // nil if Copied
	codec   codec.Codec[T]
}

// New returns the payload of a codec in slots. remedy is the advice in errors
// about a value that does not decode.
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

// Get decodes the value of a slot into *v, if the payload is Direct but not
// Plain. It reuses the memory of a byte slice in *v. If the slot changed in the
// meantime, the result is invalid.
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

// Bytes returns the encoding in a slot, in place, with its capacity cut to its
// length.
func (p *Payload[T]) Bytes(slot layout.Slot) ([]byte, error) {
	if p.Plain {
		n := int(unsafe.Sizeof(*new(T)))
		return p.Space(slot)[:n:n], nil
	}
	return p.Value(slot)
}

// In returns b as a T if the payload is Plain, and nil otherwise. b is the
// result of Bytes, Space or Private.
func (p *Payload[T]) In(b []byte) *T {
	if !p.Plain || len(b) < int(unsafe.Sizeof(*new(T))) {
		return nil
	}
	return (*T)(unsafe.Pointer(unsafe.SliceData(b)))
}

// Private allocates n bytes of memory, aligned so that In works.
func (p *Payload[T]) Private(n int) []byte {
	words := make([]uint64, (n+7)/8)
	return unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(words))), n)
}

// Sized returns the size of every encoding, in bytes, if it is fixed.
func (p *Payload[T]) Sized() (n int, ok bool) {
	if p.Plain {
		return int(unsafe.Sizeof(*new(T))), true
	}
	if sized, ok := p.codec.(codec.Sizer); ok {
		return sized.Size(), true
	}
	return 0, false
}

// DecodeInPlace has the codec decode the value of a slot into *v. The codec may
// keep v. If the slot changed in the meantime, the result is invalid.
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

// Copy copies the encoding in a slot to *private, and reuses its memory.
func (p *Payload[T]) Copy(slot layout.Slot, private *[]byte) error {
	b, err := p.Value(slot)
	*private = append((*private)[:0], b...)
	return err
}

// Decode decodes a copy made by Copy.
func (p *Payload[T]) Decode(private []byte, v *T) error {
	if err := p.codec.Decode(private, v); err != nil {
		return p.undecodable(len(private), err)
	}
	return nil
}

// Undecodable explains the error err of a codec for n bytes: a peer with the
// same codec stored a value that does not fit T, as programs of two versions
// do. The result wraps codec.ErrMalformed and err. If n is not the fixed size
// of the codec, the result wraps layout.ErrCorrupt instead.
func Undecodable[T any](c codec.Codec[T], n int, err error, remedy string) error {
	if sized, ok := c.(codec.Sizer); ok && n != sized.Size() {
		return fmt.Errorf("%w: a slot holds %d bytes, each value takes %d", layout.ErrCorrupt, n, sized.Size())
	}
	if !errors.Is(err, codec.ErrMalformed) {
		err = fmt.Errorf("%w: %w", codec.ErrMalformed, err)
	}
	return fmt.Errorf("the value does not decode as %v; %s: %w", reflect.TypeFor[T](), remedy, err)
}

func (p *Payload[T]) undecodable(n int, err error) error {
	return Undecodable(p.codec, n, err, p.remedy)
}

// Put encodes *v into a slot and returns the length of the encoding. It returns
// ErrTooLarge if the encoding does not fit. After an error the slot's content
// is undefined.
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
		// The codec appends in place. An encoding that does not fit is on the
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

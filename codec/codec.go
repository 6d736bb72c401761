// Package codec defines how a value is encoded as bytes.
//
//	c := codec.Fixed[struct{ Bid, Ask float64 }]()
//	quotes, err := segment.Open("quotes", c, nil)
//	if err != nil {
//		return err // for example, another codec or type has the name
//	}
//	defer quotes.Close()
//
// A [Codec] has a method that appends the encoding of a T to a slice, a method
// that decodes it, and an ID that names the encoding. It knows nothing of
// shared memory. Packages segment and queue store the ID beside the values, and
// refuse a handle whose codec has another ID. So two programs that agree on the
// ID agree on every byte.
//
// Choose a codec by the type of the value:
//
//	Fixed   numbers, and structs and arrays of them: the fastest
//	String  strings
//	UTF16   strings that C programs on Windows read as wchar_t
//	Bytes   bytes that are encoded already
//	Opaque  bytes in the encoding of another codec, for tools
//	JSON    any type, for readers in any language
//	Gob     any type, for Go programs that trust each other
//	Binary  types that encode themselves
//
// Or write your own: see the example of [Codec].
package codec

import "errors"

// A Codec encodes values of type T as bytes and decodes them.
//
// All methods may be called concurrently.
//
// A codec can also implement [InPlaceDecoder], [Sizer] and [Validator].
type Codec[T any] interface {
	// ID names the encoding, as in "json" or "example.com/rgb". It is not
	// empty, is at most 1 MiB long, and is always the same for the same
	// encoding, in every program and on every machine. Two encodings have
	// different IDs if one cannot be decoded as the other.
	ID() string

	// Append appends the encoding of v to b and returns the extended slice, as
	// [encoding.BinaryAppender] does. If the encoding fits into the spare
	// capacity of b, Append writes it there; b may be shared memory. If it does
	// not fit, the returned slice is elsewhere, as with the builtin append, and
	// so the caller notices that there was not enough room. The spare capacity
	// behind the returned slice may be overwritten. Append does not keep b.
	//
	// Append fails if v has no encoding. The codecs of this package then return
	// an error that wraps [ErrInvalid]. The slice that is returned with an
	// error is not used.
	Append(b []byte, v T) ([]byte, error)

	// Decode sets *v to the value whose encoding is b, all of b. The value does
	// not depend on the previous content of *v, but memory that *v refers to
	// may be reused, as [Bytes] does.
	//
	// Decode does not write to b. After it has returned, neither *v nor
	// anything else refers to b, because b will be overwritten.
	//
	// Decode fails if b is not a valid encoding. The error wraps [ErrMalformed]
	// for the codecs of this package. After an error *v is a valid T with
	// undefined content.
	Decode(b []byte, v *T) error
}

// InPlaceDecoder is implemented by a [Codec] that can decode shared memory in
// place, while another process changes it. Values are then decoded without
// being copied first. [String], [UTF16], [Bytes], [Opaque] and [Fixed] return
// InPlaceDecoders.
type InPlaceDecoder[T any] interface {
	// DecodeInPlace is like Decode, for bytes that can change while it runs. If
	// they changed, the caller ignores the value and the error, and calls
	// DecodeInPlace again.
	//
	// Whatever the bytes are and however they change, DecodeInPlace must not
	// panic, loop forever, or allocate more than a small multiple of len(b). It
	// must read a byte only once if a decision depends on it: a length that is
	// checked and then read again can have changed in between. If reading b
	// faults, because b was unmapped, it leaves a valid T in *v. It does not
	// keep v.
	DecodeInPlace(b []byte, v *T) error
}

// Sizer is implemented by a [Codec] whose encodings all have the same length,
// such as that of [Fixed]. A segment with such a codec needs no Capacity.
type Sizer interface {
	// Size returns the length of every encoding, in bytes. It is not negative.
	Size() int
}

// Validator is implemented by a [Codec] that can be unusable, such as that of
// [Fixed] for a type with pointers. Functions that take a codec call Validate
// before they use it.
type Validator interface {
	// Validate returns nil if the codec can be used, and otherwise the reason
	// why not.
	Validate() error
}

// The errors that the codecs of this package wrap.
var (
	// ErrInvalid is wrapped by the errors of Append: the value has no encoding.
	ErrInvalid = errors.New("invalid value")

	// ErrMalformed is wrapped by the errors of Decode: the bytes are not a
	// valid encoding.
	ErrMalformed = errors.New("malformed encoding")

	// ErrType is wrapped by all errors of a codec returned by [Fixed] for a
	// type that Fixed does not support.
	ErrType = errors.New("type cannot be placed in shared memory")
)

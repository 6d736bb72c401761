// Package codec says what a value looks like as bytes.
//
// A [Codec] is a pair of functions, one that appends the encoding of a T to a
// slice and one that reads it back, and an ID that names the encoding. It
// knows nothing of shared memory. Package segment stores the ID beside the
// value, and lets a process in only if its codec has the same ID: two programs
// that agree on the ID agree on every byte.
//
// Choose by the type of the value:
//
//	Fixed   numbers, and structs and arrays of them: the fastest
//	String  strings
//	UTF16   strings that C programs on Windows read as wchar_t
//	Bytes   bytes that have an encoding already
//	Opaque  bytes that have an encoding of any other codec, for tools
//	JSON    anything, for readers in any language
//	Gob     anything, for Go programs that trust each other
//	Binary  types that encode themselves
//
// or write a codec: three methods, as the example of [Codec] shows.
package codec

import "errors"

// A Codec encodes values of type T as bytes and decodes them again.
//
// All methods may be called from several goroutines at once.
//
// A codec may also implement [InPlaceDecoder], [Sizer] and [Validator].
type Codec[T any] interface {
	// ID names the encoding, as in "json" or "example.com/rgb". It is not
	// empty, has 1 MiB at most, and is always the same for the same encoding,
	// in every program and on every machine. Encodings of which one cannot be
	// decoded as the other have different IDs.
	ID() string

	// Append appends the encoding of v to b and returns the extended slice,
	// as [encoding.BinaryAppender] does. It writes into the spare capacity
	// of b, which may be shared memory, where the encoding fits; where it
	// does not, the slice it returns lies elsewhere, as with the builtin
	// append, which is how a caller sees that there was no room. Whatever it
	// leaves in the spare capacity beyond the slice it returns is of no
	// meaning. It does not keep b.
	//
	// A value that has no encoding is an error, which wraps [ErrInvalid] for
	// the codecs of this package. The slice returned beside an error is not
	// used.
	Append(b []byte, v T) ([]byte, error)

	// Decode sets *v to the value whose encoding is b, all of b. What *v held
	// before does not show in the value, but memory that *v refers to may be
	// used again, as [Bytes] does.
	//
	// Decode does not write to b, and neither *v nor anything else refers to
	// b once it returned: b is about to hold other bytes.
	//
	// Decode fails if b is not a valid encoding. The error wraps
	// [ErrMalformed] for the codecs of this package. After an error *v is a
	// valid T without meaning.
	Decode(b []byte, v *T) error
}

// InPlaceDecoder is a [Codec] that can decode shared memory in place, while
// another process is changing it. Values are then decoded without a copy being
// made first. [String], [UTF16], [Bytes] and [Fixed] are InPlaceDecoders.
type InPlaceDecoder[T any] interface {
	// DecodeInPlace is Decode for bytes that may change while it runs. If they
	// did, what it returned and stored in *v is thrown away, value and error
	// alike, and it is called again.
	//
	// Whatever the bytes are and however they change, DecodeInPlace does not
	// panic, loop for ever, or allocate more than a small multiple of len(b).
	// It reads a byte on which it bases a decision once: a length that is
	// checked and then read again may have changed in between. If reading b
	// faults, because b is no longer mapped, it leaves a valid T in *v. It does
	// not keep v.
	DecodeInPlace(b []byte, v *T) error
}

// Sizer is a [Codec] of which all encodings have the same length, as those of
// [Fixed]. A segment with such a codec needs no capacity from its user.
type Sizer interface {
	// Size returns the length of every encoding, in bytes. It is not negative.
	Size() int
}

// Validator is a [Codec] that may be unusable, as that of [Fixed] for a type
// with pointers. Functions that take a codec call Validate before they use it.
type Validator interface {
	// Validate returns nil if the codec can be used, and otherwise why not.
	Validate() error
}

// The errors that the codecs of this package wrap.
var (
	// ErrInvalid is wrapped by Append: the value has no encoding.
	ErrInvalid = errors.New("invalid value")

	// ErrMalformed is wrapped by Decode: the bytes are not a valid encoding.
	ErrMalformed = errors.New("malformed encoding")

	// ErrType is wrapped by everything that a codec made by [Fixed] returns,
	// if its type is not one that Fixed can carry.
	ErrType = errors.New("type cannot be placed in shared memory")
)

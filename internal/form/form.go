// Package form describes how the values of this module's own codecs lie in
// memory, and decodes them.
//
// It exists so that internal/payload can store and load such values without
// calling the codec: a value that is passed to a codec escapes to the heap, as
// the codec might keep it. A codec of this module has a Form method for that
// purpose (interface Codec). Codecs of other modules cannot have one, as they
// cannot name its result type.
//
// Invariants: decoding tolerates bytes that change while they are read. It
// never reads outside the given bytes, and allocates no more than they can
// decode to. No Go variable is left with a bool other than 0 or 1.
//
// docs/format.md, "Values", describes the encodings. docs/design.md,
// "Publishing", says when they are decoded in place.
package form

// Form is how the encoding of a T lies in memory.
type Form struct {
	Kind  Kind
	Bools []BoolRange // for the kind Bools: where T has bools
}

// Kind is a kind of encoding.
type Kind int

const (
	Foreign Kind = iota // a codec of another module
	Plain               // the memory of T; every bit pattern is a valid T
	Bools               // the memory of T, valid if all its bools are 0 or 1
	Bytes               // the elements of T, which is []byte
	String              // the bytes of T, which is string
	UTF16               // T is string: its UTF-16 units, little-endian, up to a NUL
)

// Codec is implemented by the codecs of this module that can decode in place,
// in addition to their public methods.
type Codec interface{ Form() Form }

// Package form tells how the values of this module's own codecs lie in memory,
// and decodes them, so that internal/payload can place them without calling a
// codec: what is passed to a codec is on the heap, as it might keep it. Codecs
// of others cannot have a Form method, as they cannot name the type.
package form

// Form is how the encoding of a T lies in memory.
type Form struct {
	Kind  Kind
	Bools []BoolRange // of the kind Bools: where T has them
}

// Kind is a kind of encoding.
type Kind int

const (
	Foreign Kind = iota // somebody else's
	Plain               // the T itself; every bit pattern is a valid T
	Bools               // the T itself, if its bools are 0 or 1
	Bytes               // the bytes of T, which is []byte
	String              // the bytes of T, which is string
	UTF16               // T is string: its UTF-16 units, little-endian, up to a NUL
)

// Codec is what the codecs of this module that decode in place have in addition
// to their public methods.
type Codec interface{ Form() Form }

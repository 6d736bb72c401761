// Package form tells how the values of this module's own codecs lie in memory,
// so that internal/payload can place them without calling the codec. Codecs of
// others cannot have a Form method, as they cannot name the type.
package form

// Form is how the encoding of a T lies in memory.
type Form int

const (
	// Encoded: as the codec's Append and DecodeInPlace say. They keep neither
	// of their arguments.
	Encoded Form = iota
	// Plain: as the T itself. Every bit pattern is a valid T.
	Plain
	// Bytes: as the bytes of T, which is []byte.
	Bytes
	// String: as the bytes of T, which is string.
	String
)

// Codec is what the codecs of this module that decode in place have in
// addition to their public methods.
type Codec interface{ Form() Form }

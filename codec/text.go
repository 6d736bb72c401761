package codec

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/sharedseg/sharedseg/internal/form"
)

// String returns the codec of strings whose bytes are stored unchanged, by
// convention as UTF-8. Its ID is "string/utf-8".
//
// Neither Append nor Decode checks the bytes. A string that is not valid UTF-8
// arrives unchanged, and a string from another process may not be valid UTF-8.
// Append and Decode do not fail. Decode allocates only the string.
//
// The codec is an [InPlaceDecoder].
func String() Codec[string] { return stringCodec{} }

type stringCodec struct{}

func (stringCodec) ID() string { return "string/utf-8" }

func (stringCodec) Append(b []byte, v string) ([]byte, error) { return append(b, v...), nil }

func (stringCodec) Decode(b []byte, v *string) error {
	*v = string(b)
	return nil
}

func (c stringCodec) DecodeInPlace(b []byte, v *string) error { return c.Decode(b, v) }

func (stringCodec) Form() form.Form { return form.Form{Kind: form.String} }

// UTF16 returns the codec of strings that are stored like the wchar_t arrays of
// C programs on Windows: UTF-16, little-endian on every machine, with a NUL
// unit of two bytes at the end. Its ID is "string/utf-16le".
//
// Append fails with an error that wraps [ErrInvalid] if the string contains a
// NUL ("\x00"), which would end it early. Each byte that is not part of valid
// UTF-8 becomes U+FFFD. Encoded surrogates are not valid.
//
// Decode reads up to the first NUL unit, or to the end of b if there is none.
// It ignores what follows, and an odd byte at the end. If b is empty, the
// result is the empty string. A surrogate without its other half becomes
// U+FFFD. Decode does not fail. It allocates only the string.
//
// The codec is an [InPlaceDecoder].
func UTF16() Codec[string] { return utf16Codec{} }

type utf16Codec struct{}

func (utf16Codec) ID() string { return "string/utf-16le" }

func (utf16Codec) Append(b []byte, v string) ([]byte, error) {
	if i := strings.IndexByte(v, 0); i >= 0 {
		return b, fmt.Errorf("codec.UTF16: %w: byte %d of the string is NUL, which ends a string in this encoding", ErrInvalid, i)
	}
	// A byte of UTF-8 never becomes more than one unit. Count the units only if
	// there is not enough room for that many.
	units := len(v)
	if units >= (cap(b)-len(b))/2 {
		units = 0
		for _, r := range v {
			units += utf16.RuneLen(r)
		}
	}
	size := 2*units + 2
	b = slices.Grow(b, size)
	n := len(b)
	return b[:n+putUTF16(b[n:n+size], v)], nil
}

func (utf16Codec) Decode(b []byte, v *string) error {
	*v = form.DecodeUTF16(b)
	return nil
}

func (c utf16Codec) DecodeInPlace(b []byte, v *string) error { return c.Decode(b, v) }

func (utf16Codec) Form() form.Form { return form.Form{Kind: form.UTF16} }

// putUTF16 writes v and a terminator to dst, which has enough room, and returns
// their length in bytes.
func putUTF16(dst []byte, v string) (n int) {
	for len(v) > 0 {
		if len(v) >= 4 {
			x := uint64(v[0]) | uint64(v[1])<<8 | uint64(v[2])<<16 | uint64(v[3])<<24
			if x&0x80808080 == 0 {
				x = (x | x<<16) & 0x0000FFFF_0000FFFF
				x = (x | x<<8) & 0x00FF00FF_00FF00FF
				binary.LittleEndian.PutUint64(dst[n:], x)
				n += 8
				v = v[4:]
				continue
			}
		}
		r, size := utf8.DecodeRuneInString(v)
		v = v[size:]
		if utf16.RuneLen(r) == 2 {
			high, low := utf16.EncodeRune(r)
			binary.LittleEndian.PutUint16(dst[n:], uint16(high))
			n += 2
			r = low
		}
		binary.LittleEndian.PutUint16(dst[n:], uint16(r))
		n += 2
	}
	binary.LittleEndian.PutUint16(dst[n:], 0)
	return n + 2
}

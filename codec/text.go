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

// String returns the codec of strings that are carried as they are: UTF-8, by
// the convention of Go. Its ID is "string/utf-8".
//
// Neither Append nor Decode looks at the bytes: a string that is not valid
// UTF-8 arrives unchanged, and a string from a foreign process may not be
// valid UTF-8. There are no errors. Decode allocates the string and nothing
// else.
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

func (stringCodec) Form() form.Form { return form.String }

// UTF16 returns the codec of strings that are carried as C programs on Windows
// keep them in a wchar_t array: UTF-16, little-endian on every machine, ended
// by a NUL unit of two bytes. Its ID is "string/utf-16le".
//
// Append refuses a string with a NUL ("\x00") in it, which would end the
// string early, with an error wrapping [ErrInvalid]. Bytes that are not valid
// UTF-8, those of an encoded surrogate among them, become U+FFFD each.
//
// Decode reads up to the first NUL unit, or to the end of b where there is
// none; what follows is ignored, and so is a single byte left over at the end.
// No bytes at all are the empty string. A surrogate without its other half
// becomes U+FFFD. There are no errors. Decode allocates the string and nothing
// else.
//
// The codec is an [InPlaceDecoder].
func UTF16() Codec[string] { return utf16Codec{} }

type utf16Codec struct{}

func (utf16Codec) ID() string { return "string/utf-16le" }

func (utf16Codec) Append(b []byte, v string) ([]byte, error) {
	if i := strings.IndexByte(v, 0); i >= 0 {
		return b, fmt.Errorf("codec.UTF16: %w: byte %d of the string is NUL, which ends a string in this encoding", ErrInvalid, i)
	}
	// A byte of UTF-8 never makes more than one unit. Only where that bound
	// does not fit is it worth counting what does.
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
	var chunk [128]byte
	n, read, end := utf16ToUTF8(chunk[:], b)
	if end {
		*v = string(chunk[:n])
		return nil
	}
	b = b[read:]
	var s strings.Builder
	s.Grow(n + utf8Len(b))
	// The bytes may have changed since they were counted, which must not make
	// the string grow: it will be thrown away.
	for n <= s.Cap()-s.Len() {
		s.Write(chunk[:n])
		if end {
			break
		}
		n, read, end = utf16ToUTF8(chunk[:], b)
		b = b[read:]
	}
	*v = s.String()
	return nil
}

func (c utf16Codec) DecodeInPlace(b []byte, v *string) error { return c.Decode(b, v) }

func (utf16Codec) Form() form.Form { return form.Encoded }

// putUTF16 writes v and a terminator to dst, which has room for them, and
// returns their length in bytes.
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

// utf16ToUTF8 writes the string at the start of src to dst. It returns how
// many bytes it wrote and read, and whether the string ended; if not, then dst
// has less than [utf8.UTFMax] bytes left.
func utf16ToUTF8(dst, src []byte) (n, read int, end bool) {
	for len(dst)-n >= utf8.UTFMax {
		if len(src)-read >= 8 {
			if x := binary.LittleEndian.Uint64(src[read:]); isASCII(x) {
				x |= x >> 8
				binary.LittleEndian.PutUint32(dst[n:], uint32(x&0xFFFF|x>>16&0xFFFF0000))
				n += 4
				read += 8
				continue
			}
		}
		r, size := utf16Rune(src[read:])
		if size == 0 {
			return n, read, true
		}
		n += utf8.EncodeRune(dst[n:], r)
		read += size
	}
	return n, read, false
}

// utf8Len returns the length in UTF-8 of the string at the start of src, which
// is at most 3*len(src)/2.
func utf8Len(src []byte) (n int) {
	for {
		if len(src) >= 8 && isASCII(binary.LittleEndian.Uint64(src)) {
			n += 4
			src = src[8:]
			continue
		}
		r, size := utf16Rune(src)
		if size == 0 {
			return n
		}
		n += utf8.RuneLen(r)
		src = src[size:]
	}
}

// isASCII reports that none of the four units in x is NUL or beyond ASCII.
func isASCII(x uint64) bool {
	// In a difference of units up to 0x7F, bit 15 is a borrow: some unit was 0.
	return x&0xFF80FF80_FF80FF80 == 0 && (x-0x00010001_00010001)&0x80008000_80008000 == 0
}

// utf16Rune returns the character at the start of b and its length in bytes,
// which is 0 at the end of the string.
func utf16Rune(b []byte) (r rune, size int) {
	if len(b) < 2 {
		return 0, 0
	}
	r = rune(binary.LittleEndian.Uint16(b))
	if r == 0 {
		return 0, 0
	}
	if utf16.IsSurrogate(r) {
		return utf16Pair(r, b[2:])
	}
	return r, 2
}

// utf16Pair is utf16Rune for a surrogate, which b follows.
func utf16Pair(first rune, b []byte) (r rune, size int) {
	if len(b) >= 2 {
		r = utf16.DecodeRune(first, rune(binary.LittleEndian.Uint16(b)))
		if r != utf8.RuneError {
			return r, 4
		}
	}
	return utf8.RuneError, 2
}

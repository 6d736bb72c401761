package form

import (
	"encoding/binary"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// DecodeUTF16 returns the string at the start of b, as UTF-8. If another
// process changes b meanwhile, the result is some string no longer than b can
// hold.
func DecodeUTF16(b []byte) string {
	var chunk [128]byte
	n, read, end := utf16ToUTF8(chunk[:], b)
	if end {
		return string(chunk[:n])
	}
	b = b[read:]
	var s strings.Builder
	s.Grow(n + utf8Len(b))
	// The bytes may have changed since they were counted. The result is then
	// thrown away by the caller, and must not grow beyond the count.
	for n <= s.Cap()-s.Len() {
		s.Write(chunk[:n])
		if end {
			break
		}
		n, read, end = utf16ToUTF8(chunk[:], b)
		b = b[read:]
	}
	return s.String()
}

// utf16ToUTF8 writes the string at the start of src to dst. It returns how many
// bytes it wrote and read, and whether it reached the string's end. If it did
// not, dst has fewer than [utf8.UTFMax] bytes left.
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

// utf8Len returns the length in UTF-8 of the string at the start of src. It is
// at most 3*len(src)/2.
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

// isASCII reports whether each of the four units in x is an ASCII character
// other than NUL.
func isASCII(x uint64) bool {
	// If a unit up to 0x7F has bit 15 after the subtraction, it borrowed: that
	// unit or a lower one was 0.
	return x&0xFF80FF80_FF80FF80 == 0 && (x-0x00010001_00010001)&0x80008000_80008000 == 0
}

// utf16Rune returns the character at the start of b and its length in bytes.
// The length is 0 at the end of the string.
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

// utf16Pair is utf16Rune for the surrogate first, which precedes b.
func utf16Pair(first rune, b []byte) (r rune, size int) {
	if len(b) >= 2 {
		r = utf16.DecodeRune(first, rune(binary.LittleEndian.Uint16(b)))
		if r != utf8.RuneError {
			return r, 4
		}
	}
	return utf8.RuneError, 2
}

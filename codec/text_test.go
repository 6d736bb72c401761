package codec_test

import (
	"encoding/binary"
	"strings"
	"testing"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/sharedseg/sharedseg/codec"
)

// units returns u as UTF-16LE, without a terminator.
func units(u ...uint16) string {
	var b []byte
	for _, x := range u {
		b = binary.LittleEndian.AppendUint16(b, x)
	}
	return string(b)
}

func TestUTF16Append(t *testing.T) {
	for _, tt := range []struct{ in, want string }{
		{"", "\x00\x00"},
		{"A", "A\x00\x00\x00"},
		{"ABCDE", "A\x00B\x00C\x00D\x00E\x00\x00\x00"},
		{"è", units(0xE8, 0)},
		{"abcè", units('a', 'b', 'c', 0xE8, 0)},
		{"\u0080\u00ff\u0100\uffff", units(0x80, 0xFF, 0x100, 0xFFFF, 0)},
		{"🎈", units(0xD83C, 0xDF88, 0)},
		{"\U00010000\U0010FFFF", units(0xD800, 0xDC00, 0xDBFF, 0xDFFF, 0)},
		{"a\xffb", units('a', 0xFFFD, 'b', 0)},
		{"\xed\xa0\x80", units(0xFFFD, 0xFFFD, 0xFFFD, 0)},
	} {
		got, err := codec.UTF16().Append(nil, tt.in)
		if string(got) != tt.want || err != nil {
			t.Errorf("Append(nil, %q) = %x, %v; want %x", tt.in, got, err, tt.want)
		}
	}
}

func TestUTF16Decode(t *testing.T) {
	page := make([]byte, 4096)
	copy(page, units('p', 'a', 'g', 'e', 0, 'x'))
	for _, tt := range []struct{ name, in, want string }{
		{"empty", "", ""},
		{"terminator only", units(0), ""},
		{"half a unit", "a", ""},
		{"no terminator", units('a', 'b'), "ab"},
		{"no terminator, eight bytes", units('a', 'b', 'c', 'd'), "abcd"},
		{"half a terminator", units('a', 'b') + "\x00", "ab"},
		{"odd byte", units('a') + "b", "a"},
		{"odd byte after the terminator", units('a', 0) + "b", "a"},
		{"NUL at 0 of 4", units(0, 'b', 'c', 'd', 'e'), ""},
		{"NUL at 1 of 4", units('a', 0, 'c', 'd', 'e'), "a"},
		{"NUL at 2 of 4", units('a', 'b', 0, 'd', 'e'), "ab"},
		{"NUL at 3 of 4", units('a', 'b', 'c', 0, 'e'), "abc"},
		{"NUL at 4", units('a', 'b', 'c', 'd', 0, 'f', 'g', 'h'), "abcd"},
		{"low byte zero", units(0x100, 0x4E00, 0), "\u0100\u4e00"},
		{"mapping of a page", string(page), "page"},
		{"zeroed page", strings.Repeat("\x00", 4096), ""},
		{"pair", units(0xD83C, 0xDF88, 0), "🎈"},
		{"high surrogate alone", units(0xD83C, 'a', 0), "\uFFFDa"},
		{"high surrogate before NUL", units('a', 0xD83C, 0), "a\uFFFD"},
		{"high surrogate at the end", units('a', 0xD83C), "a\uFFFD"},
		{"high surrogate, half a unit", units(0xD83C) + "\x88", "\uFFFD"},
		{"low surrogate alone", units(0xDF88, 'a', 0), "\uFFFDa"},
		{"pair the wrong way round", units(0xDF88, 0xD83C, 0), "\uFFFD\uFFFD"},
		{"high surrogate before a pair", units(0xD83C, 0xD83C, 0xDF88, 0), "\uFFFD🎈"},
		{"U+FFFD", units(0xFFFD, 0), "\uFFFD"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := "old"
			if err := codec.UTF16().Decode([]byte(tt.in), &got); got != tt.want || err != nil {
				t.Errorf("Decode(%x) = %q, %v; want %q", tt.in, got, err, tt.want)
			}
		})
	}
}

// TestUTF16Lengths puts characters of every width at every position around the
// block sizes of the implementation.
func TestUTF16Lengths(t *testing.T) {
	for _, c := range []string{"a", "é", "日", "🎈"} {
		for n := range 300 {
			for _, want := range []string{strings.Repeat(c, n), strings.Repeat("x", n) + c, strings.Repeat("x", n) + c + "yz"} {
				if got := roundTrip(t, codec.UTF16(), want, ""); got != want {
					t.Fatalf("%d × %q: got %q, want %q", n, c, got, want)
				}
			}
		}
	}
}

// FuzzDecodeUTF16 compares with package utf16.
func FuzzDecodeUTF16(f *testing.F) {
	f.Add([]byte(units('a', 'b', 0)))
	f.Add([]byte(units(0xD83C, 0xDF88, 0xD83C, 'a')))
	f.Add([]byte(strings.Repeat(units(0x65E5, 'a', 'b', 'c', 'd'), 40) + "x"))
	f.Fuzz(func(t *testing.T, b []byte) {
		var u []uint16
		for i := 0; i+1 < len(b); i += 2 {
			x := binary.LittleEndian.Uint16(b[i:])
			if x == 0 {
				break
			}
			u = append(u, x)
		}
		want := string(utf16.Decode(u))
		var got string
		if err := codec.UTF16().Decode(b, &got); got != want || err != nil {
			t.Errorf("Decode(%x) = %q, %v; want %q", b, got, err, want)
		}
		if again := roundTrip(t, codec.UTF16(), got, ""); again != got {
			t.Errorf("round trip of %q = %q", got, again)
		}
	})
}

// FuzzAppendUTF16 compares with package utf16.
func FuzzAppendUTF16(f *testing.F) {
	f.Add("Questa è una stringa di test")
	f.Add("a\xff🎈\xed\xa0\x80")
	f.Fuzz(func(t *testing.T, s string) {
		b, err := codec.UTF16().Append(nil, s)
		if strings.Contains(s, "\x00") {
			if err == nil {
				t.Errorf("Append(nil, %q) = %x, without error", s, b)
			}
			return
		}
		want := units(append(utf16.Encode([]rune(s)), 0)...)
		if string(b) != want || err != nil {
			t.Errorf("Append(nil, %q) = %x, %v; want %x", s, b, err, want)
		}
		if got := roundTrip(t, codec.UTF16(), s, ""); utf8.ValidString(s) && got != s {
			t.Errorf("round trip of %q = %q", s, got)
		}
	})
}

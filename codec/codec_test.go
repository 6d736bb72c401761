package codec_test

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/sharedseg/sharedseg/codec"
)

// roundTrip encodes v behind a prefix and decodes it over old.
func roundTrip[T any](t *testing.T, c codec.Codec[T], v, old T) T {
	t.Helper()
	const prefix = "prefix"
	b, err := c.Append([]byte(prefix), v)
	if err != nil {
		t.Fatalf("Append(%v): %v", v, err)
	}
	if !bytes.HasPrefix(b, []byte(prefix)) {
		t.Fatalf("Append(%q, %v) = %q, without the prefix", prefix, v, b)
	}
	if s, ok := c.(codec.Sizer); ok && len(b) != len(prefix)+s.Size() {
		t.Errorf("Append(%q, %v) appended %d bytes; Size() = %d", prefix, v, len(b)-len(prefix), s.Size())
	}
	b = b[len(prefix):]
	if err := c.Decode(b, &old); err != nil {
		t.Fatalf("Decode(%q): %v", b, err)
	}
	// The decoded value must not depend on b.
	clear(b)
	return old
}

func testRoundTrip[T any](t *testing.T, c codec.Codec[T], old T, values ...T) {
	t.Helper()
	t.Run(c.ID(), func(t *testing.T) {
		for _, v := range values {
			if diff := cmp.Diff(v, roundTrip(t, c, v, old), cmpopts.EquateEmpty(), cmpopts.EquateComparable(netip.AddrPort{})); diff != "" {
				t.Errorf("round trip (-want +got):\n%s", diff)
			}
		}
	})
}

type document struct {
	Name string
	Tags map[string]int
	Next *document
}

type flags struct {
	A, B bool
	N    int32
	Grid [3][3]bool
	Rows [2]struct {
		X  float32
		On bool
	}
}

func TestRoundTrip(t *testing.T) {
	long := strings.Repeat("0123456789", 100)
	texts := []string{
		"", "a", "abc", "abcd", "abcdefgh", "Questa è una stringa di test",
		"日本語", "naïve 🎈 text", "🎈", "\u007f\u0080\u07ff\u0800\uffff\U00010000\U0010ffff",
		long, long + "é" + long, strings.Repeat("日", 500), strings.Repeat("🎈", 500), "é" + long,
	}
	testRoundTrip(t, codec.String(), "old", append(texts, "\x00", "\xff\xfe", "\xed\xa0\x80")...)
	testRoundTrip(t, codec.UTF16(), "old", texts...)
	testRoundTrip(t, codec.Bytes(), []byte("old and longer"), nil, []byte{}, []byte{0}, []byte(long))
	testRoundTrip(t, codec.Opaque("example.com/rgb"), []byte("old and longer"), nil, []byte{}, []byte{0}, []byte(long))
	testRoundTrip(t, codec.Fixed[uint64](), 7, 0, 1, math.MaxUint64)
	testRoundTrip(t, codec.Fixed[float64](), 7, 0, math.Inf(-1), math.SmallestNonzeroFloat64)
	testRoundTrip(t, codec.Fixed[bool](), true, false, true)
	testRoundTrip(t, codec.Fixed[[3]int16](), [3]int16{}, [3]int16{-1, 2, -3})
	testRoundTrip(t, codec.Fixed[flags](), flags{B: true},
		flags{},
		flags{A: true, N: -1, Grid: [3][3]bool{2: {2: true}}},
	)
	docs := []document{
		{},
		{Name: "a", Tags: map[string]int{"x": 1}, Next: &document{Name: "b"}},
	}
	old := document{Name: "old", Tags: map[string]int{"old": 1}, Next: &document{Name: "old"}}
	testRoundTrip(t, codec.JSON[document](), old, docs...)
	testRoundTrip(t, codec.Gob[document](), old, docs...)
	testRoundTrip(t, codec.JSON[*document](), &old, nil, &docs[1])
	testRoundTrip(t, codec.Gob[*document](), &old, &docs[1])
	testRoundTrip(t, codec.Binary[time.Time](), time.Unix(1, 0), time.Time{}, time.Unix(1e9, 5).UTC())
	testRoundTrip(t, codec.Binary[netip.AddrPort](), netip.AddrPort{}, netip.MustParseAddrPort("[::1%eth0]:80"))
}

// celsius has marshalers with pointer receivers only.
type celsius struct{ degrees float64 }

func (c *celsius) MarshalJSON() ([]byte, error) { return fmt.Appendf(nil, "%g", c.degrees), nil }

func (c *celsius) UnmarshalJSON(b []byte) error {
	_, err := fmt.Sscan(string(b), &c.degrees)
	return err
}

func TestJSONPointerReceiver(t *testing.T) {
	b, err := codec.JSON[celsius]().Append(nil, celsius{36.6})
	if string(b) != "36.6" || err != nil {
		t.Errorf("Append = %s, %v; want 36.6", b, err)
	}
	if got := roundTrip(t, codec.JSON[celsius](), celsius{36.6}, celsius{}); got.degrees != 36.6 {
		t.Errorf("round trip = %v", got)
	}
}

// stubborn fails to encode and to decode.
type stubborn struct{}

var errStubborn = errors.New("no")

func (stubborn) AppendBinary([]byte) ([]byte, error) { return nil, errStubborn }
func (stubborn) UnmarshalBinary([]byte) error        { return errStubborn }

func TestAppendErrors(t *testing.T) {
	var nilPointer *int
	for _, tt := range []struct {
		name   string
		append func([]byte) ([]byte, error)
		want   string
		is     error
	}{
		{
			"UTF16", appendOf(codec.UTF16(), "abc\x00def"),
			"codec.UTF16: invalid value: byte 3 of the string is NUL, which ends a string in this encoding",
			codec.ErrInvalid,
		},
		{
			"UTF16 only NUL", appendOf(codec.UTF16(), "\x00"),
			"codec.UTF16: invalid value: byte 0 of the string is NUL, which ends a string in this encoding",
			codec.ErrInvalid,
		},
		{
			"JSON", appendOf(codec.JSON[float64](), math.NaN()),
			"codec.JSON: invalid value: json: unsupported value: NaN",
			codec.ErrInvalid,
		},
		{
			"Gob", appendOf(codec.Gob[func()](), nil),
			"codec.Gob: invalid value: gob NewTypeObject can't handle type: func()",
			codec.ErrInvalid,
		},
		{
			"Gob nil", appendOf(codec.Gob[*int](), nil),
			"codec.Gob: invalid value: nil *int",
			codec.ErrInvalid,
		},
		{
			"Gob nil behind a pointer", appendOf(codec.Gob[**int](), &nilPointer),
			"codec.Gob: invalid value: nil *int",
			codec.ErrInvalid,
		},
		{
			"Binary", appendOf(codec.Binary[stubborn](), stubborn{}),
			"codec.Binary: invalid value: no",
			errStubborn,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := tt.append([]byte("prefix"))
			checkError(t, err, tt.want, tt.is)
			checkError(t, err, tt.want, codec.ErrInvalid)
		})
	}
}

func TestDecodeErrors(t *testing.T) {
	gob, err := codec.Gob[int]().Append(nil, 1)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name   string
		decode func([]byte) error
		in     string
		want   string
		is     error
	}{
		{"Fixed short", decodeOf(codec.Fixed[uint32]()), "abc", "codec.Fixed: malformed encoding: 3 bytes, not 4", nil},
		{"Fixed long", decodeOf(codec.Fixed[uint32]()), "abcde", "codec.Fixed: malformed encoding: 5 bytes, not 4", nil},
		{"Fixed empty", decodeOf(codec.Fixed[bool]()), "", "codec.Fixed: malformed encoding: 0 bytes, not 1", nil},
		{"Fixed bool", decodeOf(codec.Fixed[bool]()), "\x02", "codec.Fixed: malformed encoding: the bool at byte 0 is 0x02", nil},
		{"JSON", decodeOf(codec.JSON[int]()), "[1", "codec.JSON: malformed encoding: unexpected end of JSON input", nil},
		{"JSON empty", decodeOf(codec.JSON[int]()), "", "codec.JSON: malformed encoding: unexpected end of JSON input", nil},
		{"JSON more", decodeOf(codec.JSON[int]()), "1 2", "codec.JSON: malformed encoding: invalid character '2' after top-level value", nil},
		{"Gob", decodeOf(codec.Gob[int]()), "\x01", "codec.Gob: malformed encoding: unexpected EOF", nil},
		{"Gob more", decodeOf(codec.Gob[int]()), string(gob) + "xyz", "codec.Gob: malformed encoding: 3 bytes follow the value", nil},
		{"Binary", decodeOf(codec.Binary[stubborn]()), "", "codec.Binary: malformed encoding: no", errStubborn},
	} {
		t.Run(tt.name, func(t *testing.T) {
			err := tt.decode([]byte(tt.in))
			checkError(t, err, tt.want, codec.ErrMalformed)
			if tt.is != nil {
				checkError(t, err, tt.want, tt.is)
			}
		})
	}
}

func appendOf[T any](c codec.Codec[T], v T) func([]byte) ([]byte, error) {
	return func(b []byte) ([]byte, error) { return c.Append(b, v) }
}

func decodeOf[T any](c codec.Codec[T]) func([]byte) error {
	return func(b []byte) error { return c.Decode(b, new(T)) }
}

func checkError(t *testing.T, err error, want string, is error) {
	t.Helper()
	if err == nil || err.Error() != want {
		t.Errorf("error = %v\n    want  %s", err, want)
	}
	if !errors.Is(err, is) {
		t.Errorf("error %v does not wrap %q", err, is)
	}
}

// generic is a type whose name contains another type.
type generic[T any] struct{ stubborn }

func TestIDs(t *testing.T) {
	for _, tt := range []struct{ got, want string }{
		{codec.String().ID(), "string/utf-8"},
		{codec.UTF16().ID(), "string/utf-16le"},
		{codec.Bytes().ID(), "bytes"},
		{codec.Opaque("example.com/rgb").ID(), "example.com/rgb"},
		{codec.JSON[document]().ID(), "json"},
		{codec.Gob[document]().ID(), "gob"},
		{codec.Binary[time.Time]().ID(), "binary:time.Time"},
		{codec.Binary[netip.AddrPort]().ID(), "binary:net/netip.AddrPort"},
		{codec.Binary[generic[netip.Addr]]().ID(), "binary:github.com/sharedseg/sharedseg/codec_test.generic[net/netip.Addr]"},
		{codec.Binary[struct{ stubborn }]().ID(), "binary:struct { codec_test.stubborn }"},
	} {
		if tt.got != tt.want {
			t.Errorf("ID = %s\n  want %s", tt.got, tt.want)
		}
	}
}

func TestOptionalInterfaces(t *testing.T) {
	t.Run("String", testInterfaces(codec.String(), true, false))
	t.Run("UTF16", testInterfaces(codec.UTF16(), true, false))
	t.Run("Bytes", testInterfaces(codec.Bytes(), true, false))
	t.Run("Opaque", testInterfaces(codec.Opaque("x"), true, false))
	t.Run("Fixed", testInterfaces(codec.Fixed[flags](), true, true))
	t.Run("JSON", testInterfaces(codec.JSON[int](), false, false))
	t.Run("Gob", testInterfaces(codec.Gob[int](), false, false))
	t.Run("Binary", testInterfaces(codec.Binary[time.Time](), false, false))
}

func testInterfaces[T any](c codec.Codec[T], inPlace, fixed bool) func(*testing.T) {
	return func(t *testing.T) {
		if _, ok := c.(codec.InPlaceDecoder[T]); ok != inPlace {
			t.Errorf("implements InPlaceDecoder: %t", ok)
		}
		if _, ok := c.(codec.Sizer); ok != fixed {
			t.Errorf("implements Sizer: %t", ok)
		}
		if _, ok := c.(codec.Validator); ok != fixed {
			t.Errorf("implements Validator: %t", ok)
		}
	}
}

// TestAppendInPlace appends to a slice with room for exactly the encoding, then
// for one byte less.
func TestAppendInPlace(t *testing.T) {
	t.Run("String", func(t *testing.T) { testInPlace(t, codec.String(), "naïve 🎈") })
	t.Run("UTF16", func(t *testing.T) { testInPlace(t, codec.UTF16(), "naïve 🎈") })
	t.Run("UTF16 ASCII", func(t *testing.T) { testInPlace(t, codec.UTF16(), "Questa stringa") })
	t.Run("Bytes", func(t *testing.T) { testInPlace(t, codec.Bytes(), []byte("bytes")) })
	t.Run("Fixed", func(t *testing.T) { testInPlace(t, codec.Fixed[flags](), flags{N: 1, B: true}) })
	t.Run("JSON", func(t *testing.T) { testInPlace(t, codec.JSON[[]int](), []int{1, 2}) })
	t.Run("Gob", func(t *testing.T) { testInPlace(t, codec.Gob[[]int](), []int{1, 2}) })
	t.Run("Binary", func(t *testing.T) { testInPlace(t, codec.Binary[time.Time](), time.Unix(1, 0)) })
}

func testInPlace[T any](t *testing.T, c codec.Codec[T], v T) {
	want, err := c.Append(nil, v)
	if err != nil {
		t.Fatal(err)
	}
	const guard = 0xA5
	for short := range 2 {
		mem := bytes.Repeat([]byte{guard}, len(want)+8)
		slot := mem[: 0 : len(want)-short]
		got, err := c.Append(slot, v)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want) {
			t.Errorf("Append = %x, want %x", got, want)
		}
		if inPlace := &got[0] == &mem[0]; inPlace != (short == 0) {
			t.Errorf("room for %d bytes of %d: in place = %t", cap(slot), len(want), inPlace)
		}
		for i, x := range mem[cap(slot):] {
			if x != guard {
				t.Errorf("byte %d after the room was written", i)
			}
		}
	}
}

func TestBytesReuse(t *testing.T) {
	c := codec.Bytes()
	v := make([]byte, 3, 100)
	first := &v[0]
	if err := c.Decode([]byte("some bytes"), &v); err != nil || string(v) != "some bytes" || &v[0] != first {
		t.Errorf("Decode = %q, %v, at %p; want it at %p", v, err, &v[0], first)
	}
	if err := c.Decode(nil, &v); err != nil || v == nil || len(v) != 0 || cap(v) != 100 {
		t.Errorf("Decode of no bytes = %q, %v, capacity %d; want it empty, capacity 100", v, err, cap(v))
	}
	var none []byte
	if err := c.Decode([]byte{}, &none); err != nil || none != nil {
		t.Errorf("Decode of no bytes into nil = %v, %v; want nil", none, err)
	}
}

func TestAllocs(t *testing.T) {
	mem := make([]byte, 0, 1<<17)
	text := strings.Repeat("Questa è una stringa di test 🎈 ", 100)
	testAllocs(t, "String", codec.String(), text, mem, 0, 1)
	testAllocs(t, "String empty", codec.String(), "", mem, 0, 0)
	testAllocs(t, "UTF16", codec.UTF16(), text, mem, 0, 1)
	testAllocs(t, "UTF16 short", codec.UTF16(), "naïve 🎈", mem, 0, 1)
	testAllocs(t, "UTF16 empty", codec.UTF16(), "", mem, 0, 0)
	testAllocs(t, "Bytes", codec.Bytes(), []byte(text), mem, 0, 0)
	testAllocs(t, "Fixed", codec.Fixed[[8]uint64](), [8]uint64{1}, mem, 0, 0)
	testAllocs(t, "Fixed large", codec.Fixed[[8192]uint64](), [8192]uint64{1}, mem, 0, 0)
	testAllocs(t, "Fixed with bools", codec.Fixed[flags](), flags{A: true}, mem, 0, 0)
	testAllocs(t, "Fixed large with bools", codec.Fixed[[4096]struct {
		A uint64
		B bool
	}](), [4096]struct {
		A uint64
		B bool
	}{}, mem, 0, 0)
	testAllocs(t, "Binary", codec.Binary[netip.Addr](), netip.IPv6Loopback(), mem, 1, 1)
}

// testAllocs encodes v into mem and decodes it into the same variable
// repeatedly.
func testAllocs[T any](t *testing.T, name string, c codec.Codec[T], v T, mem []byte, perAppend, perDecode float64) {
	t.Run(name, func(t *testing.T) {
		if got := testing.AllocsPerRun(100, func() {
			if _, err := c.Append(mem[:0], v); err != nil {
				t.Error(err)
			}
		}); got != perAppend {
			t.Errorf("Append: %v allocations, want %v", got, perAppend)
		}
		b, err := c.Append(mem[:0], v)
		if err != nil {
			t.Fatal(err)
		}
		var out T
		if got := testing.AllocsPerRun(100, func() {
			if err := c.Decode(b, &out); err != nil {
				t.Error(err)
			}
		}); got != perDecode {
			t.Errorf("Decode: %v allocations, want %v", got, perDecode)
		}
	})
}

// TestInPlaceChanging decodes bytes that change while they are decoded. The
// decoder must return, with any result, and must store only 0 or 1 in a bool.
// Under -race the bytes change only between calls.
func TestInPlaceChanging(t *testing.T) {
	const size, flagsAt = 4096, 4000
	type toggles struct {
		_  [flagsAt]byte
		On [size - flagsAt]bool
	}
	narrow := bytes.Repeat([]byte("a\x00"), size/2)
	wide := bytes.Repeat([]byte{0xFF, 0x2F, 0x3C, 0xD8, 0x88, 0xDF, 1, 0}, size/8)
	mem := bytes.Clone(narrow)
	change := func() {
		for _, image := range [][]byte{wide, narrow} {
			for i := 0; i < size; i += 256 {
				copy(mem[i:i+256], image[i:])
			}
		}
	}
	var stop atomic.Bool
	var peer sync.WaitGroup
	defer peer.Wait()
	defer stop.Store(true)
	if !raceEnabled {
		peer.Go(func() {
			for !stop.Load() {
				change()
			}
		})
	}

	text, wtext, raw, fixed := inPlace(codec.String()), inPlace(codec.UTF16()), inPlace(codec.Bytes()), inPlace(codec.Fixed[toggles]())
	for i := range 2000 {
		if raceEnabled {
			copy(mem[i%size:], wide)
		}
		var s, w string
		var r []byte
		var f toggles
		if err := errors.Join(text.DecodeInPlace(mem, &s), wtext.DecodeInPlace(mem, &w), raw.DecodeInPlace(mem, &r)); err != nil {
			t.Fatal(err)
		}
		if len(s) != size || len(r) != size || len(w) > size*3/2 {
			t.Fatalf("decoded %d, %d and %d bytes from %d", len(s), len(r), len(w), size)
		}
		if err := fixed.DecodeInPlace(mem, &f); err != nil && !errors.Is(err, codec.ErrMalformed) {
			t.Fatal(err)
		}
		b, err := codec.Fixed[toggles]().Append(nil, f)
		if err != nil {
			t.Fatal(err)
		}
		if x := slices.Max(b[flagsAt:]); x > 1 {
			t.Fatalf("Decode stored %#x in a bool", x)
		}
	}
}

func FuzzDecodeString(f *testing.F) { fuzzDecode(f, codec.String(), "", "text", "\xff") }

func FuzzDecodeBytes(f *testing.F) { fuzzDecode(f, codec.Bytes(), nil, []byte("bytes")) }

func FuzzDecodeFixed(f *testing.F) {
	fuzzDecode(f, codec.Fixed[flags](), flags{}, flags{B: true, N: 1})
}

func FuzzDecodeJSON(f *testing.F) {
	fuzzDecode(f, codec.JSON[document](), document{}, document{Name: "a", Next: &document{}})
}

func FuzzDecodeBinary(f *testing.F) {
	fuzzDecode(f, codec.Binary[netip.AddrPort](), netip.AddrPort{}, netip.MustParseAddrPort("[::1%eth0]:80"))
}

// FuzzDecodeGob uses a type without maps. Decode allocates a map of any encoded
// size, and the fuzzer would find nothing else.
func FuzzDecodeGob(f *testing.F) {
	type node struct {
		Name string
		List []int
		Next *node
	}
	fuzzDecode(f, codec.Gob[node](), node{}, node{Name: "a", List: []int{1}, Next: &node{}})
}

// fuzzDecode decodes arbitrary bytes. A value that was decoded must have an
// encoding, which must decode to the same value.
func fuzzDecode[T any](f *testing.F, c codec.Codec[T], seeds ...T) {
	for _, v := range seeds {
		b, err := c.Append(nil, v)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
		f.Add(append(b, 2))
		f.Add(b[:len(b)/2])
	}
	opts := cmp.Options{cmpopts.EquateEmpty(), cmpopts.EquateNaNs(), cmpopts.EquateComparable(netip.AddrPort{})}
	f.Fuzz(func(t *testing.T, b []byte) {
		before := bytes.Clone(b)
		var first, second T
		err := c.Decode(b, &first)
		if !bytes.Equal(b, before) {
			t.Errorf("Decode changed its input from %x to %x", before, b)
		}
		if err != nil {
			if !errors.Is(err, codec.ErrMalformed) {
				t.Errorf("Decode(%x): %v, which does not wrap ErrMalformed", b, err)
			}
			return
		}
		again, err := c.Append(nil, first)
		if err != nil {
			t.Fatalf("Append(%v), decoded from %x: %v", first, b, err)
		}
		if err := c.Decode(again, &second); err != nil {
			t.Fatalf("Decode(%x), the encoding of %v: %v", again, first, err)
		}
		if diff := cmp.Diff(first, second, opts); diff != "" {
			t.Errorf("decoded %x, encoded it as %x and decoded that (-first +second):\n%s", b, again, diff)
		}
	})
}

// inPlace returns c as a codec that decodes in place.
func inPlace[T any](c codec.Codec[T]) codec.InPlaceDecoder[T] { return c.(codec.InPlaceDecoder[T]) }

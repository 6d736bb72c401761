package codec_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"
	"runtime"
	"slices"
	"strings"
	"structs"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sharedseg/sharedseg/codec"
	"github.com/sharedseg/sharedseg/internal/form"
)

type inner struct {
	X int32
	Y [4]uint8
}

type outer struct {
	A uint64
	B inner
}

type scalars struct {
	I8   int8
	U8   uint8
	I16  int16
	_    uint32
	I32  int32
	U32  uint32
	I64  int64
	F32  float32
	C64  complex64
	Bool bool
	_    [3]byte
}

type embedding struct {
	_ structs.HostLayout
	_ [0]func()
	inner
}

func TestFixedID(t *testing.T) {
	order := "le"
	if binary.NativeEndian.Uint16([]byte{1, 0}) != 1 {
		order = "be"
	}
	for _, tt := range []struct{ got, want string }{
		{codec.Fixed[bool]().ID(), "bool"},
		{codec.Fixed[uint8]().ID(), "uint8"},
		{codec.Fixed[complex128]().ID(), "complex128"},
		{codec.Fixed[int]().ID(), fmt.Sprintf("int%d", bits.UintSize)},
		{codec.Fixed[uint]().ID(), fmt.Sprintf("uint%d", bits.UintSize)},
		{codec.Fixed[uintptr]().ID(), fmt.Sprintf("uint%d", bits.UintSize)},
		{codec.Fixed[[3][1000]float64]().ID(), "[3][1000]float64"},
		{codec.Fixed[atomic.Int64]().ID(), "{v int64@0}#8"},
		{codec.Fixed[outer]().ID(), "{A uint64@0;B {X int32@0;Y [4]uint8@4}#8@8}#16"},
		{codec.Fixed[embedding]().ID(), "{inner {X int32@0;Y [4]uint8@4}#8@0}#8"},
		{codec.Fixed[[2]struct{ B bool }]().ID(), "[2]{B bool@0}#1"},
		{
			codec.Fixed[scalars]().ID(),
			"{I8 int8@0;U8 uint8@1;I16 int16@2;_ uint32@4;I32 int32@8;U32 uint32@12;I64 int64@16;" +
				"F32 float32@24;C64 complex64@28;Bool bool@36;_ [3]uint8@37}#40",
		},
		{
			codec.Fixed[flags]().ID(),
			"{A bool@0;B bool@1;N int32@4;Grid [3][3]bool@8;Rows [2]{X float32@0;On bool@4}#8@20}#36",
		},
	} {
		if want := "fixed/" + order + ":" + tt.want; tt.got != want {
			t.Errorf("ID = %s\n  want %s", tt.got, want)
		}
	}
}

// TestFixedIDOfMachine pins layouts that differ between machines.
func TestFixedIDOfMachine(t *testing.T) {
	type gap struct {
		A uint8
		B uint64
		C int
	}
	want, ok := map[string]string{
		"386":   "fixed/le:{A uint8@0;B uint64@4;C int32@12}#16",
		"amd64": "fixed/le:{A uint8@0;B uint64@8;C int64@16}#24",
		"arm64": "fixed/le:{A uint8@0;B uint64@8;C int64@16}#24",
	}[runtime.GOARCH]
	if !ok {
		t.Skipf("no layout known for %s", runtime.GOARCH)
	}
	if got := codec.Fixed[gap]().ID(); got != want {
		t.Errorf("ID = %s\n  want %s", got, want)
	}
}

func TestFixedIDSame(t *testing.T) {
	type number uint64
	type renamed struct {
		A number
		B struct {
			X int32
			Y [4]byte
		}
	}
	if a, b := codec.Fixed[outer]().ID(), codec.Fixed[renamed]().ID(); a != b {
		t.Errorf("types of one layout have two IDs:\n%s\n%s", a, b)
	}
	if a, b := codec.Fixed[inner]().ID(), codec.Fixed[struct {
		structs.HostLayout
		inner
	}]().ID(); a == b {
		t.Errorf("an embedded struct and its fields have one ID: %s", a)
	}
}

func TestFixedIDDiffers(t *testing.T) {
	seen := make(map[string]int)
	for i, id := range []string{
		codec.Fixed[struct{ A, B uint64 }]().ID(),
		codec.Fixed[struct{ A, B float64 }]().ID(),
		codec.Fixed[struct{ A, B int64 }]().ID(),
		codec.Fixed[struct{ B, A uint64 }]().ID(),
		codec.Fixed[struct{ a, b uint64 }]().ID(),
		codec.Fixed[struct{ A, _ uint64 }]().ID(),
		codec.Fixed[struct{ A uint64 }]().ID(),
		codec.Fixed[struct{ A [2]uint64 }]().ID(),
		codec.Fixed[struct{ A [1][2]uint64 }]().ID(),
		codec.Fixed[struct{ A struct{ A, B uint64 } }]().ID(),
		codec.Fixed[[2]uint64]().ID(),
		codec.Fixed[complex128]().ID(),
		codec.Fixed[struct {
			A uint64
			B uint32
		}]().ID(),
		codec.Fixed[struct {
			A uint64
			B uint32
			_ uint32
		}]().ID(),
		codec.Fixed[struct {
			A [1]struct {
				A uint32
				B uint8
			}
		}]().ID(),
		codec.Fixed[struct {
			A [1]struct {
				A uint32
				B uint8
				_ [3]uint8
			}
		}]().ID(),
	} {
		if j, ok := seen[id]; ok {
			t.Errorf("types %d and %d have the same ID %s", j, i, id)
		}
		seen[id] = i
	}
}

func TestFixedSize(t *testing.T) {
	for _, tt := range []struct {
		name  string
		codec any
		want  int
	}{
		{"bool", codec.Fixed[bool](), 1},
		{"outer", codec.Fixed[outer](), 16},
		{"scalars", codec.Fixed[scalars](), 40},
		{"flags", codec.Fixed[flags](), 36},
		{"[1000]outer", codec.Fixed[[1000]outer](), 16000},
	} {
		if got := tt.codec.(codec.Sizer).Size(); got != tt.want {
			t.Errorf("Size of %s = %d, want %d", tt.name, got, tt.want)
		}
		if err := tt.codec.(codec.Validator).Validate(); err != nil {
			t.Errorf("Err of %s = %v", tt.name, err)
		}
	}
}

type link struct {
	A struct {
		B [2]struct {
			N int
			C *int
		}
	}
}

type list struct {
	N    int
	Next *list
}

func TestFixedRefuses(t *testing.T) {
	t.Run("pointer", testRefused[link]("codec_test.link.A.B[].C has type *int"))
	t.Run("itself", testRefused[list]("codec_test.list.Next has type *codec_test.list"))
	t.Run("string", testRefused[struct{ S string }]("struct { S string }.S has type string"))
	t.Run("slice", testRefused[struct{ S []byte }]("struct { S []uint8 }.S has type []uint8"))
	t.Run("map", testRefused[[2]map[int]int]("[2]map[int]int[] has type map[int]int"))
	t.Run("chan", testRefused[[2]chan int]("[2]chan int[] has type chan int"))
	t.Run("func", testRefused[[2]func()]("[2]func()[] has type func()"))
	t.Run("interface", testRefused[[2]error]("[2]error[] has type error"))
	t.Run("blank", testRefused[struct{ _ *int }]("struct { _ *int }._ has type *int"))
	t.Run("embedded", testRefused[struct{ list }]("struct { codec_test.list }.list.Next has type *codec_test.list"))
	t.Run("whole", testRefused[string]("string"))
	t.Run("no fields", testRefused[struct{}]("struct {} has size 0"))
	t.Run("no elements", testRefused[[0]int]("[0]int has size 0"))
}

func testRefused[T any](reason string) func(*testing.T) {
	return func(t *testing.T) {
		want := "codec.Fixed: " + reason + ": type cannot be placed in shared memory"
		c := codec.Fixed[T]()
		var v T
		_, err := c.Append(nil, v)
		checkError(t, err, want, codec.ErrType)
		checkError(t, c.Decode(nil, &v), want, codec.ErrType)
		checkError(t, c.(codec.Validator).Validate(), want, codec.ErrType)
		if c.ID() != "" {
			t.Errorf("ID = %q; want none", c.ID())
		}
	}
}

// TestForm checks the memory layout that each codec reports for its values.
// Only the codecs of this module report one.
func TestForm(t *testing.T) {
	of := func(c any) form.Kind {
		if c, ok := c.(form.Codec); ok {
			return c.Form().Kind
		}
		return form.Foreign
	}
	for _, tt := range []struct {
		codec any
		want  form.Kind
	}{
		{codec.Fixed[outer](), form.Plain},
		{codec.Fixed[[4]uintptr](), form.Plain},
		{codec.Fixed[bool](), form.Bools},
		{codec.Fixed[flags](), form.Bools},
		{codec.Fixed[[2][2]struct{ B bool }](), form.Bools},
		{codec.UTF16(), form.UTF16},
		{codec.String(), form.String},
		{codec.Bytes(), form.Bytes},
		{codec.JSON[outer](), form.Foreign},
		{codec.Gob[outer](), form.Foreign},
	} {
		if got := of(tt.codec); got != tt.want {
			t.Errorf("the form of %T is %d, want %d", tt.codec, got, tt.want)
		}
	}
}

// TestFixedBools sets each byte of an encoding, one at a time, to a value that
// is invalid for a bool.
func TestFixedBools(t *testing.T) {
	t.Run("flags", testBools[flags](36, 0, 1, 8, 9, 10, 11, 12, 13, 14, 15, 16, 24, 32))
	t.Run("adjacent to an array", testBools[struct {
		A uint8
		B bool
		C [9]bool
		D uint8
	}](12, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10))
	t.Run("only bools in a struct", testBools[[3]struct{ A, B bool }](6, 0, 1, 2, 3, 4, 5))
	t.Run("trailing", testBools[[2]struct {
		A uint16
		B bool
		_ uint8
	}](8, 2, 6))
	t.Run("loops in loops", testBools[[2]struct {
		A uint8
		B [2]struct{ C, D bool }
		E [2]struct {
			F uint8
			G bool
		}
	}](18, 1, 2, 3, 4, 6, 8, 10, 11, 12, 13, 15, 17))
}

func testBools[T comparable](size int, bools ...int) func(*testing.T) {
	return func(t *testing.T) {
		c := codec.Fixed[T]()
		if got := c.(codec.Sizer).Size(); got != size {
			t.Fatalf("Size = %d, want %d", got, size)
		}
		var zero T
		for i := range size {
			for _, hostile := range []byte{2, 0x80, 0xFF} {
				b := make([]byte, size)
				b[i] = hostile
				v := zero
				err := c.Decode(b, &v)
				if !slices.Contains(bools, i) {
					if err != nil {
						t.Errorf("byte %d is %#x: %v", i, hostile, err)
					}
					continue
				}
				want := fmt.Sprintf("codec.Fixed: malformed encoding: the bool at byte %d is %#02x", i, hostile)
				checkError(t, err, want, codec.ErrMalformed)
				if v != zero {
					t.Errorf("byte %d is %#x: Decode stored %v", i, hostile, v)
				}
			}
		}
		ones := make([]byte, size)
		for _, i := range bools {
			ones[i] = 1
		}
		var v T
		if err := c.Decode(ones, &v); err != nil {
			t.Fatal(err)
		}
		b, err := c.Append(nil, v)
		if err != nil || !bytes.Equal(b, ones) {
			t.Errorf("all bools true: Append = %x, %v; want %x", b, err, ones)
		}
	}
}

// TestFixedLarge uses a type for which a list of all bools would be larger than
// the value.
func TestFixedLarge(t *testing.T) {
	type cell struct {
		Rows [16]struct {
			N  uint32
			On bool
			_  [3]byte
		}
	}
	type grid [1 << 10][1 << 5]cell
	if allocs := testing.AllocsPerRun(1, func() { codec.Fixed[grid]() }); allocs > 100 {
		t.Errorf("Fixed: %v allocations", allocs)
	}
	c := codec.Fixed[grid]()
	b := make([]byte, c.(codec.Sizer).Size())
	v := new(grid)
	if err := c.Decode(b, v); err != nil {
		t.Fatal(err)
	}
	at := len(b) - 4
	b[at] = 3
	want := fmt.Sprintf("codec.Fixed: malformed encoding: the bool at byte %d is 0x03", at)
	checkError(t, c.Decode(b, v), want, codec.ErrMalformed)
}

func TestFixedUnaligned(t *testing.T) {
	c := codec.Fixed[scalars]()
	want := scalars{I8: -1, I64: -2, F32: 1.5, C64: 2i, Bool: true}
	for shift := range 9 {
		mem := make([]byte, 64)
		b, err := c.Append(mem[:shift:len(mem)], want)
		if err != nil {
			t.Fatal(err)
		}
		var got scalars
		if err := c.Decode(b[shift:], &got); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("at offset %d (-want +got):\n%s", shift, diff)
		}
	}
}

func TestFixedOverwrites(t *testing.T) {
	v := outer{A: 7}
	if err := codec.Fixed[outer]().Decode([]byte("short"), &v); !errors.Is(err, codec.ErrMalformed) || v != (outer{}) {
		t.Errorf("Decode of 5 bytes = %v, and stored %v; want ErrMalformed and zero", err, v)
	}
	if err := codec.Fixed[outer]().Decode([]byte(strings.Repeat("\x01", 16)), &v); err != nil || v.A != 0x01010101_01010101 {
		t.Errorf("Decode = %v, and stored %v", err, v)
	}
}

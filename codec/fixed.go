package codec

import (
	"encoding/binary"
	"fmt"
	"reflect"
	"strconv"
	"unsafe"

	"github.com/sharedseg/sharedseg/internal/form"
)

// Fixed returns the codec of a T that holds no pointers: a number, a bool, or
// an array or struct of such. Its encoding is T as it lies in memory, and
// encoding and decoding are one copy. Reflection is used by Fixed itself and
// never after it.
//
// # Types
//
// Pointers, strings, slices, maps, channels, functions, interfaces and
// [unsafe.Pointer] mean nothing in another process, and a T that holds one
// anywhere is refused, as is a T of size 0. A uintptr is a number. A field of
// size 0, such as a [structs.HostLayout], is never looked at.
//
// Fixed cannot return an error. The codec of a refused T returns one from all
// of its methods that can; it names the field, as in
//
//	codec.Fixed: main.T.A.B[].C is a *int: type cannot be placed in shared memory
//
// and wraps [ErrType]; the ID is empty. The codec is a [Validator], so opening
// a segment with it returns that error.
//
// # ID
//
// The ID describes the layout down to the last field, so that a process whose
// T has other fields, or the same ones at other places, is turned away:
//
//	fixed/le:{A uint64@0;B {X int32@0;Y [4]uint8@4}#8@8}#16
//
// Its grammar is
//
//	ID     = "fixed/" ( "le" | "be" ) ":" type
//	type   = number | "bool" | array | struct
//	number = "int8" … "int64" | "uint8" … "uint64" | "float32" | "float64" |
//	         "complex64" | "complex128"
//	array  = "[" length "]" type
//	struct = "{" [ field { ";" field } ] "}#" size
//	field  = name " " type "@" offset
//
// with the byte order first, and offsets (from the start of the struct) and
// sizes in bytes. An int, uint or uintptr is written as the type of the size
// it has. A blank field is written with the name "_", and a field of size 0 is
// left out. Names of types do not appear: types whose fields have the same
// names and layout have the same ID, and differently named fields make a
// different one.
//
// The layout of a struct depends on the machine: uint64 is aligned to 4 bytes
// on 386 and to 8 on amd64. For a T that is to be shared by 32-bit and 64-bit
// processes, use types of explicit size and fill gaps with blank fields.
//
// Each field adds its name and some 15 bytes to the ID. An ID of more than 1
// MiB, of a struct of 40,000 fields perhaps, is refused where a segment is
// opened.
//
// # Values
//
// Decode fails with an error wrapping [ErrMalformed] if b does not have the
// size of T, or if it has a byte other than 0 or 1 where T has a bool, which no
// Go program could handle; *v is then the zero T. Any other bit pattern is a
// value. Append, where b has room, and Decode allocate nothing, and b need not
// be aligned.
//
// What lies between the fields of T is copied along with them, and may be
// anything that was in that place in memory before. Where this matters, fill
// gaps with blank fields too, and keep them zero.
//
// The codec is an [InPlaceDecoder] and a [Sizer].
func Fixed[T any]() Codec[T] {
	t := reflect.TypeFor[T]()
	if t.Size() == 0 {
		return &fixedCodec[T]{err: fmt.Errorf("codec.Fixed: %v has size 0: %w", t, ErrType)}
	}
	id := []byte("fixed/be:")
	if binary.NativeEndian.Uint16([]byte{1, 0}) == 1 {
		id = []byte("fixed/le:")
	}
	id, bools, err := describe(id, t, t.String())
	if err != nil {
		return &fixedCodec[T]{err: fmt.Errorf("codec.Fixed: %w", err)}
	}
	return &fixedCodec[T]{id: string(id), bools: bools}
}

type fixedCodec[T any] struct {
	id    string
	bools []form.BoolRange
	err   error // the verdict on T; the other fields are empty if there is one
}

func (c *fixedCodec[T]) ID() string { return c.id }

func (c *fixedCodec[T]) Validate() error { return c.err }

func (c *fixedCodec[T]) Size() int { return int(unsafe.Sizeof(*new(T))) }

func (c *fixedCodec[T]) DecodeInPlace(b []byte, v *T) error { return c.Decode(b, v) }

func (c *fixedCodec[T]) Form() form.Form {
	if c.bools != nil {
		return form.Form{Kind: form.Bools, Bools: c.bools}
	}
	return form.Form{Kind: form.Plain}
}

func (c *fixedCodec[T]) Append(b []byte, v T) ([]byte, error) {
	if c.err != nil {
		return b, c.err
	}
	return append(b, bytesOf(&v)...), nil
}

func (c *fixedCodec[T]) Decode(b []byte, v *T) error {
	if c.err != nil {
		return c.err
	}
	if len(b) != c.Size() {
		*v = *new(T)
		return fmt.Errorf("codec.Fixed: %w: %d bytes, not %d", ErrMalformed, len(b), c.Size())
	}
	// A copy rather than an assignment: b may be unaligned, and the runtime
	// moves large blocks faster.
	if c.bools == nil {
		copy(bytesOf(v), b)
	} else if i, bad := form.CopyBools(bytesOf(v), b, c.bools); i >= 0 {
		return fmt.Errorf("codec.Fixed: %w: the bool at byte %d is %#02x", ErrMalformed, i, bad)
	}
	return nil
}

// bytesOf returns the memory of *v, which must not hold pointers.
func bytesOf[T any](v *T) []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(v)), unsafe.Sizeof(*v))
}

// describe appends the description of t, to which path leads from the type that
// Fixed was called with, to id. It also returns where t has bools, nil for
// nowhere.
func describe(id []byte, t reflect.Type, path string) ([]byte, []form.BoolRange, error) {
	switch t.Kind() {
	case reflect.Bool:
		return append(id, "bool"...), []form.BoolRange{{N: 1, Size: 1}}, nil
	case reflect.Int:
		return appendBits(id, "int", t), nil, nil
	case reflect.Uint, reflect.Uintptr:
		return appendBits(id, "uint", t), nil, nil
	case reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64,
		reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64,
		reflect.Float32, reflect.Float64, reflect.Complex64, reflect.Complex128:
		return append(id, t.Kind().String()...), nil, nil
	case reflect.Array:
		return describeArray(id, t, path)
	case reflect.Struct:
		return describeStruct(id, t, path)
	}
	if path != t.String() {
		path += " is a " + t.String()
	}
	return nil, nil, fmt.Errorf("%s: %w", path, ErrType)
}

func appendBits(id []byte, name string, t reflect.Type) []byte {
	return strconv.AppendInt(append(id, name...), int64(t.Bits()), 10)
}

func describeArray(id []byte, t reflect.Type, path string) ([]byte, []form.BoolRange, error) {
	id = append(id, '[')
	id = strconv.AppendInt(id, int64(t.Len()), 10)
	id = append(id, ']')
	id, each, err := describe(id, t.Elem(), path+"[]")
	if err != nil || each == nil {
		return id, nil, err
	}
	size := int(t.Elem().Size())
	if len(each) == 1 && each[0].Each == nil && each[0].N == size {
		return id, []form.BoolRange{{N: t.Len() * size, Size: 1}}, nil
	}
	return id, []form.BoolRange{{N: t.Len(), Size: size, Each: each}}, nil
}

func describeStruct(id []byte, t reflect.Type, path string) ([]byte, []form.BoolRange, error) {
	var bools []form.BoolRange
	id = append(id, '{')
	sep := ""
	for i := range t.NumField() {
		f := t.Field(i)
		if f.Type.Size() == 0 {
			continue
		}
		id = append(id, sep...)
		id = append(id, f.Name...)
		id = append(id, ' ')
		var in []form.BoolRange
		var err error
		if id, in, err = describe(id, f.Type, path+"."+f.Name); err != nil {
			return nil, nil, err
		}
		id = append(id, '@')
		id = strconv.AppendUint(id, uint64(f.Offset), 10)
		sep = ";"
		for _, r := range in {
			r.Off += int(f.Offset)
			bools = appendRange(bools, r)
		}
	}
	id = append(id, "}#"...)
	id = strconv.AppendUint(id, uint64(t.Size()), 10)
	return id, bools, nil
}

// appendRange appends r to ranges, or extends the last one if r continues it.
func appendRange(ranges []form.BoolRange, r form.BoolRange) []form.BoolRange {
	if n := len(ranges); n > 0 && r.Each == nil {
		last := &ranges[n-1]
		if last.Each == nil && last.Off+last.N == r.Off {
			last.N += r.N
			return ranges
		}
	}
	return append(ranges, r)
}

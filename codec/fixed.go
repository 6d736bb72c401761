package codec

import (
	"encoding/binary"
	"fmt"
	"reflect"
	"strconv"
	"unsafe"

	"github.com/sharedseg/sharedseg/internal/form"
)

// Fixed returns the codec of a T that contains no pointers: a number, a bool,
// or an array or struct of these. The encoding is the memory of the T, so
// encoding and decoding are one copy. Only Fixed itself uses reflection.
//
// # Types
//
// Pointers, strings, slices, maps, channels, functions, interfaces and
// [unsafe.Pointer] are meaningless in another process. Fixed rejects a T that
// contains one of them anywhere, and a T of size 0. A uintptr is a number.
// Fields of size 0, such as a [structs.HostLayout], are ignored.
//
// Fixed cannot return an error. If it rejects T, all methods of the codec that
// return an error return the reason. It names the field, as in
//
//	codec.Fixed: main.T.A.B[].C has type *int: type cannot be placed in shared memory
//
// and wraps [ErrType]. The ID is then empty. The codec is a [Validator], so
// opening a segment with it returns that error.
//
// # ID
//
// The ID describes the layout down to the last field. So a process whose T has
// other fields, or the same fields at other offsets, cannot open the segment.
// An example is
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
// It starts with the byte order. Offsets (from the start of the struct) and
// sizes are in bytes. An int, uint or uintptr is written as the type of its
// size. The name of a blank field is "_". Fields of size 0 are omitted. Names
// of types do not appear: types with the same layout and the same field names
// have the same ID, and a type with other field names has another ID.
//
// The layout of a struct depends on the machine: uint64 is aligned to 4 bytes
// on 386 and to 8 on amd64. To share a T between 32-bit and 64-bit processes,
// use types of explicit size and fill gaps with blank fields.
//
// Each field adds its name and about 15 bytes to the ID. An ID of more than 1
// MiB, such as that of a struct of 40,000 fields, is rejected when a segment is
// opened.
//
// # Values
//
// Decode fails with an error that wraps [ErrMalformed] if len(b) is not the
// size of T, or if b has a byte other than 0 or 1 for a bool, which is invalid
// in Go. *v is then the zero T. All other bit patterns are valid. Decode does
// not allocate, and neither does Append if b has enough capacity. b need not be
// aligned.
//
// The gaps between the fields of T are copied too, and can contain any data
// that was in that memory before. If this matters, fill the gaps with blank
// fields and keep them zero.
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
	err   error // why T is rejected; the other fields are then empty
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
	// Copy the bytes instead of assigning a T: b can be unaligned, and the
	// runtime copies large blocks faster.
	if c.bools == nil {
		copy(bytesOf(v), b)
	} else if i, bad := form.CopyBools(bytesOf(v), b, c.bools); i >= 0 {
		return fmt.Errorf("codec.Fixed: %w: the bool at byte %d is %#02x", ErrMalformed, i, bad)
	}
	return nil
}

// bytesOf returns the memory of *v, which must not contain pointers.
func bytesOf[T any](v *T) []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(v)), unsafe.Sizeof(*v))
}

// describe appends the description of t to id. path leads from the type that
// Fixed was called with to t. describe also returns where t has bools, nil if
// it has none.
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
		path += " has type " + t.String()
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

// appendRange appends r to ranges, or extends the last range if r continues it.
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

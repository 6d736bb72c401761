package fixed

import (
	"fmt"
	"iter"
	"math"
	"reflect"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Value is an encoded value, or a part of one. It refers to the bytes of the
// encoding, which Set changes.
type Value struct {
	layout *Layout
	typ    *Type
	b      []byte
}

// Value returns the value whose encoding is b. The length of b must be the
// type's size.
func (l *Layout) Value(b []byte) (Value, error) {
	if int64(len(b)) != l.Type.Size {
		return Value{}, fmt.Errorf("the value has %d bytes, its type has %d", len(b), l.Type.Size)
	}
	return Value{l, l.Type, b}, nil
}

// Type returns the value's type.
func (v Value) Type() *Type { return v.typ }

func (v Value) field(f *Field) Value {
	return Value{v.layout, f.Type, v.b[f.Offset : f.Offset+f.Type.Size]}
}

func (v Value) elem(i int64) Value {
	n := v.typ.Elem.Size
	return Value{v.layout, v.typ.Elem, v.b[i*n : (i+1)*n]}
}

// At returns the part of the value with the given path, such as A, A.B or
// A.B[3].C. The empty path is the value itself.
func (v Value) At(path string) (Value, error) {
	for at, first := 0, true; at < len(path); first = false {
		next, err := 0, error(nil)
		switch {
		case path[at] == '[':
			v, next, err = v.index(path, at)
		case path[at] == '.' && !first:
			v, next, err = v.named(path, at+1)
		case first:
			v, next, err = v.named(path, at)
		default:
			err = fmt.Errorf("%q needs a dot or a bracket after %q", path, path[:at])
		}
		if err != nil {
			return v, err
		}
		at = next
	}
	return v, nil
}

// named returns the field whose name begins at the given position of a path,
// and the position where the name ends.
func (v Value) named(path string, at int) (Value, int, error) {
	name := path[at:]
	if end := strings.IndexAny(name, ".["); end >= 0 {
		name = name[:end]
	}
	if v.typ.Kind != reflect.Struct {
		return v, 0, fmt.Errorf("%s has no fields: it is %v", where(path[:max(at-1, 0)]), v.typ)
	}
	for i := range v.typ.Fields {
		if f := &v.typ.Fields[i]; f.Name == name {
			return v.field(f), at + len(name), nil
		}
	}
	return v, 0, fmt.Errorf("%s has no field %q; it has %s", where(path[:max(at-1, 0)]), name, v.typ.names())
}

// index returns the element whose opening bracket is at the given position of a
// path, and the position after the closing bracket.
func (v Value) index(path string, at int) (Value, int, error) {
	text, _, found := strings.Cut(path[at+1:], "]")
	i, err := strconv.ParseUint(text, 10, 63)
	if !found || err != nil {
		return v, 0, fmt.Errorf("%q needs a number and a bracket after %q", path, path[:at+1])
	}
	if v.typ.Kind != reflect.Array {
		return v, 0, fmt.Errorf("%s has no elements: it is %v", where(path[:at]), v.typ)
	}
	if i >= uint64(v.typ.Len) {
		return v, 0, fmt.Errorf("%s has no element %d: it has %d, starting at 0", where(path[:at]), i, v.typ.Len)
	}
	return v.elem(int64(i)), at + len(text) + 2, nil
}

func where(path string) string {
	if path == "" {
		return "the value"
	}
	return path
}

// names lists the names of a struct's fields, up to a limit.
func (t *Type) names() string {
	const most = 20
	var b strings.Builder
	for i, f := range t.Fields {
		if i == most {
			fmt.Fprintf(&b, ", and %d more", len(t.Fields)-most)
			break
		}
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString(f.Name)
	}
	if len(t.Fields) == 0 {
		return "none"
	}
	return b.String()
}

// String returns the type as Go writes it, or "a struct".
func (t *Type) String() string {
	switch t.Kind {
	case reflect.Array:
		return "[" + strconv.FormatInt(t.Len, 10) + "]" + strings.TrimPrefix(t.Elem.String(), "a ")
	case reflect.Struct:
		return "a struct"
	}
	return t.Kind.String()
}

// flat reports whether a value is shown as one piece: a scalar, or an array of
// flat values.
func (t *Type) flat() bool {
	for t.Kind == reflect.Array {
		t = t.Elem
	}
	return t.Kind != reflect.Struct
}

// Leaves returns the parts of a value that are shown as one piece, which are
// scalars and arrays of scalars, with their paths. If the value itself is such
// a part, its path is empty.
func (v Value) Leaves() iter.Seq2[string, Value] {
	return func(yield func(string, Value) bool) { v.leaves("", yield) }
}

func (v Value) leaves(path string, yield func(string, Value) bool) bool {
	switch {
	case v.typ.flat():
		return yield(path, v)
	case v.typ.Kind == reflect.Array:
		for i := range v.typ.Len {
			if !v.elem(i).leaves(path+"["+strconv.FormatInt(i, 10)+"]", yield) {
				return false
			}
		}
	default:
		if path != "" {
			path += "."
		}
		for i := range v.typ.Fields {
			f := &v.typ.Fields[i]
			if !v.field(f).leaves(path+f.Name, yield) {
				return false
			}
		}
	}
	return true
}

// AppendText appends the value in a readable form, on one line: 1.5, [1 2 3],
// {A 1, B true}. An array of uint8 that contains text is quoted. AppendText
// stops after it has appended limit bytes or more.
func (v Value) AppendText(b []byte, limit int) []byte {
	return v.appendText(b, len(b)+limit)
}

func (v Value) appendText(b []byte, end int) []byte {
	switch v.typ.Kind {
	case reflect.Array:
		if text, ok := v.text(); ok {
			return strconv.AppendQuote(b, text)
		}
		b = append(b, '[')
		for i := int64(0); i < v.typ.Len && len(b) < end; i++ {
			if i > 0 {
				b = append(b, ' ')
			}
			b = v.elem(i).appendText(b, end)
		}
		return append(b, ']')
	case reflect.Struct:
		b = append(b, '{')
		for i := 0; i < len(v.typ.Fields) && len(b) < end; i++ {
			if i > 0 {
				b = append(b, ", "...)
			}
			f := &v.typ.Fields[i]
			b = append(append(b, f.Name...), ' ')
			b = v.field(f).appendText(b, end)
		}
		return append(b, '}')
	case reflect.Bool:
		return v.appendBool(b)
	case reflect.Complex64, reflect.Complex128:
		re, im := v.parts()
		bits := 8 * int(v.typ.Size) / 2
		return append(b, strconv.FormatComplex(complex(re, im), 'g', -1, 2*bits)...)
	}
	return v.appendNumber(b)
}

// text returns the text in an array of uint8: printable characters, followed by
// zeros up to the end. An array of fewer than 8 bytes must have at least one
// zero.
func (v Value) text() (string, bool) {
	if v.typ.Elem.Kind != reflect.Uint8 {
		return "", false
	}
	text := strings.TrimRight(string(v.b), "\x00")
	if text == "" || len(text) == len(v.b) && len(text) < 8 || !utf8.ValidString(text) {
		return "", false
	}
	if strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsPrint(r) && r != '\n' && r != '\t' }) {
		return "", false
	}
	return text, true
}

func (v Value) appendBool(b []byte) []byte {
	switch v.b[0] {
	case 0:
		return append(b, "false"...)
	case 1:
		return append(b, "true"...)
	}
	return append(b, fmt.Sprintf("%#02x", v.b[0])...) // invalid in Go
}

// AppendJSON appends the value as JSON: an object for a struct, arrays for
// arrays and complex numbers, and strings for NaN and the infinities.
func (v Value) AppendJSON(b []byte) []byte {
	switch v.typ.Kind {
	case reflect.Array:
		b = append(b, '[')
		for i := range v.typ.Len {
			if i > 0 {
				b = append(b, ',')
			}
			b = v.elem(i).AppendJSON(b)
		}
		return append(b, ']')
	case reflect.Struct:
		b = append(b, '{')
		for i := range v.typ.Fields {
			if i > 0 {
				b = append(b, ',')
			}
			f := &v.typ.Fields[i]
			b = append(append(append(b, '"'), f.Name...), `":`...) // an identifier
			b = v.field(f).AppendJSON(b)
		}
		return append(b, '}')
	case reflect.Bool:
		if v.b[0] > 1 {
			return strconv.AppendUint(b, uint64(v.b[0]), 10)
		}
		return v.appendBool(b)
	case reflect.Complex64, reflect.Complex128:
		re, im := v.parts()
		bits := 8 * int(v.typ.Size) / 2
		return append(appendFloat(append(appendFloat(append(b, '['), re, bits), ','), im, bits), ']')
	case reflect.Float32, reflect.Float64:
		return appendFloat(b, v.float(), 8*int(v.typ.Size))
	}
	return v.appendNumber(b)
}

func appendFloat(b []byte, f float64, bits int) []byte {
	if math.IsNaN(f) || math.IsInf(f, 0) {
		return append(strconv.AppendFloat(append(b, '"'), f, 'g', -1, bits), '"')
	}
	return strconv.AppendFloat(b, f, 'g', -1, bits)
}

func (v Value) appendNumber(b []byte) []byte {
	switch v.typ.Kind {
	case reflect.Float32, reflect.Float64:
		return strconv.AppendFloat(b, v.float(), 'g', -1, 8*int(v.typ.Size))
	case reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		shift := 64 - 8*v.typ.Size
		return strconv.AppendInt(b, int64(v.bits()<<shift)>>shift, 10)
	}
	return strconv.AppendUint(b, v.bits(), 10)
}

// bits returns the bits of a number of up to 8 bytes.
func (v Value) bits() uint64 {
	switch len(v.b) {
	case 1:
		return uint64(v.b[0])
	case 2:
		return uint64(v.layout.Order.Uint16(v.b))
	case 4:
		return uint64(v.layout.Order.Uint32(v.b))
	}
	return v.layout.Order.Uint64(v.b)
}

func (v Value) putBits(n uint64) {
	switch len(v.b) {
	case 1:
		v.b[0] = byte(n)
	case 2:
		v.layout.Order.PutUint16(v.b, uint16(n))
	case 4:
		v.layout.Order.PutUint32(v.b, uint32(n))
	default:
		v.layout.Order.PutUint64(v.b, n)
	}
}

func (v Value) float() float64 {
	if len(v.b) == 4 {
		return float64(math.Float32frombits(uint32(v.bits())))
	}
	return math.Float64frombits(v.bits())
}

func (v Value) putFloat(f float64) {
	if len(v.b) == 4 {
		v.putBits(uint64(math.Float32bits(float32(f))))
		return
	}
	v.putBits(math.Float64bits(f))
}

// halves returns the real and the imaginary part of a complex number.
func (v Value) halves() (re, im Value) {
	n := len(v.b) / 2
	return Value{v.layout, nil, v.b[:n]}, Value{v.layout, nil, v.b[n:]}
}

func (v Value) parts() (re, im float64) {
	r, i := v.halves()
	return r.float(), i.float()
}

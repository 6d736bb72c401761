package fixed

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Set changes the bytes of the value to the value that text describes. A number
// or bool is written as in Go, an array or struct as in JSON. An array of uint8
// can also be a quoted text, which is padded with zeros. Fields of a struct
// that text does not name stay unchanged. After an error part of the value may
// have changed.
func (v Value) Set(text string) error {
	switch v.typ.Kind {
	case reflect.Array, reflect.Struct:
	default:
		return v.setScalar(text)
	}
	if !utf8.ValidString(text) { // the decoder would replace parts of it
		return fmt.Errorf("%.60q is not valid UTF-8", text)
	}
	d := json.NewDecoder(strings.NewReader(text))
	d.UseNumber() // preserves large numbers
	var x any
	err := d.Decode(&x)
	if err == nil && d.Decode(new(any)) != io.EOF {
		err = errors.New("text follows the value")
	}
	if err != nil {
		return fmt.Errorf("%.60q is not %v in JSON: %w", text, v.typ, err)
	}
	return v.setJSON(x)
}

func (v Value) setJSON(x any) error {
	switch x := x.(type) {
	case map[string]any:
		return v.setObject(x)
	case []any:
		return v.setList(x)
	case string:
		return v.setString(x)
	case json.Number:
		return v.setScalar(x.String())
	case bool:
		return v.setScalar(strconv.FormatBool(x))
	}
	return fmt.Errorf("null is not a value of %v", v.typ)
}

func (v Value) setObject(x map[string]any) error {
	if v.typ.Kind != reflect.Struct {
		return fmt.Errorf("an object is not a value of %v", v.typ)
	}
	for name, part := range x {
		f, end, err := v.named(name, 0)
		switch {
		case err == nil && end < len(name):
			err = errors.New("a key of an object is the name of a field, not a path")
		case err == nil:
			err = f.setJSON(part)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

func (v Value) setList(x []any) error {
	switch v.typ.Kind {
	case reflect.Complex64, reflect.Complex128:
		re, im := v.halves()
		half := scalars["float"+strconv.Itoa(4*int(v.typ.Size))]
		re.typ, im.typ = half, half
		if len(x) != 2 {
			return fmt.Errorf("a list of %d is not a value of %v, which has two numbers", len(x), v.typ)
		}
		return errors.Join(re.setJSON(x[0]), im.setJSON(x[1]))
	case reflect.Array:
	default:
		return fmt.Errorf("a list is not a value of %v", v.typ)
	}
	if int64(len(x)) != v.typ.Len {
		return fmt.Errorf("a list of %d is not a value of %v", len(x), v.typ)
	}
	for i := range x {
		if err := v.elem(int64(i)).setJSON(x[i]); err != nil {
			return fmt.Errorf("[%d]: %w", i, err)
		}
	}
	return nil
}

func (v Value) setString(x string) error {
	if v.typ.Kind != reflect.Array || v.typ.Elem.Kind != reflect.Uint8 {
		return v.setScalar(x)
	}
	if len(x) > len(v.b) {
		return fmt.Errorf("a text of %d bytes does not fit into %v", len(x), v.typ)
	}
	clear(v.b[copy(v.b, x):])
	return nil
}

func (v Value) setScalar(text string) (err error) {
	bits := 8 * int(v.typ.Size)
	switch v.typ.Kind {
	case reflect.Bool:
		var on bool
		if on, err = strconv.ParseBool(text); err == nil {
			v.b[0] = 0
			if on {
				v.b[0] = 1
			}
		}
	case reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		var n int64
		if n, err = strconv.ParseInt(text, 0, bits); err == nil {
			v.putBits(uint64(n))
		}
	case reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		var n uint64
		if n, err = strconv.ParseUint(text, 0, bits); err == nil {
			v.putBits(n)
		}
	case reflect.Float32, reflect.Float64:
		var f float64
		if f, err = strconv.ParseFloat(text, bits); err == nil {
			v.putFloat(f)
		}
	case reflect.Complex64, reflect.Complex128:
		var c complex128
		if c, err = strconv.ParseComplex(text, bits); err == nil {
			re, im := v.halves()
			re.putFloat(real(c))
			im.putFloat(imag(c))
		}
	default:
		return fmt.Errorf("%.60q is not a value of %v", text, v.typ)
	}
	if err != nil {
		return fmt.Errorf("%.60q is not a value of %v: %w", text, v.typ, errors.Unwrap(err))
	}
	return nil
}

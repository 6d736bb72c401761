package codec

import (
	"bytes"
	"encoding"
	"encoding/gob"
	"encoding/json"
	"fmt"
	"reflect"
)

// JSON returns the codec that uses encoding/json. Its ID is "json" for any T:
// processes agree on the document and each may have a type of its own for it.
//
// Fields that T does not have are dropped, as by [json.Unmarshal]. So when
// programs of two versions share a value, an Update by the older one removes
// the fields that only the newer one knows. A T can keep them: it decodes the
// document a second time, into a map[string]json.RawMessage, and encodes what
// is left there beside its own fields, as Config of examples/config does. A
// field whose type or meaning has changed needs a new name.
//
// Append fails with an error wrapping [ErrInvalid] where [json.Marshal] does,
// and Decode with one wrapping [ErrMalformed] where [json.Unmarshal] does. Both
// wrap the error of encoding/json as well. Decode starts from the zero T:
// nothing is merged into what *v held.
func JSON[T any]() Codec[T] { return jsonCodec[T]{} }

type jsonCodec[T any] struct{}

func (jsonCodec[T]) ID() string { return "json" }

func (jsonCodec[T]) Append(b []byte, v T) ([]byte, error) {
	// Through a pointer, so that a MarshalJSON with a pointer receiver is
	// used, as UnmarshalJSON is.
	doc, err := json.Marshal(&v)
	if err != nil {
		return b, fmt.Errorf("codec.JSON: %w: %w", ErrInvalid, err)
	}
	return append(b, doc...), nil
}

func (jsonCodec[T]) Decode(b []byte, v *T) error {
	var fresh T
	if err := json.Unmarshal(b, &fresh); err != nil {
		return fmt.Errorf("codec.JSON: %w: %w", ErrMalformed, err)
	}
	*v = fresh
	return nil
}

// Gob returns the codec that uses encoding/gob. Its ID is "gob" for any T: gob
// matches the fields of differing types by name.
//
// Each encoding is a gob stream of its own, which describes its types. That
// takes some hundred bytes and some microseconds; [JSON] is often both smaller
// and faster.
//
// Append fails with an error wrapping [ErrInvalid] where [gob.Encoder] does or
// where T is a pointer and v is nil, and Decode with one wrapping
// [ErrMalformed] where [gob.Decoder] does or where bytes follow the value. Both
// wrap the error of encoding/gob as well, if there is one. Decode starts from
// the zero T: nothing is merged into what *v held.
//
// Use Gob only among processes that trust each other. Package encoding/gob is
// not hardened against hostile bytes, and a few of them can make Decode
// allocate memory without bound.
func Gob[T any]() Codec[T] { return gobCodec[T]{} }

type gobCodec[T any] struct{}

func (gobCodec[T]) ID() string { return "gob" }

func (gobCodec[T]) Append(b []byte, v T) ([]byte, error) {
	// Gob leaves out a nil pointer, or panics if that is all there is.
	for p := reflect.ValueOf(&v).Elem(); p.Kind() == reflect.Pointer; p = p.Elem() {
		if p.IsNil() {
			return b, fmt.Errorf("codec.Gob: %w: nil %v", ErrInvalid, p.Type())
		}
	}
	buf := bytes.NewBuffer(b)
	// Through a pointer, so that a T that is an interface is sent as one.
	if err := gob.NewEncoder(buf).Encode(&v); err != nil {
		return b, fmt.Errorf("codec.Gob: %w: %w", ErrInvalid, err)
	}
	return buf.Bytes(), nil
}

func (gobCodec[T]) Decode(b []byte, v *T) error {
	var fresh T
	r := bytes.NewReader(b)
	if err := gob.NewDecoder(r).Decode(&fresh); err != nil {
		return fmt.Errorf("codec.Gob: %w: %w", ErrMalformed, err)
	}
	if r.Len() > 0 {
		return fmt.Errorf("codec.Gob: %w: %d bytes follow the value", ErrMalformed, r.Len())
	}
	*v = fresh
	return nil
}

// Binary returns the codec of a type that encodes itself, such as [time.Time]
// or [net/netip.AddrPort]: codec.Binary[time.Time](). Its ID is "binary:"
// followed by the full name of T, as in "binary:time.Time". A type of package
// main has the same name in every program, so it had better move to a package
// of its own.
//
// Append fails with an error wrapping [ErrInvalid] where AppendBinary does, and
// Decode with one wrapping [ErrMalformed] where UnmarshalBinary does. Both wrap
// the error of T as well. UnmarshalBinary starts from the zero T, and must
// copy what it wishes to keep, as [encoding.BinaryUnmarshaler] says.
func Binary[T any, P interface {
	*T
	encoding.BinaryAppender
	encoding.BinaryUnmarshaler
}]() Codec[T] {
	return binaryCodec[T, P]{}
}

type binaryCodec[T any, P interface {
	*T
	encoding.BinaryAppender
	encoding.BinaryUnmarshaler
}] struct{}

func (binaryCodec[T, P]) ID() string {
	t := reflect.TypeFor[T]()
	if t.Name() == "" {
		return "binary:" + t.String()
	}
	return "binary:" + t.PkgPath() + "." + t.Name()
}

func (binaryCodec[T, P]) Append(b []byte, v T) ([]byte, error) {
	out, err := P(&v).AppendBinary(b)
	if err != nil {
		return b, fmt.Errorf("codec.Binary: %w: %w", ErrInvalid, err)
	}
	return out, nil
}

func (binaryCodec[T, P]) Decode(b []byte, v *T) error {
	var fresh T
	if err := P(&fresh).UnmarshalBinary(b); err != nil {
		return fmt.Errorf("codec.Binary: %w: %w", ErrMalformed, err)
	}
	*v = fresh
	return nil
}

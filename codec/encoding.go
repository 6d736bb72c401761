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
// processes agree on the document, and each can have its own type for it.
//
// Fields that T does not have are dropped, as by [json.Unmarshal]. So when
// programs of two versions share a value, an Update by the older one removes
// the fields that only the newer one has. To keep them, T can decode the
// document a second time into a map[string]json.RawMessage, and encode the
// remaining entries with its own fields, as Config in examples/config does. If
// the type or meaning of a field changes, give it a new name.
//
// Append fails with an error that wraps [ErrInvalid] if [json.Marshal] fails.
// Decode fails with an error that wraps [ErrMalformed] if [json.Unmarshal]
// fails. Both also wrap the error of encoding/json. Decode starts with the zero
// T and merges nothing from *v.
func JSON[T any]() Codec[T] { return jsonCodec[T]{} }

type jsonCodec[T any] struct{}

func (jsonCodec[T]) ID() string { return "json" }

func (jsonCodec[T]) Append(b []byte, v T) ([]byte, error) {
	// The pointer makes json use a MarshalJSON with a pointer receiver, as
	// Unmarshal uses UnmarshalJSON.
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
// matches the fields of different types by name.
//
// Each encoding is a complete gob stream that describes its types. This takes
// some hundreds of bytes and some microseconds. [JSON] is often smaller and
// faster.
//
// Append fails with an error that wraps [ErrInvalid] if [gob.Encoder] fails, or
// if T is a pointer and v is nil. Decode fails with an error that wraps
// [ErrMalformed] if [gob.Decoder] fails, or if bytes follow the value. Both
// also wrap the error of encoding/gob, if there is one. Decode starts with the
// zero T and merges nothing from *v.
//
// Use Gob only among processes that trust each other. Package encoding/gob is
// not hardened against hostile input, which can make Decode allocate without
// bound.
func Gob[T any]() Codec[T] { return gobCodec[T]{} }

type gobCodec[T any] struct{}

func (gobCodec[T]) ID() string { return "gob" }

func (gobCodec[T]) Append(b []byte, v T) ([]byte, error) {
	// Gob omits a nil pointer in a struct, and panics for one at the top level.
	for p := reflect.ValueOf(&v).Elem(); p.Kind() == reflect.Pointer; p = p.Elem() {
		if p.IsNil() {
			return b, fmt.Errorf("codec.Gob: %w: nil %v", ErrInvalid, p.Type())
		}
	}
	buf := bytes.NewBuffer(b)
	// The pointer makes gob encode an interface T as an interface.
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
// followed by the full name of T, as in "binary:time.Time". The types of
// package main have the same names in all programs, so it is better to declare
// T in another package.
//
// Append fails with an error that wraps [ErrInvalid] if AppendBinary fails.
// Decode fails with an error that wraps [ErrMalformed] if UnmarshalBinary
// fails. Both also wrap the error of T. UnmarshalBinary is called on the zero
// T. It must copy the bytes that it keeps, as [encoding.BinaryUnmarshaler]
// requires.
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

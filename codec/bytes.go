package codec

import "github.com/sharedseg/sharedseg/internal/form"

// Bytes returns the codec of bytes that are carried as they are. Its ID is
// "bytes".
//
// Decode copies into (*v)[:0] and grows it where needed, so a *v that comes
// back with enough capacity costs no allocation. The encoding does not tell a
// nil slice from an empty one: decoded from no bytes, a nil *v stays nil and
// any other keeps its capacity. There are no errors.
//
// The codec is an [InPlaceDecoder].
func Bytes() Codec[[]byte] { return bytesCodec{} }

type bytesCodec struct{}

func (bytesCodec) ID() string { return "bytes" }

func (bytesCodec) Append(b, v []byte) ([]byte, error) { return append(b, v...), nil }

func (bytesCodec) Decode(b []byte, v *[]byte) error {
	*v = append((*v)[:0], b...)
	return nil
}

func (c bytesCodec) DecodeInPlace(b []byte, v *[]byte) error { return c.Decode(b, v) }

func (bytesCodec) Form() form.Form { return form.Form{Kind: form.Bytes} }

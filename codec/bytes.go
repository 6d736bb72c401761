package codec

import "github.com/sharedseg/sharedseg/internal/form"

// Bytes returns the codec of bytes that are stored unchanged. Its ID is
// "bytes".
//
// Decode copies into (*v)[:0], so it does not allocate if *v has enough
// capacity. The encoding does not distinguish a nil slice from an empty one. If
// b is empty, a nil *v stays nil, and any other *v becomes empty and keeps its
// capacity. Append and Decode do not fail.
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

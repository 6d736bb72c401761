package codec

// Opaque returns the codec of bytes under any ID: what [Bytes] is for its own.
// It is for tools that handle values of types that they do not have, such as a
// program that shows what is in any segment. IDs of other codecs are in the
// Info of a name. Whoever stores by it sees to it that the bytes are an
// encoding of that ID.
//
// The codec is an [InPlaceDecoder].
func Opaque(id string) Codec[[]byte] { return opaqueCodec{id: id} }

type opaqueCodec struct {
	bytesCodec
	id string
}

func (c opaqueCodec) ID() string { return c.id }

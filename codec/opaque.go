package codec

// Opaque returns the codec of bytes with the given ID. Otherwise it is like
// [Bytes]. It is for tools that handle values without having their types, such
// as a program that shows the content of any segment. The ID of another codec
// is in sharedseg.Info.Codec. A caller that stores bytes must make sure that
// they are an encoding with that ID.
//
// The codec is an [InPlaceDecoder].
func Opaque(id string) Codec[[]byte] { return opaqueCodec{id: id} }

type opaqueCodec struct {
	bytesCodec
	id string
}

func (c opaqueCodec) ID() string { return c.id }

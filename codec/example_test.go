package codec_test

import (
	"fmt"
	"image/color"
	"strings"

	"github.com/sharedseg/sharedseg/codec"
)

// rgb carries an opaque color as three bytes.
type rgb struct{}

func (rgb) ID() string { return "example.com/rgb" }

func (rgb) Append(b []byte, v color.RGBA) ([]byte, error) {
	if v.A != 0xFF {
		return b, fmt.Errorf("rgb: %w: %v is not opaque", codec.ErrInvalid, v)
	}
	return append(b, v.R, v.G, v.B), nil
}

func (rgb) Decode(b []byte, v *color.RGBA) error {
	if len(b) != 3 {
		return fmt.Errorf("rgb: %w: %d bytes, not 3", codec.ErrMalformed, len(b))
	}
	*v = color.RGBA{R: b[0], G: b[1], B: b[2], A: 0xFF}
	return nil
}

// A codec of one's own has three methods.
func ExampleCodec() {
	var c codec.Codec[color.RGBA] = rgb{}

	b, err := c.Append(nil, color.RGBA{R: 0x12, G: 0x34, B: 0x56, A: 0xFF})
	fmt.Printf("%s: %x %v\n", c.ID(), b, err)

	var v color.RGBA
	fmt.Println(c.Decode(b, &v), v)
	fmt.Println(c.Decode(b[:2], &v))
	// Output:
	// example.com/rgb: 123456 <nil>
	// <nil> {18 52 86 255}
	// rgb: malformed encoding: 2 bytes, not 3
}

func ExampleFixed() {
	type Reading struct {
		Sensor  uint32
		Valid   bool
		_       [3]byte // fills the gap
		Samples [4]float32
	}
	c := codec.Fixed[Reading]()
	_, id, _ := strings.Cut(c.ID(), ":") // after the byte order
	fmt.Println(id)

	// A type with a pointer in it is refused, with an error that says where.
	type Named struct {
		Reading
		Name string
	}
	fmt.Println(codec.Fixed[Named]().(codec.Validator).Validate())
	// Output:
	// {Sensor uint32@0;Valid bool@4;_ [3]uint8@5;Samples [4]float32@8}#24
	// codec.Fixed: codec_test.Named.Name is a string: type cannot be placed in
	// shared memory
}

func ExampleUTF16() {
	c := codec.UTF16()

	// Memory shared with a C program, of which it uses as much as it needs.
	page := make([]byte, 4096)
	b, err := c.Append(page[:0], "Hi €")
	fmt.Printf("% x %v\n", b, err)

	var v string
	err = c.Decode(page, &v)
	fmt.Println(v, err)
	// Output:
	// 48 00 69 00 20 00 ac 20 00 00 <nil>
	// Hi € <nil>
}

func ExampleBytes() {
	c := codec.Bytes()

	// One buffer serves all values.
	var buf []byte
	for _, encoding := range []string{"first", "second"} {
		err := c.Decode([]byte(encoding), &buf)
		fmt.Printf("%s %v\n", buf, err)
	}
	// Output:
	// first <nil>
	// second <nil>
}

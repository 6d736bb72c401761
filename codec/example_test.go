package codec_test

import (
	"errors"
	"fmt"
	"image/color"
	"strings"
	"time"

	"github.com/sharedseg/sharedseg/codec"
)

// rgb encodes an opaque color as three bytes.
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

// A custom codec has three methods.
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

	// A type that contains a pointer is rejected. The error names the field.
	type Named struct {
		Reading
		Name string
	}
	err := codec.Fixed[Named]().(codec.Validator).Validate()
	reason, _, _ := strings.Cut(err.Error(), ": type")
	fmt.Println(reason)
	fmt.Println(errors.Is(err, codec.ErrType))
	// Output:
	// {Sensor uint32@0;Valid bool@4;_ [3]uint8@5;Samples [4]float32@8}#24
	// codec.Fixed: codec_test.Named.Name has type string
	// true
}

func ExampleUTF16() {
	c := codec.UTF16()

	// A page that is shared with a C program, which reads up to the terminator.
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

	// One buffer is reused for all values.
	var buf []byte
	for _, encoding := range []string{"first", "second"} {
		err := c.Decode([]byte(encoding), &buf)
		fmt.Printf("%s %v\n", buf, err)
	}
	// Output:
	// first <nil>
	// second <nil>
}

func ExampleString() {
	c := codec.String()
	b, err := c.Append(nil, "Hi €")
	fmt.Printf("% x %v\n", b, err)

	var v string
	err = c.Decode(b, &v)
	fmt.Println(v, err)
	// Output:
	// 48 69 20 e2 82 ac <nil>
	// Hi € <nil>
}

func ExampleJSON() {
	// Two versions of a program share a document.
	type Old struct {
		Tea int
	}
	type New struct {
		Tea, Coffee int
	}
	b, err := codec.JSON[New]().Append(nil, New{Tea: 3, Coffee: 4})
	fmt.Printf("%s %v\n", b, err)

	var v Old
	err = codec.JSON[Old]().Decode(b, &v)
	fmt.Printf("%+v %v\n", v, err)

	var wrong []string
	err = codec.JSON[[]string]().Decode(b, &wrong)
	fmt.Println(errors.Is(err, codec.ErrMalformed))
	// Output:
	// {"Tea":3,"Coffee":4} <nil>
	// {Tea:3} <nil>
	// true
}

func ExampleGob() {
	c := codec.Gob[map[string][]int]()
	b, err := c.Append(nil, map[string][]int{"primes": {2, 3, 5}})
	if err != nil {
		fmt.Println(err)
		return
	}
	var v map[string][]int
	err = c.Decode(b, &v)
	fmt.Println(v, err)
	// Output: map[primes:[2 3 5]] <nil>
}

func ExampleBinary() {
	c := codec.Binary[time.Time]()
	fmt.Println(c.ID())

	noon := time.Date(2000, 1, 1, 12, 0, 0, 0, time.UTC)
	b, err := c.Append(nil, noon)
	if err != nil {
		fmt.Println(err)
		return
	}
	var v time.Time
	err = c.Decode(b, &v)
	fmt.Println(v, err)
	// Output:
	// binary:time.Time
	// 2000-01-01 12:00:00 +0000 UTC <nil>
}

func ExampleOpaque() {
	// A tool without the type of a value handles its encoding as bytes.
	c := codec.Opaque("json") // for example from sharedseg.Info.Codec
	var v []byte
	err := c.Decode([]byte(`{"Tea":3}`), &v)
	fmt.Printf("%s: %s %v\n", c.ID(), v, err)
	// Output: json: {"Tea":3} <nil>
}

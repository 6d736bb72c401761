package segment_test

import (
	"context"
	"errors"
	"fmt"
	"log"

	"github.com/sharedseg/sharedseg/codec"
	"github.com/sharedseg/sharedseg/segment"
)

func Example() {
	s, err := segment.Open("example-greeting", codec.String(), nil)
	if err != nil {
		log.Fatal(err)
	}
	defer s.Close()
	if err := s.Store("hello"); err != nil {
		log.Fatal(err)
	}

	// In another process:
	other, err := segment.Attach("example-greeting", codec.String(), nil)
	if err != nil {
		log.Fatal(err)
	}
	defer other.Close()
	v, err := other.Load()
	fmt.Println(v, err, other.Version())
	// Output: hello <nil> 1
}

func ExampleSegment_Update() {
	s, err := segment.Open("example-stock", codec.JSON[map[string]int](), nil)
	if err != nil {
		log.Fatal(err)
	}
	defer s.Close()
	soldOut := errors.New("sold out")
	take := func(stock *map[string]int) error {
		if (*stock)["tea"] == 0 {
			return soldOut // nothing is published
		}
		(*stock)["tea"]--
		return nil
	}
	s.Store(map[string]int{"tea": 1})
	for range 2 {
		if err := s.Update(take); errors.Is(err, soldOut) {
			fmt.Println(err)
		}
	}
	// Output: sharedseg: update example-stock: sold out
}

func ExampleReader_Watch() {
	s, err := segment.Open("example-count", codec.Fixed[int32](), nil)
	if err != nil {
		log.Fatal(err)
	}
	defer s.Close()
	s.Store(1)

	r, err := segment.OpenReader("example-count", codec.Fixed[int32](), nil)
	if err != nil {
		log.Fatal(err)
	}
	defer r.Close()
	for v, err := range r.Watch(context.Background()) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(v)
		if v == 3 {
			break
		}
		s.Store(v + 1)
	}
	// Output:
	// 1
	// 2
	// 3
}

// On Linux, a C program would find the same string, as wchar_t of 16 bits, in
// the first bytes of /dev/shm/example-bare.
func ExampleOpenBare() {
	b, err := segment.OpenBare("example-bare", 4096, codec.UTF16(), nil)
	if err != nil {
		log.Fatal(err)
	}
	defer b.Close()
	b.Store("This is a test string")
	fmt.Println(b.Load())
	// Output: This is a test string <nil>
}

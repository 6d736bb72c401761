package segment_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"time"

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
	if err := s.Store(map[string]int{"tea": 1}); err != nil {
		log.Fatal(err)
	}

	soldOut := errors.New("sold out")
	take := func(stock *map[string]int) error {
		if (*stock)["tea"] == 0 {
			return soldOut // nothing is published
		}
		(*stock)["tea"]--
		return nil
	}
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
	if err := s.Store(1); err != nil {
		log.Fatal(err)
	}

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
		if err := s.Store(v + 1); err != nil {
			log.Fatal(err)
		}
	}
	// Output:
	// 1
	// 2
	// 3
}

// On Linux, a C program finds the same string, in units of 16 bits, at the
// beginning of /dev/shm/example-bare.
func ExampleOpenBare() {
	b, err := segment.OpenBare("example-bare", 4096, codec.UTF16(), nil)
	if err != nil {
		log.Fatal(err)
	}
	defer b.Close()
	if err := b.Store("This is a test string"); err != nil {
		log.Fatal(err)
	}
	fmt.Println(b.Load())
	// Output: This is a test string <nil>
}

func ExampleReader() {
	s, err := segment.Open("example-limit", codec.Fixed[float64](), nil)
	if err != nil {
		log.Fatal(err)
	}
	defer s.Close()
	if err := s.Store(0.75); err != nil {
		log.Fatal(err)
	}

	// In another process, which cannot change the value:
	r, err := segment.OpenReader("example-limit", codec.Fixed[float64](), nil)
	if err != nil {
		log.Fatal(err)
	}
	defer r.Close()
	limit, err := r.Load()
	fmt.Println(limit, err)
	// Output: 0.75 <nil>
}

// Wait returns the number of a new version. LoadInto returns the number with
// the value, and reuses memory.
func ExampleReader_Wait() {
	s, err := segment.Open("example-news", codec.Bytes(), nil)
	if err != nil {
		log.Fatal(err)
	}
	defer s.Close()

	var seen uint64
	buf := make([]byte, 0, segment.DefaultCapacity)
	for _, line := range []string{"first", "second"} {
		go s.Store([]byte(line))
		if _, err := s.Wait(context.Background(), seen); err != nil {
			log.Fatal(err)
		}
		if seen, err = s.LoadInto(&buf); err != nil {
			log.Fatal(err)
		}
		fmt.Printf("%d %s\n", seen, buf)
	}
	// Output:
	// 1 first
	// 2 second
}

// With more Slots, a segment is a log for any number of followers.
func ExampleReader_Follow() {
	o := &segment.Options{Slots: 4}
	s, err := segment.Open("example-log", codec.String(), o)
	if err != nil {
		log.Fatal(err)
	}
	defer s.Close()
	for _, line := range []string{"one", "two", "three", "four", "five", "six"} {
		if err := s.Store(line); err != nil {
			log.Fatal(err)
		}
	}

	for v, err := range s.Follow(context.Background(), 1) { // took version 1
		if missed, ok := errors.AsType[*segment.MissedError](err); ok {
			fmt.Println("missed", missed.First, "to", missed.Last)
			continue
		}
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(v.Number, v.Value)
		if v.Number == 6 {
			break
		}
	}
	// Output:
	// missed 2 to 2
	// 3 three
	// 4 four
	// 5 five
	// 6 six
}

// A Borrowed is a large value in place. It does not change until Release.
func ExampleReader_Borrow() {
	type Table struct{ Rows [1000]uint64 }
	s, err := segment.Open("example-table", codec.Fixed[Table](), nil)
	if err != nil {
		log.Fatal(err)
	}
	defer s.Close()
	if err := s.Store(Table{Rows: [1000]uint64{1, 2, 3}}); err != nil {
		log.Fatal(err)
	}

	b, err := s.Borrow(context.Background())
	if err != nil {
		log.Fatal(err)
	}
	if err := s.Store(Table{}); err != nil { // to another slot
		log.Fatal(err)
	}
	fmt.Println(b.Version(), b.Value().Rows[:3])
	fmt.Println(b.Release())
	// Output:
	// 1 [1 2 3]
	// <nil>
}

// A Loan is the memory of the next version, for writing a large value in place.
func ExampleSegment_Loan() {
	o := &segment.Options{Capacity: 1 << 20}
	s, err := segment.Open("example-frame", codec.Bytes(), o)
	if err != nil {
		log.Fatal(err)
	}
	defer s.Close()

	l, err := s.Loan(context.Background())
	if err != nil {
		log.Fatal(err)
	}
	defer l.Discard() // does nothing after Publish
	n := copy(l.Bytes(), "a frame of a camera")
	version, err := l.Publish(n)
	if err != nil {
		log.Fatal(err)
	}
	frame, err := s.Load()
	fmt.Printf("%d %s %v\n", version, frame, err)
	// Output: 1 a frame of a camera <nil>
}

// A context ends the wait for a process that holds the lock.
func ExampleSegment_StoreContext() {
	s, err := segment.Open("example-busy", codec.Fixed[int64](), nil)
	if err != nil {
		log.Fatal(err)
	}
	defer s.Close()
	l, err := s.Loan(context.Background()) // holds the lock
	if err != nil {
		log.Fatal(err)
	}
	defer l.Discard()

	ctx, cancel := context.WithTimeout(context.Background(), time.Millisecond)
	defer cancel()
	err = s.StoreContext(ctx, 1)
	fmt.Println(errors.Is(err, context.DeadlineExceeded))
	// Output: true
}

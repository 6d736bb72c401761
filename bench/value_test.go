package bench

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/sharedseg/sharedseg/bench/internal/harness"
	"github.com/sharedseg/sharedseg/codec"
	"github.com/sharedseg/sharedseg/internal/proctest"
	"github.com/sharedseg/sharedseg/segment"
)

func BenchmarkLoad(b *testing.B) {
	for _, s := range samples() {
		s.load(b)
	}
}

func BenchmarkStore(b *testing.B) {
	for _, s := range samples() {
		s.store(b)
	}
}

// quote has 64 bytes, without padding.
type quote struct {
	Symbol           [16]byte
	Seq, Time        uint64
	Bid, Ask         float64
	BidSize, AskSize uint32
	Volume           uint64
}

// flags has 64 bytes. Some are bools, which a codec must check.
type flags struct {
	Seq, Time uint64
	Bid, Ask  float64
	Set       [24]bool
	Open      bool
	Halted    bool
	_         [6]uint8
}

// order is a value for the encoding codecs.
type order struct {
	ID     uint64   `json:"id"`
	Symbol string   `json:"symbol"`
	Price  float64  `json:"price"`
	Venues []string `json:"venues"`
	Open   bool     `json:"open"`
}

// measurable is a sample of any type.
type measurable interface {
	load(b *testing.B)
	store(b *testing.B)
}

func samples() []measurable {
	anOrder := order{71, "SHSG", 12.75, []string{"XETR", "XLON", "XPAR"}, true}
	someFlags := flags{Seq: 71, Time: 72, Bid: 12.75, Ask: 13, Set: [24]bool{0: true, 7: true, 23: true}, Open: true}
	all := []measurable{
		fixedSample[uint64](),
		fixedSample[quote](),
		fixedSample[[4]quote](),
		fixedSample[[64]quote](),
		reusing(newSample("FixedBools", codec.Fixed[flags](), someFlags)),
		newSample("JSON", codec.JSON[order](), anOrder),
		newSample("Gob", codec.Gob[order](), anOrder),
	}
	for _, n := range []int{64, 4 << 10} {
		all = append(all,
			newSample("String", codec.String(), text(n)),
			newSample("UTF16", codec.UTF16(), text(n/2-1))) // two bytes for each character and the terminator
	}
	sizes := []int{8, 64, 256, 4 << 10, 64 << 10, 1 << 20}
	if !testing.Short() {
		sizes = append(sizes, 64<<20) // takes 192 MiB of shared memory
	}
	for _, n := range sizes {
		all = append(all, reusing(newSample("Bytes", codec.Bytes(), noise(n))))
	}
	return all
}

// A sample is a value to share.
type sample[T any] struct {
	name    string // of the codec
	codec   codec.Codec[T]
	value   T
	encoded []byte
	plain   bool // a T can be assigned to and from the mapping
	reuses  bool // LoadInto needs no new memory
}

func newSample[T any](name string, c codec.Codec[T], v T) *sample[T] {
	encoded, err := c.Append(nil, v)
	if err != nil {
		panic(err)
	}
	return &sample[T]{name: name, codec: c, value: v, encoded: encoded}
}

// reusing marks a sample for which LoadInto needs no new memory.
func reusing[T any](s *sample[T]) *sample[T] {
	s.reuses = true
	return s
}

func fixedSample[T any]() *sample[T] {
	var v T
	c := codec.Fixed[T]()
	if err := c.Decode(noise(c.(codec.Sizer).Size()), &v); err != nil {
		panic(err)
	}
	s := reusing(newSample("Fixed", c, v))
	s.plain = true
	return s
}

// noise returns n random bytes, the same ones each time.
func noise(n int) []byte {
	b := make([]byte, n)
	rand.NewChaCha8([32]byte{}).Read(b)
	return b
}

// text returns n bytes of ASCII.
func text(n int) string {
	b := noise(n)
	for i := range b {
		b[i] = 'a' + b[i]%26
	}
	return string(b)
}

// direction is the direction of a copy.
type direction int

const (
	mappingToHeap direction = iota // Load
	heapToMapping                  // Store
)

// lockReads returns the values of Options.LockReads to measure: both for 64
// bytes, where the cost of a lock is largest.
func (s *sample[T]) lockReads() []bool {
	if len(s.encoded) == 64 {
		return []bool{false, true}
	}
	return []bool{false}
}

func (s *sample[T]) run(b *testing.B, impl, more string, f func(b *testing.B)) {
	name := fmt.Sprintf("impl=%s/codec=%s/size=%s%s", impl, s.name, harness.SizeName(len(s.encoded)), more)
	harness.Run(b, name, len(s.encoded), f)
}

// runSegment runs f with a segment that has the value in each slot. The first
// store to a slot would be slow, and Loan does not clear the slot.
func (s *sample[T]) runSegment(b *testing.B, call string, lockReads bool, f func(*testing.B, *segment.Segment[T])) {
	s.run(b, "segment", "/call="+call+readsKey(lockReads)+faultKey, func(b *testing.B) {
		o := &segment.Options{Capacity: len(s.encoded), LockReads: lockReads}
		seg := open(b, proctest.Name(b), s.codec, o)
		for range segment.DefaultSlots {
			harness.Must(b, seg.Store(s.value)) // puts the value in each slot
		}
		f(b, seg)
	})
}

func (s *sample[T]) load(b *testing.B) {
	for _, lockReads := range s.lockReads() {
		if s.name != "Bytes" { // Load of Bytes would measure make
			s.runSegment(b, "Load", lockReads, func(b *testing.B, seg *segment.Segment[T]) {
				v, err := new(T), error(nil)
				for b.Loop() {
					if *v, err = seg.Load(); err != nil {
						b.Fatal(err)
					}
				}
				s.check(b, *v)
			})
		}
		if s.reuses {
			s.runSegment(b, "LoadInto", lockReads, func(b *testing.B, seg *segment.Segment[T]) {
				v := new(T)
				_, err := seg.LoadInto(v) // allocates the memory that is reused
				harness.Must(b, err)
				for b.Loop() {
					if _, err := seg.LoadInto(v); err != nil {
						b.Fatal(err)
					}
				}
				s.check(b, *v)
			})
		}
	}
	if s.name == "Bytes" {
		s.runSegment(b, "Borrow", false, func(b *testing.B, seg *segment.Segment[T]) {
			b.SetBytes(0) // nothing is copied
			ctx := context.Background()
			for b.Loop() {
				borrowed, err := seg.Borrow(ctx)
				if err != nil {
					b.Fatal(err)
				}
				if err := borrowed.Release(); err != nil {
					b.Fatal(err)
				}
			}
			borrowed, err := seg.Borrow(ctx)
			harness.Must(b, err)
			s.checkBytes(b, borrowed.Bytes())
			harness.Must(b, borrowed.Release())
		})
	}
	if !s.reuses {
		s.run(b, "codec", "", func(b *testing.B) {
			v := new(T)
			for b.Loop() {
				if err := s.codec.Decode(s.encoded, v); err != nil {
					b.Fatal(err)
				}
			}
			s.check(b, *v)
		})
	}
	s.baselines(b, mappingToHeap)
}

func (s *sample[T]) store(b *testing.B) {
	for _, lockReads := range s.lockReads() {
		s.runSegment(b, "Store", lockReads, func(b *testing.B, seg *segment.Segment[T]) {
			v := &s.value
			for b.Loop() {
				if err := seg.Store(*v); err != nil {
					b.Fatal(err)
				}
			}
			stored, err := seg.Load()
			harness.Must(b, err)
			s.check(b, stored)
		})
	}
	if s.name == "Bytes" {
		s.runSegment(b, "Loan", false, func(b *testing.B, seg *segment.Segment[T]) {
			b.SetBytes(0) // nothing is copied
			ctx := context.Background()
			for b.Loop() {
				loan, err := seg.Loan(ctx)
				if err != nil {
					b.Fatal(err)
				}
				if _, err := loan.Publish(len(s.encoded)); err != nil {
					b.Fatal(err)
				}
			}
			stored, err := seg.Load()
			harness.Must(b, err)
			s.check(b, stored)
		})
	}
	if !s.reuses {
		s.run(b, "codec", "", func(b *testing.B) {
			buf, err := slices.Clone(s.encoded), error(nil)
			for b.Loop() {
				if buf, err = s.codec.Append(buf[:0], s.value); err != nil {
					b.Fatal(err)
				}
			}
			s.checkBytes(b, buf)
		})
	}
	s.baselines(b, heapToMapping)
}

// check fails the benchmark if v is not the sample's value.
func (s *sample[T]) check(b *testing.B, v T) {
	b.Helper()
	encoded, err := s.codec.Append(nil, v)
	harness.Must(b, err)
	s.checkBytes(b, encoded)
}

func (s *sample[T]) checkBytes(b *testing.B, encoded []byte) {
	b.Helper()
	if !bytes.Equal(encoded, s.encoded) {
		b.Fatalf("a value of %d bytes arrived as %d other bytes", len(s.encoded), len(encoded))
	}
}

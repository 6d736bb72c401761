package bench

import (
	"bytes"
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

// quote is 64 bytes, without gaps.
type quote struct {
	Symbol           [16]byte
	Seq, Time        uint64
	Bid, Ask         float64
	BidSize, AskSize uint32
	Volume           uint64
}

// order is something to be encoded.
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
	all := []measurable{
		fixedSample[uint64](),
		fixedSample[quote](),
		fixedSample[[4]quote](),
		fixedSample[[64]quote](),
		newSample("JSON", codec.JSON[order](), anOrder),
		newSample("Gob", codec.Gob[order](), anOrder),
	}
	for _, n := range []int{64, 4 << 10} {
		all = append(all,
			newSample("String", codec.String(), text(n)),
			newSample("UTF16", codec.UTF16(), text(n/2-1))) // two bytes each, and the terminator
	}
	for _, n := range []int{8, 64, 256, 4 << 10, 64 << 10, 1 << 20} {
		all = append(all, newSample("Bytes", codec.Bytes(), noise(n)))
	}
	return all
}

// A sample is a value to be shared.
type sample[T any] struct {
	name    string // of the codec
	codec   codec.Codec[T]
	value   T
	encoded []byte
	plain   bool // a T may be assigned to and from the mapping
	reuses  bool // LoadInto needs no new memory
}

func newSample[T any](name string, c codec.Codec[T], v T) *sample[T] {
	encoded, err := c.Append(nil, v)
	if err != nil {
		panic(err)
	}
	_, isBytes := any(v).([]byte)
	plain := codec.Plain(c)
	return &sample[T]{name, c, v, encoded, plain, plain || isBytes}
}

func fixedSample[T any]() *sample[T] {
	var v T
	c := codec.Fixed[T]()
	if err := c.Decode(noise(c.(codec.Sized).Size()), &v); err != nil {
		panic(err)
	}
	return newSample("Fixed", c, v)
}

// noise is n bytes, the same ones each time.
func noise(n int) []byte {
	b := make([]byte, n)
	rand.NewChaCha8([32]byte{}).Read(b)
	return b
}

// text is n bytes of ASCII.
func text(n int) string {
	b := noise(n)
	for i := range b {
		b[i] = 'a' + b[i]%26
	}
	return string(b)
}

// direction is that of a copy.
type direction int

const (
	mappingToHeap direction = iota // Load
	heapToMapping                  // Store
)

// mode is what a user chooses besides the codec.
type mode struct {
	guard      segment.Guard
	faultGuard bool
}

// modes are all there are for values of 64 bytes, of which they take the largest part; else the default one and, beside
// a mere copy, that without the fault guard.
func (s *sample[T]) modes() []mode {
	modes := []mode{{segment.SeqLock, true}}
	if s.reuses || len(s.encoded) == 64 {
		modes = append(modes, mode{segment.SeqLock, false})
	}
	if len(s.encoded) == 64 {
		modes = append(modes, mode{segment.Mutex, true}, mode{segment.Mutex, false})
	}
	return modes
}

func (s *sample[T]) run(b *testing.B, impl, more string, f func(b *testing.B)) {
	name := fmt.Sprintf("impl=%s/codec=%s/size=%s%s", impl, s.name, sizeName(len(s.encoded)), more)
	harness.Run(b, name, len(s.encoded), f)
}

// runSegment runs f with a segment that holds the value.
func (s *sample[T]) runSegment(b *testing.B, call string, m mode, f func(b *testing.B, seg *segment.Segment[T])) {
	more := fmt.Sprintf("/call=%s/guard=%v/fault=%s", call, m.guard, onOff(m.faultGuard))
	s.run(b, "segment", more, func(b *testing.B) {
		o := &segment.Options{Capacity: len(s.encoded), Guard: m.guard, NoFaultGuard: !m.faultGuard}
		seg := open(b, proctest.Name(b), s.codec, o)
		harness.Must(b, seg.Store(s.value))
		f(b, seg)
	})
}

func (s *sample[T]) load(b *testing.B) {
	for _, m := range s.modes() {
		if s.plain || !s.reuses {
			s.runSegment(b, "Load", m, func(b *testing.B, seg *segment.Segment[T]) {
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
			s.runSegment(b, "LoadInto", m, func(b *testing.B, seg *segment.Segment[T]) {
				v := new(T)
				_, err := seg.LoadInto(v) // makes the room that is used again
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
	for _, m := range s.modes() {
		s.runSegment(b, "Store", m, func(b *testing.B, seg *segment.Segment[T]) {
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
		b.Fatalf("%d bytes arrived as %d others", len(s.encoded), len(encoded))
	}
}

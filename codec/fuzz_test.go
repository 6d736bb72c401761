package codec_test

import (
	"bytes"
	"errors"
	"math"
	"net/netip"
	"runtime"
	"runtime/metrics"
	"sync"
	"sync/atomic"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/sharedseg/sharedseg/codec"
)

// A hostility specifies what a codec must guarantee for bytes of any origin, in
// addition to the checks of fuzzDecode.
type hostility[T any] struct {
	codec codec.Codec[T]
	// bound returns how much memory Decode may allocate for n bytes.
	bound func(n int) int
	// lossy means that T has values, decoded from unusual bytes, whose encoding
	// differs from those bytes or does not exist.
	lossy bool
	seeds []T
}

// proportional returns the bound of a codec that allocates up to factor bytes
// for each input byte, and a constant amount, such as for a scanner or an
// error.
func proportional(factor int) func(int) int {
	return func(n int) int { return factor*n + 4096 }
}

func FuzzHostileString(f *testing.F) {
	hostility[string]{codec: codec.String(), bound: proportional(2), seeds: []string{"", "text", "\xff\x00"}}.fuzz(f)
}

func FuzzHostileUTF16(f *testing.F) {
	hostility[string]{codec: codec.UTF16(), bound: proportional(2), seeds: []string{"", "text", "日本🎈", "\uFFFD"}}.fuzz(f)
}

func FuzzHostileBytes(f *testing.F) {
	hostility[[]byte]{codec: codec.Bytes(), bound: proportional(2), seeds: [][]byte{nil, {0}, []byte("bytes")}}.fuzz(f)
}

func FuzzHostileFixed(f *testing.F) {
	hostility[flags]{codec: codec.Fixed[flags](), bound: proportional(0), seeds: []flags{{}, {B: true, N: 1}}}.fuzz(f)
}

func FuzzHostileJSON(f *testing.F) {
	hostility[document]{
		codec: codec.JSON[document](), bound: proportional(256),
		seeds: []document{{}, {Name: "a\u2028\x00", Tags: map[string]int{"": -1, "b": math.MaxInt}, Next: &document{}}},
	}.fuzz(f)
}

// FuzzHostileJSONAny tests the documents that take the most memory for their
// length.
func FuzzHostileJSONAny(f *testing.F) {
	f.Add(bytes.Repeat([]byte("["), 12000)) // deeper than encoding/json goes
	f.Add([]byte(`[[],{},[{"":[0,1e308,-0.0]}],"\ud800",null,{"a":{},"a":[]}]`))
	hostility[any]{codec: codec.JSON[any](), bound: proportional(256), seeds: []any{nil, "s", 1.5, true, []any{map[string]any{"k": 1}}}}.fuzz(f)
}

func FuzzHostileBinary(f *testing.F) {
	hostility[netip.AddrPort]{
		codec: codec.Binary[netip.AddrPort](), bound: proportional(8),
		seeds: []netip.AddrPort{{}, netip.MustParseAddrPort("10.0.0.1:1"), netip.MustParseAddrPort("[fe80::1%eth0]:80")},
	}.fuzz(f)
}

// FuzzHostileTime uses a type that decodes times in zones that are too far off
// to be encoded. It also does not read the seconds of a zone west of UTC as it
// wrote them.
func FuzzHostileTime(f *testing.F) {
	hostility[time.Time]{
		codec: codec.Binary[time.Time](), bound: proportional(2), lossy: true,
		seeds: []time.Time{{}, time.Unix(1, 2).UTC(), time.Unix(1<<40, 0).In(time.FixedZone("", -3723))},
	}.fuzz(f)
}

// FuzzHostileGob has no bound: encoding/gob makes a map as large as the stream
// declares, and a slice of up to 10 MiB before it sees an element. That is why
// Gob is for processes that trust each other. Even so it must not crash or keep
// its input. The type has no maps and inputs are short, because the fuzzer
// would otherwise find only declared sizes.
func FuzzHostileGob(f *testing.F) {
	type node struct {
		Name string
		List []int
		Next *node
	}
	hostility[node]{codec: codec.Gob[node](), seeds: []node{{}, {Name: "a", List: []int{1, -1}, Next: &node{Name: "b"}}}}.fuzz(f)
}

func (h hostility[T]) fuzz(f *testing.F) {
	for _, v := range h.seeds {
		b, err := h.codec.Append(nil, v)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
		f.Add(b[:len(b)/2])
		f.Add(append(bytes.Clone(b), b...))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		if h.bound == nil && len(in) > 4096 {
			return
		}
		b := bytes.Clone(in)
		var v T
		before := allocated()
		err := h.codec.Decode(b, &v)
		if taken := allocated() - before; h.bound != nil && taken > uint64(h.bound(len(b))) {
			h.checkMemory(t, b)
		}
		if !bytes.Equal(b, in) {
			t.Fatalf("Decode changed its input from %x to %x", in, b)
		}
		if err != nil {
			if !errors.Is(err, codec.ErrMalformed) {
				t.Errorf("Decode(%x): %v, which does not wrap ErrMalformed", b, err)
			}
			return
		}
		first, err := h.codec.Append(nil, v)
		if err != nil {
			if !h.lossy || !errors.Is(err, codec.ErrInvalid) {
				t.Errorf("Append of what was decoded from %x: %v", b, err)
			}
			return
		}
		// The decoded value must not change when b is overwritten.
		for i := range b {
			b[i] ^= 0x55
		}
		second, err := h.codec.Append(nil, v)
		if err != nil || !bytes.Equal(first, second) {
			t.Errorf("decoded from %x, and encoded as %x; when the bytes had changed, as %x, %v", in, first, second, err)
		}
		var again T
		if err := h.codec.Decode(first, &again); err != nil {
			t.Fatalf("Decode(%x), encoded from what %x is decoded as: %v", first, in, err)
		}
		third, err := h.codec.Append(nil, again)
		if !h.lossy && (err != nil || !bytes.Equal(first, third)) {
			t.Errorf("decoded from %x, and encoded as %x; that decoded and encoded is %x, %v", in, first, third, err)
		}
	})
}

// checkMemory decodes again and measures exactly what allocated estimates. It
// uses the minimum of several measurements, because the runtime and the tests
// allocate too.
func (h hostility[T]) checkMemory(t *testing.T, b []byte) {
	taken := uint64(math.MaxUint64)
	for range 5 {
		var before, after runtime.MemStats
		var v T
		runtime.ReadMemStats(&before)
		h.codec.Decode(b, &v)
		runtime.ReadMemStats(&after)
		taken = min(taken, after.TotalAlloc-before.TotalAlloc)
	}
	if taken > uint64(h.bound(len(b))) {
		t.Errorf("Decode of %d bytes took %d bytes of memory, more than %d", len(b), taken, h.bound(len(b)))
	}
}

// allocated returns how much memory the process has allocated in total. The
// call is fast. It counts large blocks exactly, and small ones with a delay.
func allocated() uint64 {
	sample := samples.Get().(*[1]metrics.Sample)
	defer samples.Put(sample)
	metrics.Read(sample[:])
	return sample[0].Value.Uint64()
}

var samples = sync.Pool{New: func() any { return &[1]metrics.Sample{{Name: "/gc/heap/allocs:bytes"}} }}

// FuzzInPlaceChanging decodes bytes that alternate between two inputs while the
// codecs read them in place. Under -race they change between the calls.
func FuzzInPlaceChanging(f *testing.F) {
	f.Add([]byte("a\x00b\x00c\x00d\x00"), []byte("\x3C\xD8\x88\xDF\x3C\xD8\x88\xDF"))
	f.Add(bytes.Repeat([]byte("a\x00"), 200), bytes.Repeat([]byte("\xFF\x2F"), 200))
	f.Add(make([]byte, 36), bytes.Repeat([]byte{1}, 36))
	f.Add(make([]byte, 36), bytes.Repeat([]byte{2}, 36))
	f.Add([]byte{}, []byte{1})
	text, wide, raw := inPlace(codec.String()), inPlace(codec.UTF16()), inPlace(codec.Bytes())
	fixed := codec.Fixed[flags]()
	f.Fuzz(func(t *testing.T, a, b []byte) {
		n := max(len(a), len(b))
		images := [2][]byte{make([]byte, n), make([]byte, n)}
		copy(images[0], a)
		copy(images[1], b)
		mem := bytes.Clone(images[0])

		var stop atomic.Bool
		var peer sync.WaitGroup
		defer peer.Wait()
		defer stop.Store(true)
		if !raceEnabled {
			peer.Go(func() {
				for i := 1; !stop.Load(); i++ {
					for at := 0; at < n; at += 6 {
						copy(mem[at:min(at+6, n)], images[i%2][at:])
					}
				}
			})
		}
		for i := range 4 {
			if raceEnabled {
				copy(mem, images[i%2])
			}
			var s, w string
			var r []byte
			if err := errors.Join(text.DecodeInPlace(mem, &s), wide.DecodeInPlace(mem, &w), raw.DecodeInPlace(mem, &r)); err != nil {
				t.Fatal(err)
			}
			if len(s) != n || len(r) != n || len(w) > n*3/2 || !utf8.ValidString(w) {
				t.Fatalf("decoded %d, %d and %d bytes from %d", len(s), len(r), len(w), n)
			}
			v := flags{A: true, N: 7}
			if err := inPlace(fixed).DecodeInPlace(mem, &v); err != nil {
				if !errors.Is(err, codec.ErrMalformed) || v != (flags{}) {
					t.Fatalf("Decode = %v, and stored %v", err, v)
				}
				continue
			}
			// A bool that is neither 0 nor 1 would not decode.
			enc, err := fixed.Append(nil, v)
			if err != nil {
				t.Fatal(err)
			}
			if err := fixed.Decode(enc, &v); err != nil {
				t.Fatalf("Decode stored an invalid bool: %v", err)
			}
		}
	})
}

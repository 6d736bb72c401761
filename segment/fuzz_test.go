//go:build unix && !aix

package segment_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math"
	"math/bits"
	"os"
	"runtime/debug"
	"runtime/metrics"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sharedseg/sharedseg/codec"
	"github.com/sharedseg/sharedseg/internal/proctest"
	"github.com/sharedseg/sharedseg/segment"
	"golang.org/x/sys/unix"
)

// The input of these fuzz targets is a script. It consists of calls of this
// library and of patches, which a hostile peer writes into the memory between
// or during the calls. A patch names a field of the format, so that few bytes
// of input reach far.

const (
	fuzzCapacity = 192
	brief        = time.Millisecond // after which the context of a call is done
	patience     = 30 * time.Second // much longer than any script takes on a loaded machine
	mutexOff     = 128              // of the format
	versionOff   = 192
	counterOff   = 256
	memberOff    = 320
	memberSize   = 8
	textOff      = 8512
	slotHeader   = 64
)

// A script is read from its front. After its end it has any number of zeros.
type script []byte

func (s *script) byte() (b byte) {
	if len(*s) > 0 {
		b, *s = (*s)[0], (*s)[1:]
	}
	return b
}

func (s *script) uint(n int) (v uint64) {
	for i := range n {
		v |= uint64(s.byte()) << (8 * i)
	}
	return v
}

// fields are the places that a patch can name in a mapping.
type fields struct {
	wait, page, slotArea, stride, slots, size int
	idents                                    []uint32 // owners that are alive
}

func fieldsOf(image []byte) *fields {
	u64 := func(off int) int { return int(binary.NativeEndian.Uint64(image[off:])) }
	return &fields{
		wait: u64(64), page: int(binary.NativeEndian.Uint32(image[72:])), slotArea: u64(56), stride: u64(48), slots: int(binary.NativeEndian.Uint32(image[28:])), size: len(image),
	}
}

// A patch64 is one write of a peer.
type patch64 struct {
	off, width int
	value      uint64
	add        bool // to the present value
}

func (p *patch64) apply(mem []byte) {
	b := mem[p.off : p.off+p.width]
	var v [8]byte
	if copy(v[:], b); p.add {
		binary.NativeEndian.PutUint64(v[:], binary.NativeEndian.Uint64(v[:])+p.value)
	} else {
		binary.NativeEndian.PutUint64(v[:], p.value)
	}
	copy(b, v[:])
}

// patch reads a patch. Its first byte tells where it goes, how wide it is and
// where its value comes from.
func (s *script) patch(f *fields) patch64 {
	b := s.byte()
	p := patch64{width: 1 << (b >> 3 & 3)}
	switch b & 7 {
	case 0:
		p.off = int(s.byte()) % 128 &^ (p.width - 1)
	case 1:
		p.off, p.width = mutexOff, 4
	case 2: // begin and end, or a counter
		word := int(s.byte())
		if p.off, p.width = versionOff+8*(word&1), 8; word >= 128 {
			p.off = counterOff + 8*(word&7)
		}
	case 3: // a generation or a process ID
		word := int(s.byte())
		if word >= 128 { // most handles in a test have a low slot
			word = (word<<4 | int(s.byte())) % 2048
		}
		p.off, p.width = memberOff+4*word, 4
	case 4:
		p.off = textOff + int(s.byte())
	case 5: // of the wait page: the watchers' flag, an event count, which rows are used, a row
		switch p.off, p.width = f.wait, 4; b >> 3 & 3 {
		case 1:
			p.off += 64 + int(s.byte())%3*64
		case 2:
			p.off, p.width = p.off+768+int(s.byte())%17*8, 8
		case 3:
			bit := int(s.byte()) % 16 // of a low member slot
			p.off, p.width = p.off+f.page+8*int(bits.Reverse16(uint16(bit))>>6), 8
		}
	case 6, 7:
		p.off = f.slotArea
		slot := int(s.byte())
		if f.slots > 0 {
			p.off += slot % f.slots * f.stride
		}
		if b&7 == 6 { // the length, the version, or the version before it
			p.width = 8
			p.off += []int{16, 16, 0, 8}[slot>>6]
		} else {
			p.off += slotHeader + int(s.byte())
		}
	}
	p.off = min(p.off, f.size-8)
	switch b >> 5 {
	case 0, 1, 2, 3:
		p.value = s.uint(p.width)
	case 4, 5:
		values := []uint64{
			0, 1, 2, fuzzCapacity, fuzzCapacity + 1, 64, 4096, uint64(f.size), math.MaxInt32, 1 << 31, 1 << 30, math.MaxUint32,
			math.MaxInt64, 1 << 63, math.MaxUint64, math.MaxUint64 - 1,
		}
		p.value = values[int(s.byte())%len(values)]
	case 6:
		p.value, p.add = uint64(int64(int8(s.byte()))), true
	case 7:
		if len(f.idents) > 0 {
			v := s.byte()
			p.value = uint64(f.idents[int(v)%len(f.idents)]) | uint64(v&0xC0)<<24
		}
	}
	return p
}

// tmpfs returns a directory for the target, in memory if possible, so that the
// kernel has little to do.
func tmpfs(f *testing.F) string {
	dir, err := os.MkdirTemp("/dev/shm", "sharedseg-fuzz")
	if err != nil {
		return proctest.TempDir(f)
	}
	f.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// watched runs a script. If the script hangs, the process panics. If the script
// allocates out of proportion to the segment, the test fails.
func watched(t *testing.T, run func()) {
	t.Helper()
	dog := time.AfterFunc(patience, func() {
		debug.SetTraceback("all")
		panic("the script hangs")
	})
	defer dog.Stop()
	before := allocated()
	run()
	if taken := allocated() - before; taken > 8<<20 {
		t.Fatalf("the script allocated %d bytes", taken)
	}
}

func allocated() uint64 {
	sample := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}}
	metrics.Read(sample)
	return sample[0].Value.Uint64()
}

// expect ends the test unless err is nil or matches one of targets.
func expect(t *testing.T, what string, err error, targets ...error) {
	t.Helper()
	if err == nil {
		return
	}
	for _, target := range targets {
		if errors.Is(err, target) {
			return
		}
	}
	t.Fatalf("%s: %v", what, err)
}

// A hostile peer cannot make a fixedPoint invalid. It can make a toggled
// invalid.
type fixedPoint struct {
	N    uint64
	Data [8]uint64
}

type toggled struct {
	On   bool
	N    uint32
	Rows [6]bool
}

// fresh creates a segment where there is none, and uses it.
func fresh(t *testing.T, name string, o *segment.Options) {
	t.Helper()
	s, err := segment.Create(name, codec.Fixed[fixedPoint](), o)
	must(t, err)
	err = s.Store(fixedPoint{N: 3})
	v, e := s.Load()
	if err := errors.Join(err, e, s.Close()); err != nil || v.N != 3 {
		t.Fatalf("%d, %v", v.N, err)
	}
}

// memory is the peer's mapping of a file, and the content of the file before
// the first script.
type memory struct {
	*fields
	file *os.File
	mem  []byte
	good []byte
}

func mapped(f *testing.F, path string, handles int) *memory {
	file, err := os.OpenFile(path, os.O_RDWR, 0)
	must(f, err)
	f.Cleanup(func() { file.Close() })
	st, err := file.Stat()
	must(f, err)
	mem, err := unix.Mmap(int(file.Fd()), 0, int(st.Size()), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	must(f, err)
	f.Cleanup(func() { unix.Munmap(mem) })
	m := &memory{fields: fieldsOf(mem), file: file, mem: mem, good: bytes.Clone(mem)}
	for slot := range uint32(handles) {
		m.idents = append(m.idents, binary.NativeEndian.Uint32(mem[memberOff+memberSize*slot:])<<10|slot)
	}
	return m
}

// still returns the bytes that no call has a reason to write once the segment
// exists.
func (m *memory) still() []byte {
	b := append([]byte(nil), m.mem[:96]...) // the rotor is next
	b = append(b, m.mem[100:mutexOff]...)
	b = append(b, m.mem[mutexOff+8:versionOff]...)
	b = append(b, m.mem[versionOff+16:counterOff]...)
	b = append(b, m.mem[counterOff+24:memberOff]...) // without the counters that are used
	return append(b, m.mem[textOff:textOff+256]...)
}

// scribble takes the first patches from a script and writes them again and
// again until stop is called.
func (m *memory) scribble(s *script) (stop func()) {
	var patches []patch64
	for range 1 + s.byte()&7 {
		patches = append(patches, s.patch(m.fields))
	}
	var stopped atomic.Bool
	var peer sync.WaitGroup
	peer.Go(func() {
		for !stopped.Load() {
			for _, p := range patches {
				p.apply(m.mem)
			}
		}
	})
	return func() {
		stopped.Store(true)
		peer.Wait()
	}
}

//go:build unix && !aix

package segment_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"math/bits"
	"os"
	"path/filepath"
	"runtime/debug"
	"runtime/metrics"
	"sync"
	"sync/atomic"
	"testing"
	"time"
	"unsafe"

	"github.com/sharedseg/sharedseg"
	"github.com/sharedseg/sharedseg/codec"
	"github.com/sharedseg/sharedseg/internal/proctest"
	"github.com/sharedseg/sharedseg/segment"
	"github.com/sharedseg/sharedseg/sync"
	"golang.org/x/sys/unix"
)

// What a fuzzer gives to the targets here is a script: calls of this library,
// and patches, which are what a hostile peer writes into the memory between the
// calls or beside them. A patch names a field of the format, so that few bytes
// lead far.

const (
	fuzzCapacity = 192
	brief        = time.Millisecond // until a call's context is done
	patience     = 30 * time.Second // what takes longer hangs: a loaded machine is slow, but not that slow
	mutexOff     = 128              // of the format
	versionOff   = 192
	counterOff   = 256
	memberOff    = 320
	memberSize   = 8
	textOff      = 8512
	slotHeader   = 64
)

// script is read from its front. A script that is used up has any number of
// zeros left.
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

// fields are the places that a patch can have, in a mapping of one geometry.
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

// A patch is what a peer writes at one stroke.
type patch64 struct {
	off, width int
	value      uint64
	add        bool // to what is there
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

// patch reads a patch. Its first byte says where it goes, how wide it is and
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
		if word >= 128 { // most handles of a test have a low slot
			word = (word<<4 | int(s.byte())) % 2048
		}
		p.off, p.width = memberOff+4*word, 4
	case 4:
		p.off = textOff + int(s.byte())
	case 5: // of the wait page: the watchers' flag, an event count, who has a row, a row
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
		if b&7 == 6 { // the length, the version, or that before it
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

// tmpfs is a directory of the target's own, in memory where there is any: the
// kernel then does little but map.
func tmpfs(f *testing.F) string {
	dir, err := os.MkdirTemp("/dev/shm", "sharedseg-fuzz")
	if err != nil {
		return proctest.TempDir(f)
	}
	f.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// watched runs a script and ends the process if that hangs. It fails the test
// if the script takes memory out of all proportion to what there is.
func watched(t *testing.T, run func()) {
	t.Helper()
	dog := time.AfterFunc(patience, func() {
		debug.SetTraceback("all")
		panic("hangs")
	})
	defer dog.Stop()
	before := allocated()
	run()
	if taken := allocated() - before; taken > 8<<20 {
		t.Fatalf("took %d bytes of memory", taken)
	}
}

func allocated() uint64 {
	sample := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}}
	metrics.Read(sample)
	return sample[0].Value.Uint64()
}

// expect fails the test unless err is nil or one of those.
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

// fixedPoint is what a hostile peer cannot make an invalid value of; toggled is
// what it can.
type fixedPoint struct {
	N    uint64
	Data [8]uint64
}

type toggled struct {
	On   bool
	N    uint32
	Rows [6]bool
}

// FuzzAttach opens files that are no segment's, or one's that somebody patched.
func FuzzAttach(f *testing.F) {
	dir := tmpfs(f)
	o := &segment.Options{Dir: dir, Persist: true, Capacity: fuzzCapacity}
	look := &segment.Options{Dir: dir}
	path := filepath.Join(dir, "x")
	images := [][]byte{
		imageOf(f, codec.String(), "text", o),
		imageOf(f, codec.Fixed[fixedPoint](), fixedPoint{N: 1}, o),
		imageOf(f, codec.Fixed[toggled](), toggled{On: true}, o),
		imageOf(f, codec.JSON[any](), any([]any{1.5, "a"}), &segment.Options{
			Dir: dir, Persist: true, Capacity: fuzzCapacity, LockReads: true, Slots: 2,
		}),
		imageOfMutex(f, dir),
	}
	for i := range images {
		f.Add(uint8(i), []byte{})
		f.Add(uint8(i), []byte{1, 0x81, 9})                        // held by a dead owner
		f.Add(uint8(i), []byte{1, 0x98, 40, 4})                    // a larger capacity
		f.Add(uint8(i), []byte{1, 0x9E, 0, 14, 1, 0x9A, 1, 12})    // long values, high counters
		f.Add(uint8(i), []byte{1, 0x93, 0, 11, 1, 0x90, 96, 11})   // generations, rotor
		f.Add(uint8(i), []byte{1, 0x93, 1, 11, 1, 0x9A, 128, 14})  // process IDs, counters
		f.Add(uint8(i), []byte{1, 0x9E, 128, 14, 1, 0x9E, 129, 0}) // versions of slots
		f.Add(uint8(i), []byte{1, 0x90, 8, 1})                     // format 1
		f.Add(uint8(i), []byte{2, 0xFF, 0, 2, 0, 0x10, 0})         // truncated, grown
		f.Add(uint8(i), []byte{3, 2, 0, 0, 0, 3, 16, 0, 0x80, 0})  // other geometries
		f.Add(uint8(i), []byte{3, 0, 1, 200, 0, 1, 0x0C, 76, 255}) // and long texts
		f.Add(uint8(i), []byte{1, 0, 8, 0})                        // not ready
		f.Add(uint8(i), []byte{1, 0x10, 20, 0, 0, 0, 0})           // not there to persist
	}
	f.Add(uint8(255), []byte("some text"))
	f.Add(uint8(255), []byte{})
	f.Fuzz(func(t *testing.T, base uint8, s []byte) {
		var image []byte
		if kind := int(base & 0x3F); kind < len(images) {
			image = patched(images[kind], s)
		} else {
			image = s
		}
		if err := os.WriteFile(path, image, 0o600); err != nil {
			t.Fatal(err)
		}
		watched(t, func() {
			for _, err := range sharedseg.List(look.Place()) {
				expect(t, "List", err, sharedseg.ErrCorrupt)
			}
			info, err := sharedseg.Stat("x", look.Place())
			expect(t, "Stat", err, sharedseg.ErrCorrupt, sharedseg.ErrIncompatible, fs.ErrNotExist)
			if err == nil && (info.Size != int64(len(image)) || info.Capacity > info.Size || info.Slots > len(image)) {
				t.Fatalf("%+v in %d bytes", info, len(image))
			}
			attach(t, codec.String(), "s", look, func(v string) int { return len(v) })
			attach(t, codec.Fixed[fixedPoint](), fixedPoint{N: 2}, look, nil)
			attach(t, codec.Fixed[toggled](), toggled{On: true}, look, func(v toggled) int {
				if fmt.Sprint(v.On, v.Rows) == "" { // a bool that is none breaks what prints it
					return math.MaxInt
				}
				return 0
			})
			attach(t, codec.JSON[any](), any("s"), look, func(v any) int { s, _ := v.(string); return len(s) / 3 })
			attachMutex(t, dir)
			b, err := segment.OpenBare("x", 64, codec.String(), o)
			expect(t, "OpenBare", err, sharedseg.ErrIncompatible)
			if err == nil {
				v, err := b.Load()
				if err != nil || len(v) != 64 {
					t.Fatalf("%d bytes, %v", len(v), err)
				}
				expect(t, "Close", b.Close())
			}
			_, err = sharedseg.Sweep(look.Place())
			expect(t, "Sweep", err)
			// Whatever was there, the name can be had.
			err = sharedseg.Remove("x", look.Place())
			expect(t, "Remove", err, fs.ErrNotExist, sharedseg.ErrIncompatible)
			if errors.Is(err, sharedseg.ErrIncompatible) {
				expect(t, "RemoveBare", segment.RemoveBare("x", look))
			}
			fresh(t, "x", look)
		})
	})
}

// imageOf is the file of a segment that was used and closed.
func imageOf[T any](f *testing.F, c codec.Codec[T], v T, o *segment.Options) []byte {
	s, err := segment.Open("image", c, o)
	if err == nil {
		err = errors.Join(s.Store(v), s.Store(v), s.Close())
	}
	return fileOf(f, o.Dir, err)
}

func imageOfMutex(f *testing.F, dir string) []byte {
	m, err := ipcsync.OpenMutex("image", &ipcsync.Options{Dir: dir, Persist: true})
	if err == nil {
		err = m.Close()
	}
	return fileOf(f, dir, err)
}

func fileOf(f *testing.F, dir string, err error) []byte {
	b, e := os.ReadFile(filepath.Join(dir, "image"))
	if err := errors.Join(err, e, sharedseg.Remove("image", &sharedseg.Place{Dir: dir})); err != nil {
		f.Fatal(err)
	}
	return b
}

// patched makes what a script says of the image of a file.
func patched(image []byte, s script) []byte {
	image = bytes.Clone(image)
	at := fieldsOf(image)
	for len(s) > 0 {
		switch op := s.byte() & 3; op {
		case 0, 1:
			if len(image) >= textOff+1024 {
				at.size = len(image)
				p := s.patch(at)
				p.apply(image)
			}
		case 2: // another length
			n := int(s.uint(2))
			if n < len(image) {
				image = image[:n]
			} else {
				image = append(image, make([]byte, n-len(image))...)
			}
		case 3: // another geometry, in which all is as it should be
			slots, capacity := max(s.uint(2)%512, 2), s.uint(2)%2048
			if len(image) < textOff || at.wait == 0 {
				continue
			}
			stride := slotHeader + (capacity+63)/64*64
			page := uint64(binary.NativeEndian.Uint32(image[72:]))
			if page < 1024 || page > 1<<16 {
				continue
			}
			size := (uint64(at.slotArea) + slots*stride + page - 1) / page * page
			if size > 1<<18 {
				continue
			}
			binary.NativeEndian.PutUint32(image[28:], uint32(slots))
			binary.NativeEndian.PutUint64(image[32:], size)
			binary.NativeEndian.PutUint64(image[40:], capacity)
			binary.NativeEndian.PutUint64(image[48:], stride)
			image = append(image, make([]byte, max(int(size)-len(image), 0))...)[:size]
			at.slots, at.stride = int(slots), int(stride)
		}
	}
	return image
}

// attach opens the file for writing and for reading, and uses it. size is how
// long a value is at least that was decoded.
func attach[T any](t *testing.T, c codec.Codec[T], v T, o *segment.Options, size func(T) int) {
	t.Helper()
	r, err := segment.OpenReader("x", c, o)
	expect(t, "OpenReader", err, sharedseg.ErrCorrupt, sharedseg.ErrIncompatible, fs.ErrNotExist)
	if err == nil {
		read[T](t, r, size, segment.DefaultCapacity)
		expect(t, "Close", r.Close())
	}
	s, err := segment.Attach("x", c, &segment.Options{Dir: o.Dir})
	expect(t, "Attach", err, sharedseg.ErrCorrupt, sharedseg.ErrIncompatible, fs.ErrNotExist)
	if err == nil {
		write(t, s, v, size, segment.DefaultCapacity)
		expect(t, "Close", s.Close())
	}
}

// read makes all calls of a Reader, with contexts where they may wait.
func read[T any](t *testing.T, r readable[T], size func(T) int, capacity int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), brief)
	defer cancel()
	v, err := r.LoadContext(ctx)
	expect(t, "Load", err, sharedseg.ErrCorrupt, codec.ErrMalformed, context.DeadlineExceeded)
	if err == nil && size != nil && size(v) > capacity*3/2 {
		t.Fatalf("a value of %d bytes", size(v))
	}
	if version := r.Version(); version != 0 {
		_, err = r.Wait(ctx, version-1)
		expect(t, "Wait", err, sharedseg.ErrCorrupt, context.DeadlineExceeded)
	}
}

func write[T any](t *testing.T, s *segment.Segment[T], v T, size func(T) int, capacity int) {
	t.Helper()
	read[T](t, s, size, capacity)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	err := s.UpdateContext(ctx, func(*T) error { return nil })
	// The value that was there need not fit into the capacity that is there
	// now.
	expect(t, "Update", err, sharedseg.ErrCorrupt, codec.ErrMalformed, sharedseg.ErrTooLarge)
	err = s.StoreContext(ctx, v)
	expect(t, "Store", err, sharedseg.ErrTooLarge)
	if err != nil {
		return
	}
	got, err := s.LoadContext(ctx)
	if fmt.Sprint(got) != fmt.Sprint(v) || err != nil {
		t.Fatalf("stored %v, loaded %v, %v", v, got, err)
	}
}

func attachMutex(t *testing.T, dir string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	repair := func() error { return nil }
	m, err := ipcsync.OpenMutex("x", &ipcsync.Options{Dir: dir, Persist: true, Repair: repair})
	expect(t, "OpenMutex", err, sharedseg.ErrCorrupt, sharedseg.ErrIncompatible)
	if err == nil {
		// Nobody else is there who could have it.
		if err := errors.Join(m.Lock(ctx), m.Unlock(), m.Close()); err != nil {
			t.Fatal(err)
		}
	}
}

// fresh makes a segment where there is none.
func fresh(t *testing.T, name string, o *segment.Options) {
	t.Helper()
	s, err := segment.Create(name, codec.Fixed[fixedPoint](), o)
	if err != nil {
		t.Fatal(err)
	}
	err = s.Store(fixedPoint{N: 3})
	v, e := s.Load()
	if err := errors.Join(err, e, s.Close()); err != nil || v.N != 3 {
		t.Fatalf("%d, %v", v.N, err)
	}
}

// room is a segment with handles that stay open while one script after the
// other is played on it.
type room[T any] struct {
	dir, name string
	codec     codec.Codec[T]
	value     T
	size      func(T) int
	lockReads bool
	options   segment.Options

	segments [2]*segment.Segment[T]
	reader   *segment.Reader[T]
	*memory
}

// memory is the peer's mapping of the file, and what it held when all was well.
type memory struct {
	*fields
	file *os.File
	mem  []byte
	good []byte
}

func mapped(f *testing.F, path string, handles int) *memory {
	file, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { file.Close() })
	st, err := file.Stat()
	if err != nil {
		f.Fatal(err)
	}
	mem, err := unix.Mmap(int(file.Fd()), 0, int(st.Size()), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { unix.Munmap(mem) })
	m := &memory{fields: fieldsOf(mem), file: file, mem: mem, good: bytes.Clone(mem)}
	for slot := range uint32(handles) {
		m.idents = append(m.idents, binary.NativeEndian.Uint32(mem[memberOff+memberSize*slot:])<<10|slot)
	}
	return m
}

// still are the bytes that nobody has a reason to write once they are there.
func (m *memory) still() []byte {
	b := append([]byte(nil), m.mem[:96]...) // the rotor is next
	b = append(b, m.mem[100:mutexOff]...)
	b = append(b, m.mem[mutexOff+8:versionOff]...)
	b = append(b, m.mem[versionOff+16:counterOff]...)
	b = append(b, m.mem[counterOff+24:memberOff]...) // without the counters that are used
	return append(b, m.mem[textOff:textOff+256]...)
}

func openRoom[T any](f *testing.F, dir, name string, o segment.Options, c codec.Codec[T], v T, size func(T) int) *room[T] {
	o.Dir = dir
	if _, sized := c.(codec.Sizer); !sized {
		o.Capacity = fuzzCapacity
	}
	r := &room[T]{dir: dir, name: name, codec: c, value: v, size: size, lockReads: o.LockReads, options: o}
	r.segments = [2]*segment.Segment[T]{open(f, name, c, &o), open(f, name, c, &o)}
	var err error
	if r.reader, err = segment.OpenReader(name, c, &segment.Options{Dir: dir}); err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { r.reader.Close() })
	for _, s := range r.segments {
		if err := s.Store(v); err != nil {
			f.Fatal(err)
		}
	}
	for _, h := range []borrows[T]{r.segments[0], r.segments[1], r.reader} {
		b, err := h.Borrow(f.Context())
		if err == nil {
			err = b.Release()
		}
		if err != nil {
			f.Fatal(err)
		}
	}
	r.memory = mapped(f, filepath.Join(dir, name), 2)
	return r
}

// play runs a script. If the peer writes beside the calls, it writes all its
// patches again and again.
func (r *room[T]) play(t *testing.T, s script, beside bool) {
	copy(r.mem, r.good)
	if beside {
		stop := r.scribble(&s)
		defer stop()
	}
	for steps, blocked := 0, 0; len(s) > 0 && steps < 16 && blocked < 2; steps++ {
		op := s.byte()
		if op&1 != 0 && !beside {
			p := s.patch(r.fields)
			p.apply(r.mem)
			continue
		}
		before := r.still()
		if err := r.call(t, int(op>>1), &s, beside); errors.Is(err, context.DeadlineExceeded) {
			blocked++
		}
		if !beside && op>>1%calls != truncation && !bytes.Equal(before, r.still()) {
			t.Fatalf("call %d wrote into the header", op>>1)
		}
	}
}

// scribble takes the first patches from a script and has them written until
// stop is called.
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

const (
	calls      = 20
	truncation = 15
)

// call makes one call, of those that a program would make.
func (r *room[T]) call(t *testing.T, op int, s *script, beside bool) (err error) {
	seg := r.segments[op/calls%2]
	ctx, cancel := context.WithTimeout(t.Context(), brief)
	defer cancel()
	limits := []error{sharedseg.ErrCorrupt, codec.ErrMalformed, context.DeadlineExceeded}
	begun := time.Now()
	var v T
	switch op % calls {
	case 0:
		v, err = seg.LoadContext(ctx)
		expect(t, "Load", err, limits...)
	case 1:
		if r.lockReads {
			break // it has no context, and the lock may be withheld
		}
		_, err = seg.LoadInto(&v)
		expect(t, "LoadInto", err, sharedseg.ErrCorrupt, codec.ErrMalformed)
	case 2:
		err = seg.StoreContext(ctx, r.value)
		expect(t, "Store", err, limits...)
	case 3:
		err = seg.UpdateContext(ctx, func(p *T) error { v = *p; *p = r.value; return nil })
		expect(t, "Update", err, limits...)
	case 4:
		seg.Version()
		r.reader.Version()
	case 5, 6:
		after := seg.Version() - uint64(s.byte()&1) // the version before, or this one
		var version uint64
		if op%calls == 5 {
			version, err = seg.Wait(ctx, after)
		} else {
			version, err = r.reader.Wait(ctx, after)
		}
		expect(t, "Wait", err, limits...)
		if err == nil && version <= after {
			t.Fatalf("Wait for a version after %d returned %d", after, version)
		}
	case 7:
		v, err = r.reader.LoadContext(ctx)
		expect(t, "Load of a Reader", err, limits...)
	case 8:
		_, err = r.reader.LoadInto(&v)
		expect(t, "LoadInto of a Reader", err, sharedseg.ErrCorrupt, codec.ErrMalformed)
	case 9:
		for value, e := range seg.Watch(ctx) {
			if v, err = value, e; err == nil {
				break
			}
			expect(t, "Watch", err, limits...)
		}
	case 10:
		err = r.visit(t, ctx)
	case 11:
		var other *segment.Reader[T]
		other, err = segment.OpenReader(r.name, r.codec, &segment.Options{Dir: r.dir})
		expect(t, "OpenReader", err, sharedseg.ErrCorrupt, sharedseg.ErrIncompatible)
		if err == nil {
			v, err = other.LoadContext(ctx)
			expect(t, "Load of a new Reader", err, limits...)
			expect(t, "Close of a new Reader", other.Close())
		}
	case 12:
		info, e := sharedseg.Stat(r.name, &sharedseg.Place{Dir: r.dir})
		expect(t, "Stat", e, sharedseg.ErrCorrupt, sharedseg.ErrIncompatible, fs.ErrNotExist)
		if e == nil && info.Size != int64(len(r.mem)) {
			t.Fatalf("%+v", info)
		}
	case 13:
		_, e := sharedseg.Sweep(&sharedseg.Place{Dir: r.dir})
		expect(t, "Sweep", e)
	case 14:
		for i, err := range []error{
			seg.UpdateContext(ctx, func(*T) error { return fs.ErrExist }),
			seg.StoreContext(ctx, r.value),
		} {
			expect(t, "Update that fails", err, append(limits, fs.ErrExist)...)
			if i == 0 && err == nil {
				t.Fatal("a function's error was lost")
			}
		}
	case 16, 17:
		var b *segment.Borrowed[T]
		if op%calls == 16 {
			b, err = seg.Borrow(ctx)
		} else {
			b, err = r.reader.Borrow(ctx)
		}
		expect(t, "Borrow", err, limits...)
		if err == nil {
			sum := 0
			for _, c := range b.Bytes() {
				sum += int(c)
			}
			if r.size != nil && (len(b.Bytes()) > fuzzCapacity || cap(b.Bytes()) != len(b.Bytes())) {
				t.Fatalf("borrowed %d bytes of %d", len(b.Bytes()), cap(b.Bytes()))
			}
			if at := uintptr(unsafe.Pointer(unsafe.SliceData(b.Bytes()))); at%8 != 0 {
				t.Fatalf("borrowed at %#x, sum %d", at, sum)
			}
			expect(t, "Store beside a Borrow", seg.StoreContext(ctx, r.value), limits...)
			expect(t, "Release", b.Release())
		}
	case 18:
		var l *segment.Loan[T]
		l, err = seg.Loan(ctx)
		expect(t, "Loan", err, limits...)
		if err == nil {
			clear(l.Bytes())
			n := int(s.byte())
			if sized, ok := r.codec.(codec.Sizer); ok {
				n = sized.Size()
			}
			if n >= 128 && n <= len(l.Bytes()) {
				_, err = l.Publish(n)
				expect(t, "Publish", err, sharedseg.ErrCorrupt)
			}
			expect(t, "Discard", l.Discard(), sharedseg.ErrCorrupt)
		}
	case 19:
		taken := 0
		for next, e := range r.reader.Follow(ctx, seg.Version()-uint64(s.byte())) {
			v = next.Value
			if _, missed := errors.AsType[*segment.MissedError](e); e != nil && !missed {
				err = e
				expect(t, "Follow", e, limits...)
			}
			if taken++; taken == 8 {
				break
			}
		}
	case truncation:
		if beside || proctest.Emulated() {
			break // the peer would be killed, or this process, which the test is not about
		}
		err = r.truncate(t, ctx, int64(s.uint(2))%int64(len(r.mem)), s.byte())
	}
	if err == nil && r.size != nil && r.size(v) > fuzzCapacity*3/2 {
		t.Fatalf("call %d returned a value of %d bytes", op, r.size(v))
	}
	if took := time.Since(begun); took > 10*time.Second {
		t.Fatalf("call %d took %v", op, took)
	}
	return err
}

// visit opens another handle, uses and closes it.
func (r *room[T]) visit(t *testing.T, ctx context.Context) error {
	other, err := segment.Open(r.name, r.codec, &segment.Options{Dir: r.dir})
	expect(t, "Open", err, sharedseg.ErrCorrupt, sharedseg.ErrIncompatible)
	if err != nil {
		return err
	}
	v, err := other.LoadContext(ctx)
	expect(t, "Load of a new handle", err, sharedseg.ErrCorrupt, codec.ErrMalformed, context.DeadlineExceeded)
	if err == nil && r.size != nil && r.size(v) > len(r.mem) {
		t.Fatalf("a value of %d bytes", r.size(v))
	}
	expect(t, "Store of a new handle", other.StoreContext(ctx, r.value), sharedseg.ErrCorrupt, sharedseg.ErrTooLarge, context.DeadlineExceeded)
	// Close waits a second for a handle that the peer says has the lock.
	clear(r.mem[mutexOff : mutexOff+4])
	expect(t, "Close of a new handle", other.Close())
	return nil
}

// truncate makes one call on a file that holds what the room's does, cut short.
// It is another file, as handles whose memory vanished are of no use any more.
func (r *room[T]) truncate(t *testing.T, ctx context.Context, n int64, which byte) (err error) {
	name := r.name + ".cut"
	path := filepath.Join(r.dir, name)
	seg, e := segment.Open(name, r.codec, &r.options)
	expect(t, "Open", e)
	defer os.Remove(path)
	defer seg.Close()
	reader, e := segment.OpenReader(name, r.codec, &segment.Options{Dir: r.dir})
	expect(t, "OpenReader", e)
	defer reader.Close()
	file, e := os.OpenFile(path, os.O_RDWR, 0)
	expect(t, "OpenFile", e)
	defer file.Close()
	if _, err := file.WriteAt(r.mem, 0); err != nil {
		t.Fatal(err)
	}
	if err := file.Truncate(n); err != nil {
		t.Fatal(err)
	}
	limits := []error{sharedseg.ErrCorrupt, codec.ErrMalformed, context.DeadlineExceeded}
	switch which % 5 {
	case 0:
		_, err = seg.LoadContext(ctx)
	case 1:
		err = seg.StoreContext(ctx, r.value)
	case 2:
		err = seg.UpdateContext(ctx, func(p *T) error { return nil })
	case 3:
		_, err = reader.LoadContext(ctx)
	case 4:
		_, err = segment.OpenReader(name, r.codec, &segment.Options{Dir: r.dir})
		if err == nil {
			t.Fatal("a Reader opened what was cut short")
		}
		limits = append(limits, sharedseg.ErrIncompatible, fs.ErrNotExist)
	}
	expect(t, "a call after a truncation", err, limits...)
	return err
}

// recover gives the segment back what it held, and finds that all handles still
// work.
func (r *room[T]) recover(t *testing.T) {
	t.Helper()
	copy(r.mem, r.good)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for _, s := range r.segments {
		before := s.Version()
		if err := s.StoreContext(ctx, r.value); err != nil {
			t.Fatal("afterwards: ", err)
		}
		for what, handle := range map[string]interface {
			LoadContext(context.Context) (T, error)
			Version() uint64
		}{
			"first": r.segments[0], "second": r.segments[1], "reader": r.reader,
		} {
			v, err := handle.LoadContext(ctx)
			if version := handle.Version(); err != nil || version != before+1 || fmt.Sprint(v) != fmt.Sprint(r.value) {
				t.Fatalf("afterwards: %s has %v, version %d after %d, %v", what, v, version, before, err)
			}
		}
	}
}

// FuzzLive plays scripts on segments with open handles.
func FuzzLive(f *testing.F) {
	dir := tmpfs(f)
	o, mutex := segment.Options{}, segment.Options{LockReads: true, Slots: 2}
	text := func(v string) int { return len(v) }
	raw := func(v []byte) int { return len(v) }
	tree := func(v any) int { list, _ := v.([]any); return len(list) }
	type player interface {
		play(t *testing.T, s script, beside bool)
		recover(t *testing.T)
	}
	rooms := []player{
		openRoom(f, dir, "string", o, codec.String(), "text", text),
		openRoom(f, dir, "string-mutex", mutex, codec.String(), "text", text),
		openRoom(f, dir, "utf16", o, codec.UTF16(), "日本🎈 and so on", text),
		openRoom(f, dir, "bytes", segment.Options{Slots: 7}, codec.Bytes(), []byte("bytes"), raw),
		openRoom(f, dir, "point", o, codec.Fixed[fixedPoint](), fixedPoint{N: 1, Data: [8]uint64{7: 8}}, nil),
		openRoom(f, dir, "point-mutex", mutex, codec.Fixed[fixedPoint](), fixedPoint{N: 1}, nil),
		openRoom(f, dir, "toggle", o, codec.Fixed[toggled](), toggled{On: true, Rows: [6]bool{5: true}}, nil),
		openRoom(f, dir, "json", o, codec.JSON[any](), any([]any{1.5, "a", map[string]any{"k": nil}}), tree),
		openRoom(f, dir, "json-mutex", mutex, codec.JSON[any](), any([]any{1.5, "a"}), tree),
	}
	all := make([]byte, 0, 64)
	for op := range byte(16) {
		all = append(all, 2*op, 1)
	}
	for i := range rooms {
		for _, beside := range []bool{false, true} {
			f.Add(uint8(i), beside, []byte{4, 0, 2, 6, 0x24, 0x22})
			f.Add(uint8(i), beside, []byte{1, 0x9E, 2, 14, 0, 14, 2, 0})           // a long value
			f.Add(uint8(i), beside, []byte{1, 0x9A, 0, 14, 0, 16, 10, 1, 4, 0})    // begin
			f.Add(uint8(i), beside, []byte{1, 0x9A, 1, 14, 0, 16, 12, 1, 4, 0, 6}) // end
			f.Add(uint8(i), beside, []byte{1, 0xC2, 1, 1, 0, 14, 6})               // end, one more
			f.Add(uint8(i), beside, []byte{1, 0xE1, 0, 0, 4, 20})                  // locked by a live handle
			f.Add(uint8(i), beside, []byte{1, 0x81, 9, 4, 0, 6})                   // and a dead one
			f.Add(uint8(i), beside, []byte{1, 0x83, 0, 3, 4, 20, 20})              // generations
			f.Add(uint8(i), beside, []byte{1, 0x83, 1, 3, 4, 20, 24})              // process IDs
			f.Add(uint8(i), beside, []byte{1, 0x9A, 128, 14, 4, 20, 24})           // counters
			f.Add(uint8(i), beside, []byte{1, 0x9E, 130, 14, 0, 14, 4, 0})         // versions of slots
			f.Add(uint8(i), beside, []byte{1, 0x98, 8, 3, 20, 22, 24, 26, 0})      // the header
			f.Add(uint8(i), beside, []byte{1, 0x85, 1, 4, 10, 0, 18})              // the flag
			f.Add(uint8(i), beside, []byte{1, 0x1F, 2, 0, 2, 2, 2, 2, 2, 2, 2, 2, 0, 14, 6, 18, 16})
			f.Add(uint8(i), beside, []byte{30, 0, 0, 0, 4, 30, 0, 0x10, 1, 4, 30, 0, 0x30, 2, 0, 30, 0, 0, 3, 30, 0, 0, 4})
		}
		f.Add(uint8(i), false, []byte{32, 1, 0x9D, 0, 14, 34, 1, 0x9D, 1, 14, 32, 4, 36, 38, 0}) // rows
		f.Add(uint8(i), true, []byte{1, 0x9D, 1, 14, 0x95, 0, 14, 32, 34, 36, 200, 4, 38, 9})    // and who has one
		f.Add(uint8(i), false, []byte{1, 0x9E, 200, 14, 38, 3, 1, 0x8D, 0, 1, 4, 36, 200, 32})   // the version before
		f.Add(uint8(i), false, all)
		f.Add(uint8(i), true, []byte{1, 1, 8, 0, 0, 0, 1, 0, 0, 0, 0, 4, 4, 4, 6, 6, 0, 0, 20, 20, 28}) // locked by a dead owner, and free
	}
	look := &segment.Options{Dir: dir}
	f.Fuzz(func(t *testing.T, which uint8, beside bool, s []byte) {
		watched(t, func() {
			r := rooms[int(which)%len(rooms)]
			r.play(t, s, beside)
			r.recover(t)
			fresh(t, "fresh", look)
		})
	})
}

// FuzzLiveMutex plays scripts on a named mutex with two open handles.
func FuzzLiveMutex(f *testing.F) {
	dir := tmpfs(f)
	o := &ipcsync.Options{Dir: dir, Repair: func() error { return nil }}
	var handles [2]*ipcsync.Mutex
	for i := range handles {
		m, err := ipcsync.OpenMutex("m", o)
		if err != nil {
			f.Fatal(err)
		}
		f.Cleanup(func() { m.Close() })
		handles[i] = m
	}
	peer := mapped(f, filepath.Join(dir, "m"), 2)
	for _, beside := range []bool{false, true} {
		f.Add(beside, []byte{0, 6, 4, 2, 4, 8, 10, 18, 16})
		f.Add(beside, []byte{1, 0xE1, 0, 0, 2, 4, 6})                     // a live owner
		f.Add(beside, []byte{1, 0xE1, 0xC1, 8, 0, 4})                     // with flags
		f.Add(beside, []byte{1, 0x81, 9, 2, 4, 1, 0x81, 10, 0, 4, 14})    // flags alone
		f.Add(beside, []byte{0, 1, 0x83, 0, 0, 8, 2, 4})                  // the owner's generation
		f.Add(beside, []byte{0, 1, 0x90, 96, 11, 12, 1, 0x83, 2, 14, 12}) // rotor
	}
	f.Fuzz(func(t *testing.T, beside bool, in []byte) {
		watched(t, func() {
			copy(peer.mem, peer.good)
			s := script(in)
			stop := func() {}
			if beside {
				stop = peer.scribble(&s)
			}
			for steps, blocked := 0, 0; len(s) > 0 && steps < 16 && blocked < 2; steps++ {
				op := s.byte()
				if op&1 != 0 && !beside {
					p := s.patch(peer.fields)
					p.apply(peer.mem)
					continue
				}
				m := handles[op>>4%2]
				var err error
				ctx, cancel := context.WithTimeout(t.Context(), brief)
				switch op >> 1 & 7 {
				case 0, 1:
					err = m.Lock(ctx)
					expect(t, "Lock", err, context.DeadlineExceeded, sharedseg.ErrNotOwner, sharedseg.ErrOwnerDied)
				case 2:
					expect(t, "Unlock", m.Unlock(), sharedseg.ErrNotOwner)
				case 3:
					m.Held()
				case 4, 5:
					_, e := m.TryLock()
					expect(t, "TryLock", e, sharedseg.ErrNotOwner, sharedseg.ErrOwnerDied)
				case 6, 7:
					other, e := ipcsync.OpenMutex("m", o)
					expect(t, "OpenMutex", e, sharedseg.ErrCorrupt, sharedseg.ErrIncompatible)
					if e == nil {
						err = other.Lock(ctx)
						expect(t, "Lock", err, context.DeadlineExceeded, sharedseg.ErrNotOwner, sharedseg.ErrOwnerDied)
						expect(t, "Close", other.Close())
					}
				}
				cancel()
				if errors.Is(err, context.DeadlineExceeded) {
					blocked++
				}
			}
			stop()
			copy(peer.mem, peer.good)
			for _, m := range handles {
				if err := errors.Join(m.Lock(t.Context()), m.Unlock()); err != nil {
					t.Fatal("afterwards: ", err)
				}
			}
		})
	})
}

package layout

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"strings"
	"testing"
	"unsafe"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

var pages = []int{4096, 16384, 65536}

// geometries returns geometries placed for pages of 4096 bytes.
func geometries(t testing.TB) map[string]*Geometry {
	gs := map[string]*Geometry{
		"mutex":            {Kind: KindMutex},
		"persistent mutex": {Kind: KindMutex, Persist: true},
		"segment":          {Kind: KindSegment, Slots: 3, Capacity: 4096, CodecID: "utf8", TypeName: "string"},
		"smallest":         {Kind: KindSegment, Slots: 2},
		"many slots":       {Kind: KindSegment, Slots: RowBits + 1, Capacity: 8, CodecID: "fixed"},
		"queue":            {Kind: KindQueue, Slots: 1, Capacity: 64, CodecID: "bytes", TypeName: "[]byte"},
		"rwmutex":          {Kind: KindRWMutex},
		"semaphore":        {Kind: KindSemaphore, Capacity: 7},
		"cond":             {Kind: KindCond},
		"event":            {Kind: KindEvent, Persist: true},
		"odd":              {Kind: KindSegment, LockReads: true, Persist: true, Slots: 5, Capacity: 100, CodecID: strings.Repeat("é", 1500), TypeName: "main.T"},
	}
	for _, g := range gs {
		if err := g.Place(4096); err != nil {
			t.Fatal(err)
		}
	}
	return gs
}

// image returns the memory of a new mapping, aligned as mapped memory is.
func image(g *Geometry) []byte {
	words := make([]uint64, g.Size()/8)
	mem := unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(words))), g.Size())
	copy(mem, Mark(false))
	g.Init(mem)
	return mem
}

// TestOffsets pins the offsets. They are the format: programs of other versions
// and languages, on machines of all word sizes, rely on them.
func TestOffsets(t *testing.T) {
	for _, c := range []struct {
		what      string
		got, want uint64
	}{
		{"magic", magicOff, 0},
		{"ready", readyOff, 8},
		{"order", orderOff, 12},
		{"dirty", dirtyOff, 16},
		{"flags", flagsOff, 20},
		{"kind", kindOff, 24},
		{"slots", slotsOff, 28},
		{"size", sizeOff, 32},
		{"capacity", capacityOff, 40},
		{"stride", strideOff, 48},
		{"slot area", slotAreaOff, 56},
		{"wait page", waitPageOff, 64},
		{"page", pageOff, 72},
		{"codec length", codecLenOff, 76},
		{"type length", typeLenOff, 80},
		{"members", membersOff, 84},
		{"birth", birthOff, 88},
		{"rotor", rotorOff, 96},
		{"end of the static header", staticSize, 100},
		{"mutex", MutexOff, 128},
		{"begin", BeginOff, 192},
		{"end", EndOff, 200},
		{"counters", countOff, 256},
		{"number of counters", Counters, 8},
		{"counter of waits", uint64(Waits), 0},
		{"counter of take-overs", uint64(TakeOvers), 1},
		{"counter of disturbed reads", uint64(DisturbedReads), 2},
		{"member table", memberOff, 320},
		{"member slot", memberSize, 8},
		{"holder's process ID", holderPIDOff, 4},
		{"texts", textOff, 8512},
		{"least size of any format", minSize, 4352},
		{"slot header", SlotHeader, 64},
		{"version of a slot", slotVersionOff, 0},
		{"version before it", slotPreviousOff, 8},
		{"length of a slot", slotLengthOff, 16},
		{"number of members", Members, 1024},
		{"format", Format, 2},
		{"persist flag", flagPersist, 1},
		{"mutex flag", flagLockReads, 2},
		{"kind segment", uint64(KindSegment), 1},
		{"kind mutex", uint64(KindMutex), 2},
		{"kind queue", uint64(KindQueue), 3},
		{"kind rwmutex", uint64(KindRWMutex), 4},
		{"kind semaphore", uint64(KindSemaphore), 5},
		{"kind cond", uint64(KindCond), 6},
		{"kind event", uint64(KindEvent), 7},
		{"watchers' flag", uint64(unsafe.Offsetof(waitWords{}.watchFlag)), 0},
		{"event counts", uint64(unsafe.Offsetof(waitWords{}.events)), 64},
		{"event count", uint64(unsafe.Sizeof(waitWords{}.events[0])), 64},
		{"words of the kind's own", uint64(unsafe.Offsetof(waitWords{}.words)), 256},
		{"word of the kind's own", uint64(unsafe.Sizeof(waitWords{}.words[0])), 64},
		{"words with used rows", uint64(unsafe.Offsetof(waitWords{}.used)), 768},
		{"used rows", uint64(unsafe.Offsetof(waitWords{}.usedWords)), 776},
		{"number of used rows' words", rowWords, 16},
		{"bytes of the rows", uint64(rowsSize), 8192},
		{"waiters bit", WaitersBit, 1 << 31},
		{"inconsistent bit", InconsistentBit, 1 << 30},
		{"owner bits", IdentMask, 1<<30 - 1},
		{"registry lock byte", RegistryByte, 1 << 62},
		{"readers' lock byte", ReaderByte, 1<<62 + 1},
		{"members' lock bytes", MemberByte, 1<<62 + 2},
		{"queue's lock bytes", QueueByte, 1<<62 + 1<<32},
		{"number of tickets", Tickets, 1 << 61},
	} {
		if c.got != c.want {
			t.Errorf("%s: %d, want %d", c.what, c.got, c.want)
		}
	}
	if Magic != "sharedsg" {
		t.Errorf("magic %q", Magic)
	}
}

// TestWords checks that the accessors lead to the offsets that the format
// gives.
func TestWords(t *testing.T) {
	mem := image(geometries(t)["segment"])
	w := NewWords(mem)
	c := w.Versions()
	w.Mutex().Store(0x01020304)
	w.Rotor().Store(0x11121314)
	c[0], c[1] = 0x2122232425262728, 0x3132333435363738
	w.Generation(0).Store(0x41424344)
	w.HolderPID(0).Store(0x45464748)
	w.Generation(Members - 1).Store(0x51525354)
	w.HolderPID(Members - 1).Store(0x55565758)
	for k := range Counter(Counters) {
		w.Counter(k).Store(0x6162636465666700 + uint64(k))
	}
	for _, f := range []struct {
		off  int
		want uint64
	}{
		{128, 0x01020304}, {96, 0x11121314},
		{320, 0x41424344}, {324, 0x45464748}, {8512 - 8, 0x51525354}, {8512 - 4, 0x55565758},
	} {
		if got := binary.NativeEndian.Uint32(mem[f.off:]); uint64(got) != f.want {
			t.Errorf("offset %d: %#x, want %#x", f.off, got, f.want)
		}
	}
	if got := binary.NativeEndian.Uint64(mem[192:]); got != c[0] {
		t.Errorf("begin is %#x", got)
	}
	if got := Version(mem); got != c[1] {
		t.Errorf("Version is %#x", got)
	}
	if size, off := unsafe.Sizeof(*c), unsafe.Offsetof(struct {
		_ [8]byte
		c [2]uint64
	}{}.c); size != 16 || off != 8 {
		t.Errorf("the versions take %d bytes", size)
	}
	for k, got := range Counts(mem) {
		if want := 0x6162636465666700 + uint64(k); got != want || binary.NativeEndian.Uint64(mem[256+8*k:]) != want {
			t.Errorf("counter %d: Counts has %#x, want %#x", k, got, want)
		}
	}
	off, n := MemberTable()
	if off != 320 || n != 8192 {
		t.Errorf("a member table of %d bytes at %d", n, off)
	}
	for slot, want := range map[int]uint32{0: 0x45464748, 1: 0, Members - 1: 0x55565758} {
		if got := HolderPID(mem[off:off+n], slot); got != want {
			t.Errorf("the holder of slot %d is process %#x, want %#x", slot, got, want)
		}
	}
	for _, slot := range []int{-1, Members} {
		if !panics(func() { w.Generation(slot) }) || !panics(func() { w.HolderPID(slot) }) {
			t.Errorf("there is a slot %d", slot)
		}
	}
	for _, k := range []Counter{-1, Counters} {
		if !panics(func() { w.Counter(k) }) {
			t.Errorf("there is a counter %d", k)
		}
	}

	low := LowHalf(&c[1])
	before := low.Load()
	c[1]++
	if low.Load() != before+1 {
		t.Error("the low half does not follow an increment")
	}
}

func panics(f func()) (p bool) {
	defer func() { p = recover() != nil }()
	f()
	return false
}

// TestPlace checks that regions are in order, aligned, disjoint and within
// whole pages.
func TestPlace(t *testing.T) {
	for _, page := range pages {
		for name, g := range geometries(t) {
			t.Run(fmt.Sprint(page, "/", name), func(t *testing.T) {
				if err := g.Place(page); err != nil {
					t.Fatal(err)
				}
				at, page := int64(textOff+len(g.CodecID)+len(g.TypeName)), int64(page)
				off, length := g.WaitPage()
				wait, n := int64(off), int64(length)
				if (n != 0) != g.Kind.waits() {
					t.Errorf("the wait page has %d bytes", n)
				}
				if n != 0 {
					rows := int64(0)
					if g.HasRows() {
						rows = int64(rowsSize)
					}
					if wait < at || wait%page != 0 || n%page != 0 || page < int64(waitPageSize) || n < page+rows || n >= 2*page+rows {
						t.Errorf("wait page: offset %d, %d bytes; the texts end at %d", wait, n, at)
					}
					at = wait + n
				}
				if g.Slots != 0 {
					if g.slotArea < at || g.slotArea%64 != 0 || g.stride%64 != 0 || g.stride < SlotHeader+g.Capacity {
						t.Errorf("slots at %d, %d bytes each", g.slotArea, g.stride)
					}
					at = g.slotArea + int64(g.Slots)*g.stride
				}
				if g.Size() < at || g.Size()%page != 0 || g.Size() >= at+page {
					t.Errorf("%d bytes, %d are used", g.Size(), at)
				}
			})
		}
	}
}

func TestPlaceTooLarge(t *testing.T) {
	for _, g := range []*Geometry{
		{Kind: KindSegment, Slots: 2, Capacity: math.MaxInt64},
		{Kind: KindSegment, Slots: MaxSlots, Capacity: math.MaxInt64 / MaxSlots},
		{Kind: KindSegment, Slots: MaxSlots + 1, Capacity: 1},
		{Kind: KindSegment, Slots: 2, Capacity: -1},
		{Kind: KindSegment, Slots: 2, Capacity: 1, CodecID: strings.Repeat("x", MaxText+1)},
		{Kind: KindSegment, Slots: 2, Capacity: 1, TypeName: strings.Repeat("x", MaxText+1)},
	} {
		if err := g.Place(4096); !errors.Is(err, fs.ErrInvalid) {
			t.Errorf("%d slots of %d bytes: %v", g.Slots, g.Capacity, err)
		}
	}
}

// TestInitRead checks that Read reads what Init writes, from no more bytes than
// HeadLen returns.
func TestInitRead(t *testing.T) {
	for _, page := range pages {
		for name, g := range geometries(t) {
			if err := g.Place(page); err != nil {
				t.Fatal(err)
			}
			mem := image(g)
			if ready, err := Ready(mem[:HeadSize]); !ready || err != nil {
				t.Errorf("%s: Ready = %v, %v", name, ready, err)
			}
			if Persists(mem) != g.Persist {
				t.Errorf("%s: Persists = %v", name, !g.Persist)
			}
			got, err := Read(bytes.Clone(mem[:HeadLen(mem)]), int64(len(mem)))
			if err != nil {
				t.Fatal(name, err)
			}
			if d := cmp.Diff(g, got, cmp.AllowUnexported(Geometry{}), cmpopts.EquateEmpty()); d != "" {
				t.Errorf("%s, written and read:\n%s", name, d)
			}
		}
	}
}

// checkRead reads an arbitrary header. It fails the test unless the result is
// an error of this package, or a geometry whose regions lie within the mapping.
func checkRead(t testing.TB, head []byte, size int64) {
	t.Helper()
	g, err := Read(head, size)
	if err != nil {
		if !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrIncompatible) {
			t.Errorf("error %v", err)
		}
		return
	}
	off, length := g.WaitPage()
	wait, n := int64(off), int64(length)
	if g.Size() != size || wait < 0 || n < 0 || wait+n > g.Size() || g.Slots > 0 && g.slotArea < wait+n {
		t.Errorf("a mapping of %d bytes is read as %+v", size, g)
	}
	if g.Kind.slotted() {
		if g.Slots < g.Kind.fewestSlots() || g.Capacity < 0 || g.stride < SlotHeader+g.Capacity || g.slotArea < textOff || wait < textOff ||
			int64(g.Slots) > (g.Size()-g.slotArea)/g.stride {
			t.Errorf("a mapping of %d bytes is read as %+v", size, g)
		}
	}
	if textOff+len(g.CodecID)+len(g.TypeName) > len(head) {
		t.Errorf("%d bytes of texts from %d bytes", len(g.CodecID)+len(g.TypeName), len(head))
	}
}

// TestReadCorrupt checks that no static header makes Read panic or find regions
// outside the mapping.
func TestReadCorrupt(t *testing.T) {
	for name, g := range geometries(t) {
		t.Run(name, func(t *testing.T) {
			good := image(g)
			size := int64(len(good))
			good = good[:HeadLen(good)]
			try := func(corrupt func(b []byte)) {
				t.Helper()
				b := bytes.Clone(good)
				corrupt(b)
				if n := HeadLen(b); n > textOff+2*MaxText {
					t.Errorf("HeadLen is %d", n)
				}
				checkRead(t, b, size)
			}
			for off := range staticSize {
				for v := range 256 {
					try(func(b []byte) { b[off] = byte(v) })
				}
			}
			for off := 0; off < staticSize; off += 4 {
				for _, v := range []uint64{
					0, 1, 63, 64, 65, 4095, 4096, 4097, textOff, uint64(size), uint64(size) - 1, uint64(size) + 1, 1 << 16, 1 << 24,
					1<<31 - 1, 1 << 31, 1<<32 - 1, 1 << 32, 1<<61 - 1, 1<<62 - 1, 1 << 62, 1<<63 - 1, 1 << 63, 1<<64 - 4096, 1<<64 - 1,
				} {
					try(func(b []byte) { binary.NativeEndian.PutUint32(b[off:], uint32(v)) })
					try(func(b []byte) { binary.NativeEndian.PutUint64(b[off:], v) })
				}
			}
			for _, n := range []int64{0, 1, 4096, size - 1, size + 1, math.MaxInt64, -1} {
				if _, err := Read(good, n); !errors.Is(err, ErrCorrupt) {
					t.Errorf("%d bytes are read as %d: %v", size, n, err)
				}
			}
			for _, n := range []int{0, 8, 87, minSize - 1, minSize, textOff - 1, HeadLen(good) - 1} {
				if _, err := Read(good[:n], size); err == nil && n < HeadLen(good) {
					t.Errorf("a header is read from %d bytes", n)
				}
			}
		})
	}
}

// TestOtherFormats checks that a mapping of another format is not taken for an
// unfinished one, whatever its size: a mutex of format 1 is shorter than any
// mapping of this format.
func TestOtherFormats(t *testing.T) {
	mem := image(geometries(t)["persistent mutex"])
	for _, format := range []uint32{1, 3, math.MaxUint32} {
		for _, n := range []int{minSize, 8192, len(mem)} {
			b := bytes.Clone(mem[:n])
			binary.NativeEndian.PutUint32(b[readyOff:], format)
			if ready, err := Ready(b); !ready || err != nil || !Persists(b) {
				t.Errorf("format %d, %d bytes: Ready = %v, %v, Persists = %v", format, n, ready, err, Persists(b))
			}
			_, err := Read(b, int64(n))
			want := fmt.Sprintf("written by format %d, this program knows format 2: close all its users, or remove it with Remove", format)
			if !errors.Is(err, ErrIncompatible) || !strings.Contains(err.Error(), want) {
				t.Errorf("format %d, %d bytes: %v", format, n, err)
			}
		}
	}
}

// TestReadRefuses checks that Read refuses a wrong value in each field that
// matters.
func TestReadRefuses(t *testing.T) {
	mem := image(geometries(t)["segment"])
	for _, c := range []struct {
		what string
		off  int
		v    uint32
		want error
	}{
		{"the format before", readyOff, Format - 1, ErrIncompatible},
		{"the next format", readyOff, Format + 1, ErrIncompatible},
		{"byte order", orderOff, 0x0D0C0B0A, ErrIncompatible},
		{"kind 0", kindOff, 0, ErrCorrupt},
		{"kind 3", kindOff, 3, ErrCorrupt},
		{"members", membersOff, Members / 2, ErrCorrupt},
		{"one slot", slotsOff, 1, ErrCorrupt},
		{"more slots", slotsOff, 4, ErrCorrupt},
		{"size", sizeOff, 4096, ErrCorrupt},
		{"capacity", capacityOff, 5000, ErrCorrupt},
		{"stride", strideOff, 64, ErrCorrupt},
		{"slot area", slotAreaOff, 0, ErrCorrupt},
		{"wait page", waitPageOff, 0, ErrCorrupt},
		{"page 0", pageOff, 0, ErrCorrupt},
		{"page 4095", pageOff, 4095, ErrCorrupt},
		{"codec length", codecLenOff, MaxText + 1, ErrCorrupt},
		{"type length", typeLenOff, math.MaxUint32, ErrCorrupt},
	} {
		b := bytes.Clone(mem)
		binary.NativeEndian.PutUint32(b[c.off:], c.v)
		if _, err := Read(b, int64(len(b))); !errors.Is(err, c.want) {
			t.Errorf("%s: error is %v, want %v", c.what, err, c.want)
		}
	}
}

// TestReadPage checks that an invalid page size is refused even if all other
// fields agree with it.
func TestReadPage(t *testing.T) {
	for _, page := range []int{512, 3 << 10, 12 << 10, 1 << 25} {
		g := geometries(t)["segment"]
		if err := g.Place(page); err != nil {
			t.Fatal(err)
		}
		mem := image(g)
		if _, err := Read(mem, int64(len(mem))); !errors.Is(err, ErrCorrupt) {
			t.Errorf("pages of %d bytes: %v", page, err)
		}
	}
}

// FuzzRead leaves out the bytes between the static header and the texts, to
// keep its inputs small.
func FuzzRead(f *testing.F) {
	for _, g := range geometries(f) {
		mem := image(g)
		f.Add(bytes.Clone(mem[:staticSize]), bytes.Clone(mem[textOff:HeadLen(mem)]), int64(len(mem)))
	}
	f.Add(Mark(false), []byte{}, int64(0))
	f.Fuzz(func(t *testing.T, static, texts []byte, size int64) {
		head := make([]byte, textOff, textOff+len(texts))
		copy(head[:staticSize], static)
		head = append(head, texts...)
		for _, b := range [][]byte{static, head} {
			Ready(b)
			Dirty(b)
			Persists(b)
			checkRead(t, b, size)
		}
	})
}

func TestReady(t *testing.T) {
	ready := image(geometries(t)["segment"])
	half := bytes.Clone(ready)
	clear(half[readyOff : readyOff+4])
	foreign := bytes.Clone(ready)
	foreign[0] ^= 1
	for _, c := range []struct {
		what string
		head []byte
		want bool
		err  error
	}{
		{"nothing", nil, false, nil},
		{"one foreign byte", []byte{0}, false, ErrIncompatible},
		{"foreign", foreign, false, ErrIncompatible},
		{"zeros", make([]byte, 8192), false, ErrIncompatible},
		{"part of a magic", []byte(Magic)[:7], false, ErrIncompatible},
		{"a mark", Mark(false), false, nil},
		{"marked and short", ready[:textOff-1], false, nil},
		{"marked, not ready", half, false, nil},
		{"ready", ready, true, nil},
	} {
		got, err := Ready(c.head)
		if got != c.want || !errors.Is(err, c.err) {
			t.Errorf("%s: Ready = %v, %v; want %v, %v", c.what, got, err, c.want, c.err)
		}
	}
	if IsMarked(foreign) || !IsMarked(half) || IsMarked(nil) || !IsMarked(Mark(false)) {
		t.Error("IsMarked is wrong")
	}
	if binary.NativeEndian.Uint32(append(Mark(false), make([]byte, 8)...)[readyOff:]) != 0 {
		t.Error("a mark is ready")
	}
}

// TestDirty checks that a mark is dirty or not, and that the mutex initialised
// over it is the same. Other kinds, and truncated beginnings, are never dirty.
func TestDirty(t *testing.T) {
	if len(Mark(true)) != 24 || Dirty(Mark(false)) || !Dirty(Mark(true)) || Dirty(Mark(true)[:23]) || Dirty(nil) {
		t.Error("Dirty of a mark is wrong")
	}
	for name, g := range geometries(t) {
		for _, dirty := range []bool{false, true} {
			mem := image(g)
			clear(mem)
			copy(mem, Mark(dirty))
			g.Init(mem)
			w := NewWords(mem)
			if word := w.Mutex().Load(); word != 0 != dirty || word&^InconsistentBit != 0 {
				t.Errorf("%s: dirty is %v, the word %#x", name, dirty, word)
			}
			if got := Dirty(mem); got != (dirty && g.Kind.Repairable()) {
				t.Errorf("%s: initialised dirty: %v, Dirty is %v", name, dirty, got)
			}
			if was := WasKind(mem); was != g.Kind || WasKind(mem[:DirtySize-1]) != 0 || WasKind(Mark(true)) != 0 {
				t.Errorf("%s: it was a %v", name, was)
			}
			w.Mutex().Store(WaitersBit)
			if Dirty(mem) {
				t.Errorf("%s: dirty, but the mutex is free", name)
			}
			w.Mutex().Store(uint32(NewIdent(0, 1)))
			if Dirty(mem) != (g.Kind.Repairable()) || Dirty(mem[:DirtySize-1]) {
				t.Errorf("%s: Dirty of an owned mutex is %v", name, Dirty(mem))
			}
		}
	}
}

func TestIdent(t *testing.T) {
	for _, c := range []struct {
		slot       int
		generation uint32
	}{
		{0, 1}, {1, 1}, {Members - 1, 1}, {0, genMask}, {Members - 1, genMask},
	} {
		id := NewIdent(c.slot, c.generation)
		if id.Slot() != c.slot || id.Generation() != c.generation || id == 0 || id&^IdentMask != 0 {
			t.Errorf("slot %d, generation %d: %#x", c.slot, c.generation, uint32(id))
		}
		if got := Owner(uint32(id) | WaitersBit | InconsistentBit); got != id {
			t.Errorf("owner %#x, want %#x", got, id)
		}
	}
	if NewIdent(3, 1<<genBits+2) != NewIdent(3, 2) {
		t.Error("a generation is not cut to its bits")
	}
	if Owner(WaitersBit|InconsistentBit) != 0 {
		t.Error("a free mutex has an owner")
	}
}

// TestNextGeneration checks that generation 0 is never used, and that a value
// from a hostile peer leads back into the range.
func TestNextGeneration(t *testing.T) {
	for _, c := range []struct{ g, want uint32 }{
		{0, 1}, {1, 2}, {genMask - 1, genMask}, {genMask, 1}, {1 << genBits, 1}, {math.MaxUint32, 1}, {math.MaxUint32 - 1, genMask},
	} {
		if got := NextGeneration(c.g); got != c.want {
			t.Errorf("after %#x comes %#x, want %#x", c.g, got, c.want)
		}
	}
}

func TestSlots(t *testing.T) {
	for name, g := range geometries(t) {
		if g.Kind != KindSegment {
			continue
		}
		t.Run(name, func(t *testing.T) {
			mem := image(g)
			head := bytes.Clone(mem[:g.slotArea])
			s := NewSlots(mem, g)
			capacity := int(g.Capacity)
			for i := range uint64(g.Slots) {
				space := s.Space(s.Slot(i))
				if len(space) != capacity || cap(space) != capacity {
					t.Fatalf("slot %d has room for %d of %d bytes", i, len(space), cap(space))
				}
				for k := range space {
					space[k] = byte(i + 1)
				}
				s.Slot(i).Seal(i+7, i+3, capacity)
			}
			for i := range uint64(g.Slots) {
				v, err := s.Value(s.Slot(i))
				if err != nil || !bytes.Equal(v, bytes.Repeat([]byte{byte(i + 1)}, capacity)) || cap(v) != len(v) {
					t.Errorf("slot %d: %d bytes, %v", i, len(v), err)
				}
				off := g.slotArea + int64(i)*g.stride
				if binary.NativeEndian.Uint64(mem[off:]) != i+7 || binary.NativeEndian.Uint64(mem[off+8:]) != i+3 ||
					binary.NativeEndian.Uint64(mem[off+16:]) != uint64(g.Capacity) || s.Slot(i).Previous() != i+3 {
					t.Errorf("slot %d does not begin with the version, the version before it and the length", i)
				}
				sealed := bytes.Clone(mem)
				clear(sealed[off : off+8])
				slot := s.Slot(i)
				if slot.Version() != i+7 {
					t.Errorf("slot %d is of version %d", i, slot.Version())
				}
				if slot.Unseal(); slot.Version() != 0 || !bytes.Equal(mem, sealed) {
					t.Errorf("slot %d is of version %d, unsealed", i, slot.Version())
				}
			}
			if !bytes.Equal(head, mem[:g.slotArea]) {
				t.Error("writing slots changed memory before their area")
			}
			for _, n := range []uint64{uint64(g.Capacity) + 1, 1 << 31, 1 << 32, 1 << 63, math.MaxUint64} {
				binary.NativeEndian.PutUint64(mem[g.slotArea+slotLengthOff:], n)
				if v, err := s.Value(s.Slot(0)); !errors.Is(err, ErrCorrupt) || v != nil {
					t.Errorf("length %d: %d bytes, %v", n, len(v), err)
				}
			}
			if !panics(func() { s.Slot(uint64(g.Slots)) }) || !panics(func() { s.Slot(math.MaxUint64) }) {
				t.Error("there is a slot beyond the last")
			}
		})
	}
}

func TestGetPut(t *testing.T) {
	type value struct {
		A uint32
		B [3]int64
	}
	g := geometries(t)["segment"]
	s := NewSlots(image(g), g)
	in := value{1, [3]int64{2, 3, 4}}
	slot := s.Slot(1)
	n := Put(slot, &in)
	if n != int(unsafe.Sizeof(in)) || slot.Version() != 0 {
		t.Errorf("put %d bytes of version %d", n, slot.Version())
	}
	slot.Seal(1, 0, n)
	var out value
	if Get(slot, &out); out != in {
		t.Errorf("put %v, got %v", in, out)
	}
	if v, err := s.Value(slot); len(v) != int(unsafe.Sizeof(in)) || err != nil {
		t.Errorf("%d bytes, %v", len(v), err)
	}
}

// TestSameHeader checks that exactly the bytes that an initialiser writes are
// compared, in beginnings of any length.
func TestSameHeader(t *testing.T) {
	g := &Geometry{Kind: KindSegment, Slots: 2, Capacity: 64, CodecID: "codec", TypeName: "type"}
	if err := g.Place(4096); err != nil {
		t.Fatal(err)
	}
	mem := make([]byte, g.Size())
	copy(mem, Mark(false))
	g.Init(mem)
	head := mem[:HeadLen(mem)]
	for at := range head {
		changed := bytes.Clone(head)
		changed[at]++
		others := rotorOff <= at && at < textOff // written by others, or reserved
		if SameHeader(head, changed) != others || SameHeader(changed, head) != others {
			t.Fatalf("byte %d: SameHeader is wrong", at)
		}
	}
	for _, n := range []int{0, 8, 16, rotorOff, textOff - 1, textOff, len(head) - 1} {
		if !SameHeader(head[:n], head[:n]) {
			t.Errorf("%d bytes differ from themselves", n)
		}
		if n < rotorOff && (SameHeader(head[:n], head) || SameHeader(head, head[:n])) {
			t.Errorf("%d bytes are the same as %d", n, len(head))
		}
	}
}

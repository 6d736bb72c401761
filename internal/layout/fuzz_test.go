package layout

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math"
	"math/bits"
	"testing"
	"unsafe"
)

// within fails the test unless b is the n bytes of mem from offset at, with no
// capacity beyond them.
func within(t *testing.T, what string, mem, b []byte, at, n int) {
	t.Helper()
	if cap(b) == 0 && n == 0 {
		return // an empty slice needs no address
	}
	off := uintptr(unsafe.Pointer(unsafe.SliceData(b))) - uintptr(unsafe.Pointer(unsafe.SliceData(mem)))
	if len(b) != n || cap(b) != n || off != uintptr(at) || at+n > len(mem) {
		t.Fatalf("%s: %d of %d bytes at %d of %d, want %d at %d", what, len(b), cap(b), off, len(mem), n, at)
	}
}

// FuzzGeometry makes headers whose fields all agree except for one patch. It so
// reaches the code behind the checks that the random headers of FuzzRead do not
// pass.
func FuzzGeometry(f *testing.F) {
	for _, g := range geometries(f) {
		f.Add(uint32(g.Kind), uint32(g.Slots), uint64(g.Capacity), uint32(g.page), uint32(len(g.CodecID)), uint32(len(g.TypeName)), uint8(0), uint64(0))
	}
	for _, capacity := range []uint64{math.MaxInt32 / 4, math.MaxInt32/4 + 1, math.MaxInt64 / 4, math.MaxInt64/4 + 1, math.MaxInt64, math.MaxUint64, math.MaxUint64 - 63, 1 << 47} {
		f.Add(uint32(KindSegment), uint32(MaxSlots), capacity, uint32(4096), uint32(7), uint32(6), uint8(0), uint64(0))
		f.Add(uint32(KindSegment), uint32(2), capacity, uint32(1<<24), uint32(MaxText), uint32(MaxText), uint8(0), uint64(0))
	}
	f.Add(uint32(KindSegment), uint32(3), uint64(64), uint32(4096), uint32(math.MaxUint32), uint32(math.MaxUint32), uint8(0), uint64(0))
	f.Add(uint32(KindSegment), uint32(3), uint64(64), uint32(0), uint32(7), uint32(6), uint8(0), uint64(0))
	f.Add(uint32(KindSegment), uint32(3), uint64(64), uint32(4096), uint32(7), uint32(6), uint8(slotAreaOff), uint64(textOff))
	f.Add(uint32(KindMutex), uint32(0), uint64(0), uint32(4096), uint32(0), uint32(0), uint8(slotAreaOff), uint64(1))
	f.Fuzz(func(t *testing.T, kind, slots uint32, capacity uint64, page, codecLen, typeLen uint32, patchOff uint8, patch uint64) {
		// The sums are those of Place, but they wrap around, as those of a
		// hostile peer may.
		up := func(n, to uint64) uint64 {
			if to == 0 {
				return n
			}
			return (n + to - 1) / to * to
		}
		wait := up(textOff+uint64(codecLen)+uint64(typeLen), uint64(page))
		g := &Geometry{Kind: Kind(kind), Slots: int(slots)}
		area := wait + uint64(page)
		if g.HasRows() {
			area += up(uint64(rowsSize), uint64(page))
		}
		stride := SlotHeader + up(capacity, align)
		size := up(area+stride*uint64(slots), uint64(page))
		if !g.Kind.slotted() {
			size, area, stride = area, 0, 0
		}
		if !g.Kind.waits() {
			size, wait = wait, 0
		}
		head := make([]byte, textOff+int(min(codecLen, MaxText))+int(min(typeLen, MaxText)))
		copy(head, Mark(false))
		for _, w := range []struct {
			off int
			v   uint32
		}{
			{readyOff, Format}, {kindOff, kind}, {membersOff, Members}, {slotsOff, slots},
			{pageOff, page}, {codecLenOff, codecLen}, {typeLenOff, typeLen},
		} {
			binary.NativeEndian.PutUint32(head[w.off:], w.v)
		}
		for _, w := range []struct {
			off int
			v   uint64
		}{{sizeOff, size}, {capacityOff, capacity}, {strideOff, stride}, {slotAreaOff, area}, {waitPageOff, wait}} {
			binary.NativeEndian.PutUint64(head[w.off:], w.v)
		}
		if patchOff != 0 {
			binary.NativeEndian.PutUint64(head[patchOff:], patch)
		}

		if ready, err := Ready(head); err == nil && ready {
			if n := HeadLen(head); n > textOff+2*MaxText {
				t.Fatalf("HeadLen is %d", n)
			}
		}
		checkRead(t, head, int64(size))
		g, err := Read(head, int64(size))
		if err != nil {
			return
		}
		if g.Kind.slotted() {
			over, used := bits.Mul64(uint64(g.stride), uint64(g.Slots))
			end, carry := bits.Add64(uint64(g.slotArea), used, 0)
			if over != 0 || carry != 0 || end > uint64(g.Size()) || g.Size() > math.MaxInt64/2+page24 {
				t.Fatalf("%d slots of %d bytes at %d, in %d", g.Slots, g.stride, g.slotArea, g.Size())
			}
		}
		if g.Size() > 1<<17 {
			return
		}
		words := make([]uint64, g.Size()/8)
		mem := unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(words))), g.Size())
		copy(mem, head)
		touch(t, mem, g)
	})
}

const page24 = 1 << 24 // the largest page, to whose multiples a size is rounded up

// touch uses every accessor on every part of a mapping.
func touch(t *testing.T, mem []byte, g *Geometry) {
	t.Helper()
	w := NewWords(mem)
	w.Mutex().Add(1)
	w.Rotor().Add(1)
	w.Versions()[1]++
	w.End().Load()
	w.Generation(Members - 1).Add(1)
	w.HolderPID(Members - 1).Add(1)
	for c := range Counter(Counters) {
		w.Counter(c).Add(1)
	}
	if wait := NewWaitPage(mem, g); wait.Usable() {
		off, _ := g.WaitPage()
		within(t, "wait page", mem, unsafe.Slice((*byte)(unsafe.Pointer(wait.words)), waitPageSize), off, waitPageSize)
		wait.WatchFlag().Add(1)
		for i := range Events {
			wait.Event(i).Seq.Add(1)
			wait.Event(i).Flag.Add(1)
		}
		for i := range WaitWords {
			wait.Word(i).Add(1)
		}
		if g.HasRows() {
			within(t, "rows", mem, unsafe.Slice((*byte)(unsafe.Pointer(wait.rows)), rowsSize), off+g.PageSize(), rowsSize)
			wait.words.used.Store(math.MaxUint64) // as a hostile peer may
			for range wait.UsedRows() {
			}
			for slot := range Members {
				wait.Row(slot).Add(1)
				wait.UseRow(slot)
				wait.DisuseRow(slot)
			}
		}
	}
	if !g.Kind.slotted() {
		return
	}
	s := NewSlots(mem, g)
	for i := range uint64(g.Slots) {
		at := int(g.slotArea+int64(i)*g.stride) + SlotHeader
		slot := s.Slot(i)
		space := s.Space(slot)
		within(t, "Space", mem, space, at, int(g.Capacity))
		clear(space)
		slot.Unseal()
		slot.Seal(i+1, i, int(g.Capacity))
		b, err := s.Value(slot)
		if err != nil || slot.Version() != i+1 {
			t.Fatalf("version %d, %v", slot.Version(), err)
		}
		within(t, "Value", mem, b, at, int(g.Capacity))
	}
}

// FuzzSlots gives slots arbitrary versions and lengths.
func FuzzSlots(f *testing.F) {
	headers := func(words ...uint64) (b []byte) {
		for _, w := range words {
			b = binary.NativeEndian.AppendUint64(b, w)
		}
		return b
	}
	f.Add(uint8(3), uint16(100), headers(1, 1, 2, 101, 3, 100), uint64(1))
	f.Add(uint8(2), uint16(0), headers(0, 1<<63, math.MaxUint64, math.MaxUint64), uint64(2))
	f.Add(uint8(2), uint16(64), headers(1<<63, 64|1<<32, 5, 65), uint64(math.MaxUint64))
	f.Fuzz(func(t *testing.T, slots uint8, capacity uint16, headers []byte, i uint64) {
		g := &Geometry{Kind: KindSegment, Slots: max(int(slots%16), 2), Capacity: int64(capacity % 512)}
		if err := g.Place(1 << 10); err != nil {
			t.Fatal(err)
		}
		mem := image(g)
		for k := 0; k < g.Slots; k++ {
			at := g.slotArea + int64(k)*g.stride
			copy(mem[at:at+24], headers[min(24*k, len(headers)):])
		}
		s := NewSlots(mem, g)
		for k := range uint64(g.Slots) {
			at := int(g.slotArea + int64(k)*g.stride)
			version, n := binary.NativeEndian.Uint64(mem[at:]), binary.NativeEndian.Uint64(mem[at+16:])
			slot := s.Slot(k)
			if slot.Version() != version {
				t.Fatalf("slot %d is of version %d, want %d", k, slot.Version(), version)
			}
			b, err := s.Value(slot)
			if (err == nil) != (n <= uint64(g.Capacity)) || err != nil && (!errors.Is(err, ErrCorrupt) || b != nil) {
				t.Fatalf("slot %d says %d bytes, the capacity is %d: %d bytes, %v", k, n, g.Capacity, len(b), err)
			}
			if err == nil {
				within(t, "Value", mem, b, at+SlotHeader, int(n))
			}
			within(t, "Space", mem, s.Space(slot), at+SlotHeader, int(g.Capacity))
			slot.Unseal()
			if b, again := s.Value(slot); slot.Version() != 0 || (again == nil) != (err == nil) || err == nil && len(b) != int(n) {
				t.Fatalf("unsealed, slot %d is of version %d: %d bytes, %v", k, slot.Version(), len(b), again)
			}
		}
		if i >= uint64(g.Slots) && !panics(func() { s.Slot(i) }) {
			t.Fatalf("there is a slot %d", i)
		}
	})
}

// FuzzMembers uses a member table and counters with arbitrary bytes.
func FuzzMembers(f *testing.F) {
	f.Add([]byte{}, uint16(0), uint16(0))
	f.Add([]byte{1, 0, 0, 0, 0x67, 0x12, 0, 0}, uint16(0), uint16(memberOff))
	f.Add([]byte{0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF}, uint16(Members-1), uint16(textOff-memberSize))
	f.Add([]byte{0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF}, uint16(DisturbedReads), uint16(countOff+16))
	g := geometries(f)["mutex"]
	f.Fuzz(func(t *testing.T, table []byte, i, at uint16) {
		mem := image(g)
		from := countOff + int(at)%(textOff-countOff)
		copy(mem[from:textOff], table)
		before := bytes.Clone(mem)
		w, slot, c := NewWords(mem), int(i%Members), Counter(i%Counters)
		off, n := MemberTable()
		generation, holder, count := w.Generation(slot), w.HolderPID(slot), w.Counter(c)
		if generation.Load() != binary.NativeEndian.Uint32(mem[off+8*slot:]) || holder.Load() != HolderPID(mem[off:off+n], slot) ||
			count.Load() != Counts(mem)[c] {
			t.Fatalf("slot %d: generation %#x, process %#x; counter %d is %d", slot, generation.Load(), holder.Load(), c, count.Load())
		}
		if next := NextGeneration(generation.Load()); next == 0 || next > genMask {
			t.Fatalf("generation %#x is followed by %#x", generation.Load(), next)
		}
		generation.Store(0)
		holder.Store(0)
		count.Add(1)
		clear(before[off+8*slot : off+8*slot+8])
		binary.NativeEndian.PutUint64(before[countOff+8*c:], Counts(before)[c]+1)
		if !bytes.Equal(mem, before) {
			t.Fatalf("slot %d and counter %d share memory with others", slot, c)
		}
	})
}

// FuzzMutexWord takes an arbitrary mutex word and an arbitrary generation
// apart.
func FuzzMutexWord(f *testing.F) {
	f.Add(uint32(0), uint32(0), uint16(0))
	f.Add(uint32(math.MaxUint32), uint32(math.MaxUint32), uint16(math.MaxUint16))
	f.Add(uint32(WaitersBit|InconsistentBit), uint32(genMask), uint16(Members-1))
	w := NewWords(image(geometries(f)["mutex"]))
	f.Fuzz(func(t *testing.T, word, generation uint32, slot uint16) {
		owner := Owner(word)
		if owner.Slot() < 0 || owner.Slot() >= Members || owner.Generation() > genMask || NewIdent(owner.Slot(), owner.Generation()) != owner {
			t.Errorf("the owner in %#x is %d of generation %d", word, owner.Slot(), owner.Generation())
		}
		w.Generation(owner.Slot()).Store(generation)
		next := NextGeneration(generation)
		if next == 0 || next > genMask || next == generation&genMask {
			t.Errorf("generation %#x is followed by %#x", generation, next)
		}
		if id := NewIdent(int(slot), next); id == 0 || id&^IdentMask != 0 || id.Generation() != next || id.Slot() != int(slot)%Members {
			t.Errorf("slot %d of generation %#x is %#x", slot, next, id)
		}
	})
}

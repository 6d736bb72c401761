package layout

import (
	"encoding/binary"
	"slices"
	"testing"
	"unsafe"
)

// TestWaitPage checks that the words of the wait page and the rows lie where
// the format says.
func TestWaitPage(t *testing.T) {
	g := geometries(t)["segment"]
	mem := image(g)
	w := NewWaitPage(mem, g)
	page, _ := g.WaitPage()
	rows := page + g.PageSize()
	w.WatchFlag().Store(0x01020304)
	w.Event(0).Seq.Store(0x11121314)
	w.Event(0).Flag.Store(0x15161718)
	w.Event(Events - 1).Seq.Store(0x21222324)
	w.Word(0).Store(0x3132333435363738)
	w.Word(WaitWords - 1).Store(0x4142434445464748)
	w.Row(0).Store(0x5152535455565758)
	w.Row(1).Store(0x6162636465666768)
	w.Row(6).Store(0x7172737475767778)
	w.Row(Members - 1).Store(0x0102030405060708)
	for off, want := range map[int]uint32{page: 0x01020304, page + 64: 0x11121314, page + 68: 0x15161718, page + 192: 0x21222324} {
		if got := binary.NativeEndian.Uint32(mem[off:]); got != want {
			t.Errorf("offset %d: %#x, want %#x", off, got, want)
		}
	}
	for off, want := range map[int]uint64{
		page + 256: 0x3132333435363738, page + 256 + 7*64: 0x4142434445464748,
		rows:            0x5152535455565758, // 0000000000
		rows + 8*0x200:  0x6162636465666768, // 0000000001
		rows + 8*0x180:  0x7172737475767778, // 0000000110
		rows + 8192 - 8: 0x0102030405060708, // 1111111111
	} {
		if got := binary.NativeEndian.Uint64(mem[off:]); got != want {
			t.Errorf("offset %d: %#x, want %#x", off, got, want)
		}
	}
	line := func(slot int) uintptr { return uintptr(unsafe.Pointer(w.Row(slot%Members))) / 64 }
	for slot := range Members {
		for n := 1; n < 128; n++ {
			if line(slot) == line(slot+n) {
				t.Fatalf("the rows of members %d and %d share a cache line", slot, (slot+n)%Members)
			}
		}
	}
	for what, f := range map[string]func(){
		"an event count": func() { w.Event(Events) },
		"a word":         func() { w.Word(WaitWords) },
		"a row":          func() { w.Row(Members) },
		"a row below":    func() { w.Row(-1) },
	} {
		if !panics(f) {
			t.Errorf("%s out of range is returned", what)
		}
	}
	if mutex := geometries(t)["mutex"]; NewWaitPage(image(mutex), mutex).Usable() {
		t.Error("a mutex has a wait page")
	}
}

// TestRowsApart checks that members do not share rows.
func TestRowsApart(t *testing.T) {
	g := geometries(t)["rwmutex"]
	w := NewWaitPage(image(g), g)
	for slot := range Members {
		if w.Row(slot).Swap(1) != 0 {
			t.Fatalf("slot %d shares its row", slot)
		}
	}
}

func TestHolding(t *testing.T) {
	for _, holder := range []Ident{NewIdent(0, 1), NewIdent(Members-1, genMask), NewIdent(5, 77)} {
		for _, n := range []uint64{1, 77, MaxHolding} {
			if h := NewHolding(holder, n); h.Holder() != holder || h.N() != n {
				t.Errorf("%#x holds %d: %#x, %d", holder, n, h.Holder(), h.N())
			}
		}
		if h := NewHolding(holder, 0); h != 0 {
			t.Errorf("%#x holds nothing: %#x", holder, uint64(h))
		}
	}
}

func TestUsedRows(t *testing.T) {
	g := geometries(t)["semaphore"]
	w := NewWaitPage(image(g), g)
	used := func() []int { return slices.Collect(w.UsedRows()) }
	if w.AnyRow() || used() != nil {
		t.Fatalf("rows %v are used at the start", used())
	}
	want := []int{0, 1, 63, 64, 700, Members - 1}
	for _, slot := range want {
		w.UseRow(slot)
		w.UseRow(slot)
	}
	if got := used(); !w.AnyRow() || !slices.Equal(got, want) {
		t.Errorf("rows %v are used, want %v", got, want)
	}
	for i, slot := range want {
		w.Row(slot).Store(1 << i)
	}
	if or := w.OrRows(); or != 1<<len(want)-1 {
		t.Errorf("all rows are %#x", or)
	}
	w.DisuseRow(0)
	w.DisuseRow(64)
	w.DisuseRow(65) // was not used
	if got := used(); !slices.Equal(got, []int{1, 63, 700, Members - 1}) {
		t.Errorf("rows %v are used", got)
	}
	for _, slot := range want {
		w.DisuseRow(slot)
	}
	if w.AnyRow() || used() != nil {
		t.Errorf("rows %v are used at the end", used())
	}
	w.UseRow(9)
	for range w.UsedRows() {
		break
	}
}

package member

import (
	"errors"
	"io/fs"
	"slices"
	"sync"
	"testing"

	"github.com/sharedseg/sharedseg/internal/layout"
	"github.com/sharedseg/sharedseg/internal/proctest"
)

// TestRow checks that a row belongs to a member slot, and that it is cleared
// when its handle leaves or when the slot is claimed again.
func TestRow(t *testing.T) {
	s := segment(in(proctest.TempDir(t)))
	a, b := join(t, s), join(t, s)
	used := func() []int { return slices.Collect(a.WaitPage.UsedRows()) }
	if a.WaitPage.AnyRow() {
		t.Fatal("a row is used before any handle asked for one")
	}
	row, err := b.Row()
	must(t, err)
	again, err := b.Row()
	if must(t, err); row != again {
		t.Error("a handle has two rows")
	}
	slot := layout.Ident(b.Self()).Slot()
	row.Store(7)
	if got := a.WaitPage.Row(slot).Load(); got != 7 || !slices.Equal(used(), []int{slot}) {
		t.Errorf("the others see %d, and %v in use", got, used())
	}
	must(t, b.Leave(false))
	if got := a.WaitPage.Row(slot).Load(); got != 0 || a.WaitPage.AnyRow() {
		t.Errorf("it left %d in its row, and %v in use", got, used())
	}
	d := join(t, s)
	d.BeginClose()
	must(t, d.Leave(false))
	if _, err := d.Row(); !errors.Is(err, fs.ErrClosed) {
		t.Errorf("Row of a closed handle: %v", err)
	}

	a.WaitPage.Row(slot).Store(9) // as a killed handle leaves it
	a.WaitPage.UseRow(slot)
	a.Words.Rotor().Store(uint32(slot))
	e := a.Event(RowEvent)
	defer e.Queue.Close()
	e.Flag.Store(1)
	seq := e.Seq.Load()
	c := join(t, s)
	if layout.Ident(c.Self()).Slot() != slot || a.WaitPage.Row(slot).Load() != 0 {
		t.Errorf("slot %d has %d in its row", slot, a.WaitPage.Row(slot).Load())
	}
	if e.Flag.Load() != 0 || e.Seq.Load() == seq {
		t.Error("no waiter was woken when the row was cleared")
	}
}

// TestRowOfReader checks that a reader gets a row, and with it a member slot,
// when it asks for one.
func TestRowOfReader(t *testing.T) {
	s := segment(in(proctest.TempDir(t)))
	a := join(t, s)
	r := stay(t)(JoinReader(s))
	rows := make(chan int, 8)
	var wg sync.WaitGroup
	for range cap(rows) {
		wg.Go(func() {
			if _, err := r.Row(); err != nil {
				t.Error(err)
			}
			rows <- r.rowSlot
		})
	}
	wg.Wait()
	slot := <-rows
	for range cap(rows) - 1 {
		if other := <-rows; other != slot {
			t.Errorf("rows %d and %d", slot, other)
		}
	}
	if slot == layout.Ident(a.Self()).Slot() || a.Words.Generation(slot).Load() != 1 {
		t.Errorf("slot %d, generation %d", slot, a.Words.Generation(slot).Load())
	}
	ident := layout.NewIdent(slot, 1)
	alive(t, a, uint32(ident), true)
	row, err := r.Row()
	must(t, err)
	row.Store(3)
	must(t, r.Leave(false))
	alive(t, a, uint32(ident), false)
	if a.WaitPage.AnyRow() || a.WaitPage.Row(slot).Load() != 0 {
		t.Error("the row of a reader that left is still in use")
	}
}

// TestRowNamesHolder checks that a row that names its holder is not cleared
// when the slot is claimed again, and that the new identity is not the one that
// the row names.
func TestRowNamesHolder(t *testing.T) {
	s := segment(in(proctest.TempDir(t)))
	s.New = func(page int) (*layout.Geometry, error) {
		g := &layout.Geometry{Kind: layout.KindSemaphore, Capacity: 3}
		return g, g.Place(page)
	}
	a := join(t, s)
	const slot = 7
	for _, mutexNames := range []bool{false, true} {
		last := a.Words.Generation(slot).Load()
		dead := layout.NewIdent(slot, layout.NextGeneration(last)) // a million holders ago
		row := uint64(layout.NewHolding(dead, 3))
		a.WaitPage.Row(slot).Store(row)
		want := layout.NextGeneration(dead.Generation())
		if mutexNames {
			a.Words.Mutex().Store(uint32(layout.NewIdent(slot, want)))
			want = layout.NextGeneration(want)
		}
		a.Words.Rotor().Store(slot)
		b := join(t, s)
		if got := layout.Ident(b.Self()); got != layout.NewIdent(slot, want) {
			t.Errorf("after generation %d, with %d in the row, comes %d of slot %d", last, dead.Generation(), got.Generation(), got.Slot())
		}
		if got := a.WaitPage.Row(slot).Load(); got != row {
			t.Errorf("the row was %#x, now %#x", row, got)
		}
		if a.Alive(uint32(dead)) || !a.Open(slot) || a.Open(slot+1) {
			t.Errorf("the dead is alive: %v; its slot is open: %v; the next is: %v", a.Alive(uint32(dead)), a.Open(slot), a.Open(slot+1))
		}
		a.Words.Mutex().Store(0)
		must(t, b.Leave(false))
	}
}

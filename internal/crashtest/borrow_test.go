//go:build sharedseg_steps && linux

package crashtest

import (
	"testing"

	"github.com/sharedseg/sharedseg/codec"
	"github.com/sharedseg/sharedseg/internal/proctest"
	"github.com/sharedseg/sharedseg/internal/step"
	"github.com/sharedseg/sharedseg/segment"
)

// TestBorrowLooksTwice checks that Borrow does not keep a version that others
// replace right before it looks for the second time. A writer may have begun to
// write to the slot of such a version before it could see that the slot is
// borrowed.
func TestBorrowLooksTwice(t *testing.T) {
	name := proctest.Name(t)
	open := func() *segment.Segment[uint64] {
		s, err := segment.Open(name, codec.Fixed[uint64](), &segment.Options{Slots: 4})
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	borrower, writer := open(), open()
	defer borrower.Close()
	defer writer.Close()
	store := func(n uint64) {
		if err := writer.Store(n); err != nil {
			t.Error(err)
		}
	}
	store(1)
	for n := uint64(2); n < 20; n += 2 { // the first Borrow takes another path
		step.Arm(step.PinSet, 1, func() { store(n) })
		b, err := borrower.Borrow(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if *b.Value() != n || b.Version() != writer.Version() {
			t.Errorf("borrowed %d, version %d; %d, version %d, was stored before the second look", *b.Value(), b.Version(), n, writer.Version())
		}
		store(n + 1)
		if *b.Value() != n {
			t.Errorf("%d became %d", n, *b.Value())
		}
		if err := b.Release(); err != nil {
			t.Error(err)
		}
	}
}

package payload

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"testing"
	"unsafe"

	"github.com/google/go-cmp/cmp"
	"github.com/sharedseg/sharedseg"
	"github.com/sharedseg/sharedseg/codec"
	"github.com/sharedseg/sharedseg/internal/layout"
	"github.com/sharedseg/sharedseg/internal/proctest"
)

const capacity = 64

// slots returns the slots of a segment in private memory.
func slots(t testing.TB) layout.Slots {
	t.Helper()
	g := &layout.Geometry{Kind: layout.KindSegment, Slots: 2, Capacity: capacity}
	if err := g.Place(4096); err != nil {
		t.Fatal(err)
	}
	words := make([]uint64, g.Size()/8)
	return layout.NewSlots(unsafe.Slice((*byte)(unsafe.Pointer(&words[0])), g.Size()), g)
}

type point struct{ X, Y int64 }

type toggles struct{ On, Off bool }

// exclaimer is a codec from outside the module. It decodes in place and keeps
// its arguments.
type exclaimer struct {
	codec.Codec[string]
	kept *[]*string
}

func (exclaimer) ID() string { return "exclaimer" }

func (e exclaimer) DecodeInPlace(b []byte, v *string) error {
	*e.kept = append(*e.kept, v)
	*v = string(b) + "!"
	return nil
}

// roundTrip stores a value in a slot and loads it, as a segment does.
func roundTrip[T any](t *testing.T, c codec.Codec[T], v, want T, plain, direct, copied bool) {
	t.Run(fmt.Sprintf("%T", c), func(t *testing.T) {
		p := New(c, slots(t), "")
		if p.Plain != plain || p.Direct != direct || p.Copied != copied {
			t.Errorf("Plain %t, Direct %t, Copied %t; want %t, %t, %t", p.Plain, p.Direct, p.Copied, plain, direct, copied)
		}
		slot := p.Slot(1)
		var n int
		var err error
		if p.Plain {
			n = layout.Put(slot, &v)
		} else if n, err = p.Put(slot, &v); err != nil {
			t.Fatal(err)
		}
		slot.Seal(1, 0, n)
		got := new(T)
		var private []byte
		switch {
		case p.Plain:
			layout.Get(slot, got)
		case p.Copied:
			if err = p.Copy(slot, &private); err == nil {
				err = p.Decode(private, got)
			}
		case p.Direct:
			err = p.Get(slot, got)
		default:
			err = p.DecodeInPlace(slot, got)
		}
		if diff := cmp.Diff(want, *got); err != nil || diff != "" {
			t.Errorf("%v (-want +got):\n%s", err, diff)
		}
	})
}

func TestRoundTrip(t *testing.T) {
	var kept []*string
	roundTrip(t, codec.Fixed[point](), point{1, 2}, point{1, 2}, true, true, false)
	roundTrip(t, codec.Fixed[toggles](), toggles{On: true}, toggles{On: true}, false, true, false)
	roundTrip(t, codec.Bytes(), []byte("bytes"), []byte("bytes"), false, true, false)
	roundTrip(t, codec.String(), "string", "string", false, true, false)
	roundTrip(t, codec.UTF16(), "grüße", "grüße", false, true, false)
	roundTrip(t, codec.JSON[point](), point{1, 2}, point{1, 2}, false, false, true)
	roundTrip[string](t, exclaimer{codec.String(), &kept}, "theirs", "theirs!", false, false, false)
}

// A value that does not fit is rejected, for every way to encode it.
func TestTooLarge(t *testing.T) {
	long := strings.Repeat("x", capacity+1)
	refused := func(what string, err error) {
		t.Helper()
		if !errors.Is(err, sharedseg.ErrTooLarge) || !strings.Contains(err.Error(), "the capacity is 64") {
			t.Errorf("%s: %v", what, err)
		}
	}
	bytes, text, wide := New(codec.Bytes(), slots(t), ""), New(codec.String(), slots(t), ""), New(codec.UTF16(), slots(t), "")
	raw := []byte(long)
	_, err := bytes.Put(bytes.Slot(0), &raw)
	refused("Bytes", err)
	_, err = text.Put(text.Slot(0), &long)
	refused("String", err)
	_, err = wide.Put(wide.Slot(0), &long)
	refused("UTF16", err)
}

// Copy and Get reject a length that no correct peer writes, and Get an encoding
// that no codec makes.
func TestHostile(t *testing.T) {
	p := New(codec.Bytes(), slots(t), "")
	slot := p.Slot(0)
	slot.Seal(1, 0, capacity+1)
	v := []byte("before")
	if err := p.Get(slot, &v); !errors.Is(err, sharedseg.ErrCorrupt) || string(v) != "before" {
		t.Errorf("Get = %v, and %q", err, v)
	}
	if err := p.Copy(slot, &v); !errors.Is(err, sharedseg.ErrCorrupt) || len(v) != 0 {
		t.Errorf("Copy = %v, and %d bytes", err, len(v))
	}
	b := New(codec.Fixed[toggles](), slots(t), "")
	slot = b.Slot(0)
	binary.NativeEndian.PutUint16(b.Space(slot), 0x0201)
	slot.Seal(1, 0, 2)
	w := toggles{On: true}
	if err := b.Get(slot, &w); !errors.Is(err, codec.ErrMalformed) || w != (toggles{}) {
		t.Errorf("Get = %v, and %v", err, w)
	}
}

// Values of this module's codecs allocate only their own memory, and can be
// loaded to the stack.
func TestAllocations(t *testing.T) {
	bytes, text := New(codec.Bytes(), slots(t), ""), New(codec.String(), slots(t), "")
	wide, bools := New(codec.UTF16(), slots(t), ""), New(codec.Fixed[toggles](), slots(t), "")
	raw, s := []byte("bytes"), "a string, which is not short enough for a buffer on the stack"
	for _, c := range []struct {
		what string
		want float64
		do   func() error
	}{
		{"Put Bytes", 0, func() error { _, err := bytes.Put(bytes.Slot(0), &raw); return err }},
		{"Put String", 0, func() error { _, err := text.Put(text.Slot(0), &s); return err }},
		{"Get Bytes", 0, func() error { return bytes.Get(bytes.Slot(0), &raw) }},
		{"Get String", 1, func() error { var v string; return text.Get(text.Slot(0), &v) }},
		{"Get UTF16", 1, func() error { var v string; return wide.Get(wide.Slot(0), &v) }},
		{"Get bools", 0, func() error { var v toggles; return bools.Get(bools.Slot(0), &v) }},
	} {
		seal := func(s layout.Slot, n int) { s.Seal(1, 0, n) }
		seal(bytes.Slot(0), len(raw))
		seal(text.Slot(0), len(s))
		copy(wide.Space(wide.Slot(0)), "w\x00i\x00d\x00e\x00\x00\x00")
		seal(wide.Slot(0), 10)
		seal(bools.Slot(0), 2)
		var err error
		if got := proctest.Allocs(c.want, func() { err = errors.Join(err, c.do()) }); got != c.want || err != nil {
			t.Errorf("%s: %v allocations, want %v; %v", c.what, got, c.want, err)
		}
	}
}

var small []byte // on the heap

// Private memory is aligned, whatever was allocated before, and belongs to the
// caller alone.
func TestPrivate(t *testing.T) {
	p := New(codec.Fixed[point](), slots(t), "")
	for n := int(unsafe.Sizeof(point{})); n < 40; n++ {
		var all [64][]byte
		for i := range all {
			small = make([]byte, i%7+1)
			all[i] = p.Private(n)
			if len(all[i]) != n || cap(all[i]) != n || p.In(all[i]) == nil {
				t.Fatalf("Private(%d): %d bytes of %d at %p", n, len(all[i]), cap(all[i]), all[i])
			}
			for j := range all[i] {
				all[i][j] = byte(i)
			}
		}
		for i, b := range all {
			if bytes.Count(b, []byte{byte(i)}) != n {
				t.Fatalf("Private(%d) returned memory that was in use", n)
			}
		}
	}
}

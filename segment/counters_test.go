package segment_test

import (
	"context"
	"encoding/binary"
	"errors"
	"os"
	"testing"
	"time"

	"github.com/sharedseg/sharedseg"
	"github.com/sharedseg/sharedseg/codec"
	"github.com/sharedseg/sharedseg/internal/layout"
	"github.com/sharedseg/sharedseg/internal/mapping"
	"github.com/sharedseg/sharedseg/internal/member"
	"github.com/sharedseg/sharedseg/internal/proctest"
	"github.com/sharedseg/sharedseg/segment"
)

// counts returns the counters in the header of a segment.
func counts(t *testing.T, name string) [layout.Counters]uint64 {
	t.Helper()
	st, err := member.Stat(&mapping.Place{Name: name})
	must(t, err)
	return st.Counts
}

// disturbed is a codec that has a value overwritten while it is decoded, as
// many times as *times says.
type disturbed struct {
	codec.Codec[string]
	times *int
	by    func()
}

func (d disturbed) DecodeInPlace(b []byte, v *string) error {
	if *d.times > 0 {
		*d.times--
		d.by()
	}
	return d.Codec.Decode(b, v)
}

// A read that has to start again is counted once, if the handle may write.
func TestDisturbedReadsAreCounted(t *testing.T) {
	name := proctest.Name(t)
	w := open(t, name, codec.String(), &segment.Options{Slots: 2})
	store := func() {
		if err := errors.Join(w.Store("some"), w.Store("other")); err != nil {
			t.Error(err)
		}
	}
	store()
	times := 0
	c := disturbed{codec.String(), &times, store}
	s := open[string](t, name, c, nil)
	r, err := segment.OpenReader[string](name, c, nil)
	must(t, err)
	defer r.Close()
	var want [layout.Counters]uint64
	for _, h := range []readable[string]{r, s} {
		for n := range 4 {
			times = n
			if v, err := h.Load(); v != "other" || err != nil || times != 0 {
				t.Fatalf("Load = %q, %v", v, err)
			}
			if n > 0 && h == readable[string](s) {
				want[layout.DisturbedReads]++
			}
			if got := counts(t, name); got != want {
				t.Errorf("disturbed %d times: counts are %v, want %v", n, got, want)
			}
		}
	}
}

// A wait in which a goroutine sleeps is counted once, if the handle may write.
func TestWaitsAreCounted(t *testing.T) {
	name := proctest.Name(t)
	s := open(t, name, codec.String(), nil)
	r, err := segment.OpenReader(name, codec.String(), nil)
	must(t, err)
	defer r.Close()
	must(t, s.Store("one"))
	for _, h := range []readable[string]{r, s} {
		if _, err := h.Wait(t.Context(), 0); err != nil {
			t.Fatal(err)
		}
	}
	if got := counts(t, name); got != [layout.Counters]uint64{} {
		t.Errorf("without a wait, counts are %v", got)
	}
	for _, h := range []readable[string]{r, s} {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		_, err := h.Wait(ctx, 1)
		want(t, err, context.DeadlineExceeded)
		cancel()
	}
	if got := counts(t, name); got != [layout.Counters]uint64{layout.Waits: 1} {
		t.Errorf("after a wait of a Segment and one of a Reader, counts are %v", got)
	}
}

// The header of each slot has the version of its value, the version before it
// and the length. It has no version after a Store to it has failed.
func TestSlotsCarryTheirVersion(t *testing.T) {
	o := segment.Options{Dir: proctest.TempDir(t), Capacity: 16, Slots: 3}
	t.Run("plain", func(t *testing.T) {
		s := open(t, "plain", codec.Fixed[point](), &o)
		slotHeaders(t, "plain", &o, func(uint64) error { return s.Store(point{1, 2}) })
	})
	t.Run("updated", func(t *testing.T) {
		s := open(t, "updated", codec.Fixed[point](), &o)
		slotHeaders(t, "updated", &o, func(n uint64) error {
			return s.Update(func(p *point) error { p.X = n; return nil })
		})
	})
	t.Run("encoded", func(t *testing.T) {
		s := open(t, "encoded", codec.String(), &o)
		headers := slotHeaders(t, "encoded", &o, func(uint64) error { return s.Store("0123456789012345") })
		before := headers()
		want(t, s.Store("01234567890123456"), sharedseg.ErrTooLarge)
		before[8%3][0] = 0
		if got := headers(); got != before {
			t.Errorf("after a failed Store, the slot headers are %v, want %v", got, before)
		}
	})
}

// slotHeaders stores 7 versions of 16 bytes in 3 slots and checks the headers
// after each. It returns a function that reads them.
func slotHeaders(t *testing.T, name string, o *segment.Options, store func(n uint64) error) (headers func() [3][3]uint64) {
	t.Helper()
	headers = func() [3][3]uint64 { return headersOf(t, name, o) }
	var want [3][3]uint64
	for v := uint64(1); v <= 7; v++ {
		must(t, store(v))
		want[v%3] = [3]uint64{v, v - 1, 16}
		if got := headers(); got != want {
			t.Fatalf("after version %d, the slot headers are %v, want %v", v, got, want)
		}
	}
	return headers
}

// headersOf reads the headers of the first 3 slots of a segment.
func headersOf(t *testing.T, name string, o *segment.Options) (h [3][3]uint64) {
	t.Helper()
	info, err := sharedseg.Stat(name, o.Place())
	must(t, err)
	file, err := os.ReadFile(info.Path)
	must(t, err)
	area, stride := binary.NativeEndian.Uint64(file[56:]), binary.NativeEndian.Uint64(file[48:])
	for i := range h {
		at := area + uint64(i)*stride
		h[i] = [3]uint64{binary.NativeEndian.Uint64(file[at:]), binary.NativeEndian.Uint64(file[at+8:]), binary.NativeEndian.Uint64(file[at+16:])}
	}
	return h
}

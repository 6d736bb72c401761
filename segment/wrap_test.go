package segment_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"path/filepath"
	"testing"

	"github.com/sharedseg/sharedseg/codec"
	"github.com/sharedseg/sharedseg/internal/proctest"
	"github.com/sharedseg/sharedseg/segment"
)

// agedSegment creates a persistent segment "x" that has as many versions as
// version says, and returns its options.
func agedSegment(t *testing.T, lockReads bool, slots int, version uint64) *segment.Options {
	t.Helper()
	o := &segment.Options{Dir: proctest.TempDir(t), Persist: true, LockReads: lockReads, Slots: slots}
	open(t, "x", codec.Fixed[cell](), o).Close()
	const begin, end = 192, 200
	patch(t, filepath.Join(o.Dir, "x"), begin, version)
	patch(t, filepath.Join(o.Dir, "x"), end, version)
	return o
}

// Versions continue beyond 32 bits, the lower of which the futex compares, and
// beyond 63 bits, up to which a version is divided by the number of slots.
// Watchers miss none.
func TestVersionsGoOn(t *testing.T) {
	for _, start := range []uint64{1<<32 - 3, 1<<33 - 3, 1<<63 - 3, 1<<64 - 8} {
		for _, lockReads := range []bool{false, true} {
			for _, slots := range []int{2, 3, 7} {
				t.Run(fmt.Sprint(start, lockReads, slots), func(t *testing.T) {
					o := agedSegment(t, lockReads, slots, start)
					s := open(t, "x", codec.Fixed[cell](), o)
					other := open(t, "x", codec.Fixed[cell](), o)
					r, err := segment.OpenReader("x", codec.Fixed[cell](), o)
					must(t, err)
					defer r.Close()
					watches, stop := context.WithTimeout(t.Context(), proctest.Patience)
					defer stop()
					seen := make(chan uint64)
					go func() {
						defer close(seen)
						for v, err := range r.Watch(watches) {
							if err != nil {
								if !errors.Is(err, context.Canceled) {
									t.Error(err)
								}
								return
							}
							seen <- v[0]
						}
					}()
					<-seen
					for n := start + 1; n < start+7; n++ {
						must(t, s.Store(cellOf(n)))
						if v := <-seen; v != n {
							t.Fatalf("the watcher got %d, want %d", v, n)
						}
						for _, h := range []readable[cell]{s, other, r} {
							var v cell
							version, err := h.LoadInto(&v)
							// From 2^63 on the slots are counted from the
							// beginning, which can skip a version.
							skipped := n >= 1<<63 && version == n+1
							if version != n && !skipped || v != cellOf(n) || err != nil {
								t.Fatalf("LoadInto = %d, version %d, %v, want %d", v[0], version, err, n)
							}
						}
						s, other = other, s
					}
					stop()
					for range seen {
					}
				})
			}
		}
	}
}

// Only a hostile peer leads to the last version. The next Stores continue with
// the lowest numbers.
func TestLastVersion(t *testing.T) {
	for _, lockReads := range []bool{false, true} {
		s := open(t, "x", codec.Fixed[cell](), agedSegment(t, lockReads, 3, math.MaxUint64))
		if _, err := s.Load(); err != nil {
			t.Error(err)
		}
		last := uint64(0)
		for n := range uint64(5) {
			must(t, s.Store(cellOf(n+1)))
			if v, err := s.Load(); v != cellOf(n+1) || err != nil || s.Version() <= last || s.Version() > last+2 {
				t.Errorf("Load = %d, version %d after %d, %v, want %d", v[0], s.Version(), last, err, n+1)
			}
			last = s.Version()
		}
	}
}

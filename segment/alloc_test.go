//go:build !race

package segment_test

import (
	"strings"
	"testing"

	"github.com/sharedseg/sharedseg/codec"
	"github.com/sharedseg/sharedseg/internal/proctest"
	"github.com/sharedseg/sharedseg/segment"
)

// TestAllocations checks the promises of the documentation. The race detector
// changes the number of allocations.
func TestAllocations(t *testing.T) {
	for _, o := range []segment.Options{{}, {LockReads: true}} {
		fixed := open(t, proctest.Name(t), codec.Fixed[[8]uint64](), &o)
		checked := open(t, proctest.Name(t), codec.Fixed[flags](), &o)
		bytes := open(t, proctest.Name(t), codec.Bytes(), &o)
		text := open(t, proctest.Name(t), codec.String(), &o)
		wide := open(t, proctest.Name(t), codec.UTF16(), &o)
		s, b := strings.Repeat("x", 1000), make([]byte, 1000)
		var array [8]uint64
		var buf []byte
		var err error
		ctx := t.Context()
		for _, c := range []struct {
			what string
			want float64
			op   func()
		}{
			{"Store Fixed", 0, func() { err = fixed.Store(array) }},
			{"Load Fixed", 0, func() { array, err = fixed.Load() }},
			{"LoadInto Fixed", 0, func() { _, err = fixed.LoadInto(&array) }},
			{"Store Fixed with bools", 0, func() { err = checked.Store(flags{true, 1}) }},
			{"Load Fixed with bools", 0, func() { _, err = checked.Load() }},
			{"Store Bytes", 0, func() { err = bytes.Store(b) }},
			{"LoadInto Bytes", 0, func() { _, err = bytes.LoadInto(&buf) }},
			{"Load Bytes", 1, func() { _, err = bytes.Load() }},
			{"Store String", 0, func() { err = text.Store(s) }},
			{"Load String", 1, func() { _, err = text.Load() }},
			{"Store UTF16", 0, func() { err = wide.Store(s) }},
			{"Load UTF16", 1, func() { _, err = wide.Load() }},
			{"Version", 0, func() { fixed.Version() }},
			{"Borrow and Release", 0, func() {
				var v *segment.Borrowed[[]byte]
				if v, err = bytes.Borrow(ctx); err == nil {
					err = v.Release()
				}
			}},
			{"Loan and Publish", 0, func() {
				var l *segment.Loan[[]byte]
				if l, err = bytes.Loan(ctx); err == nil {
					_, err = l.Publish(1000)
				}
			}},
		} {
			if n := proctest.Allocs(c.want, c.op); n != c.want || err != nil {
				t.Errorf("%+v: %s allocates %v times, want %v; %v", o, c.what, n, c.want, err)
			}
		}
	}
}

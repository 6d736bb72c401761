// Package harness has the benchmarks that are the same for each mechanism, so
// that those that need modules of others are measured as this library is: locks
// between processes, messages there and back, and the histogram of their times.
// A package of benchmarks hands its mechanisms to Locks and Echoes, and their
// roles to proctest.Main.
package harness

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"testing"
)

// Run is b.Run for an operation that moves size bytes, 0 for none.
func Run(b *testing.B, name string, size int, f func(b *testing.B)) {
	b.Run(name, func(b *testing.B) {
		b.ReportAllocs()
		if size > 0 {
			b.SetBytes(int64(size))
		}
		f(b)
	})
}

// Keep returns the handle that a function has opened, and closes it when the
// benchmark ends. The benchmark is skipped if the error wraps
// errors.ErrUnsupported, and fails for others.
func Keep[H io.Closer](tb testing.TB, h H, err error) H {
	tb.Helper()
	if errors.Is(err, errors.ErrUnsupported) {
		tb.Skip("not in this build: ", err)
	}
	Must(tb, err)
	tb.Cleanup(func() { Must(tb, h.Close()) })
	return h
}

// Must fails the benchmark if there is an error.
func Must(tb testing.TB, err error) {
	tb.Helper()
	if err != nil {
		tb.Fatal(err)
	}
}

// Find returns the entry of a table that the parent and its children have in
// common.
func Find[V any](table map[string]V, key string) (V, error) {
	v, ok := table[key]
	if !ok {
		return v, fmt.Errorf("%q is none of %v", key, slices.Sorted(maps.Keys(table)))
	}
	return v, nil
}

// Median returns the median of v, which it sorts.
func Median(v []float64) float64 {
	slices.Sort(v)
	return v[len(v)/2]
}

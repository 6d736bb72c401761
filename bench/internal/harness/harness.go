// Package harness contains the benchmarks that are the same for all mechanisms,
// so that those from other modules are measured like those of this library:
// locks between processes, queues, and messages to a process and back. It also
// has the histogram of their times. A package of benchmarks passes its
// mechanisms to Locks, Queues and Echoes, and their roles to proctest.Main.
package harness

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"testing"
)

// Run is like b.Run, for an operation that moves size bytes, or 0.
func Run(b *testing.B, name string, size int, f func(b *testing.B)) {
	b.Run(name, func(b *testing.B) {
		b.ReportAllocs()
		if size > 0 {
			b.SetBytes(int64(size))
		}
		f(b)
	})
}

// Keep returns the handle that a function opened, and closes it when the
// benchmark ends. It skips the benchmark if the error wraps
// errors.ErrUnsupported, and fails it for any other error.
func Keep[H io.Closer](tb testing.TB, h H, err error) H {
	tb.Helper()
	if errors.Is(err, errors.ErrUnsupported) {
		tb.Skip("not supported in this build: ", err)
	}
	Must(tb, err)
	tb.Cleanup(func() { Must(tb, h.Close()) })
	return h
}

// Must fails the benchmark if err is not nil.
func Must(tb testing.TB, err error) {
	tb.Helper()
	if err != nil {
		tb.Fatal(err)
	}
}

// Find returns an entry of a table that the parent and its child processes have
// in common.
func Find[V any](table map[string]V, key string) (V, error) {
	v, ok := table[key]
	if !ok {
		return v, fmt.Errorf("%q is not one of %v", key, slices.Sorted(maps.Keys(table)))
	}
	return v, nil
}

// Median returns the median of v, which it sorts.
func Median(v []float64) float64 {
	slices.Sort(v)
	return v[len(v)/2]
}

package proctest

import "testing"

// Allocs returns the number of allocations of op, as testing.AllocsPerRun does.
// That counts the allocations of all goroutines, including those of the
// clean-ups that earlier tests left to the garbage collector, so a count above
// want is repeated a few times.
func Allocs(want float64, op func()) (n float64) {
	for range 5 {
		if n = testing.AllocsPerRun(200, op); n <= want {
			break
		}
	}
	return n
}

package proctest

import "testing"

// Allocs says how often op allocates, as testing.AllocsPerRun does. That counts
// what all goroutines allocate, clean-ups of the handles of earlier tests too,
// so what is more often than wanted is counted again.
func Allocs(want float64, op func()) (n float64) {
	for range 5 {
		if n = testing.AllocsPerRun(200, op); n <= want {
			break
		}
	}
	return n
}

package layout

import (
	"math/rand/v2"
	"testing"
)

func TestModulus(t *testing.T) {
	check := func(n int, v uint64) {
		m := NewModulus(n)
		if got, want := m.Of(v), v&(1<<63-1)%uint64(n); got != want {
			t.Fatalf("%d modulo %d = %d, want %d", v, n, got, want)
		}
	}
	for _, n := range []int{1, 2, 3, 5, 7, 64, 100, 1000, MaxSlots - 1, MaxSlots} {
		for _, v := range []uint64{0, 1, uint64(n) - 1, uint64(n), uint64(n) + 1, 1<<63 - 1, 1 << 63, 1<<64 - 1} {
			check(n, v)
		}
	}
	for range 100_000 {
		check(1+rand.IntN(MaxSlots), rand.Uint64()>>rand.IntN(64))
	}
}

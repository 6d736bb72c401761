package segment

import "testing"

// spinsIn plays waits, each of which takes a short time if nobody spins, and says how many of the last n began with a
// spin. fruitful says whether spins are.
func spinsIn(e *eagerness, n int, fruitful bool) (spins int) {
	for range n {
		if e.spins() {
			spins++
			if fruitful {
				e.fruitful()
				continue
			}
			e.vain()
		}
		e.waited(eagerFor / 2)
	}
	return spins
}

func TestEagerness(t *testing.T) {
	var e eagerness
	if e.spins() {
		t.Error("it spins before the first wait")
	}
	e.waited(eagerFor)
	if e.spins() {
		t.Error("it spins after a long wait")
	}
	e.waited(eagerFor - 1)
	if got := spinsIn(&e, 1000, true); got != 1000 {
		t.Errorf("peers that are quick: %d of 1000 waits begin with a spin", got)
	}
	if got := spinsIn(&e, 1000, false); got < 5 || got > 30 {
		t.Errorf("peers that need the processor: %d of 1000 waits begin with a spin", got)
	}
	if got := spinsIn(&e, 1000, true); got < 900 {
		t.Errorf("peers that became quick: %d of 1000 waits begin with a spin", got)
	}
	e.waited(eagerFor)
	if got := spinsIn(&e, 1, true); got != 0 {
		t.Error("it spins after a long wait")
	}
}

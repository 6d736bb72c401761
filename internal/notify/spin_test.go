package notify

import "testing"

// spinsIn simulates n waits, which are short without a spin, and returns how
// many of them began with a spin. fruitful is whether spins find what they wait
// for.
func spinsIn(p *spinPolicy, n int, fruitful bool) (spins int) {
	for range n {
		if p.spins() {
			spins++
			if fruitful {
				p.fruitful()
				continue
			}
			p.vain()
		}
		p.waited(spinFor / 2)
	}
	return spins
}

func TestSpinPolicy(t *testing.T) {
	var p spinPolicy
	if p.spins() {
		t.Error("it spins before the first wait")
	}
	p.waited(spinFor)
	if p.spins() {
		t.Error("it spins after a long wait")
	}
	p.waited(spinFor - 1)
	if got := spinsIn(&p, 1000, true); got != 1000 {
		t.Errorf("quick peers: %d of 1000 waits begin with a spin", got)
	}
	if got := spinsIn(&p, 1000, false); got < 5 || got > 30 {
		t.Errorf("peers that need the processor: %d of 1000 waits begin with a spin", got)
	}
	if got := spinsIn(&p, 1000, true); got < 900 {
		t.Errorf("peers that became quick: %d of 1000 waits begin with a spin", got)
	}
	p.waited(spinFor)
	if got := spinsIn(&p, 1, true); got != 0 {
		t.Error("it spins after a long wait")
	}
}

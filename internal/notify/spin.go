package notify

import (
	"runtime"
	"sync/atomic"
	"time"
)

const (
	waitSpins = 1000 // looks before a goroutine parks: one or two microseconds
	spinFor   = 200 * time.Microsecond
	maxRests  = 63
)

// spinPolicy decides whether a waiting goroutine spins for spinFor before it
// parks. It spins if the last wait was shorter than that, because the peer is
// likely to answer as quickly again. But if a spin keeps the peer from the
// processor that it needs to answer, waits are short only while no goroutine
// spins. So after each fruitless spin, more short waits must pass before the
// next, up to 63. The methods of a spinPolicy may be called concurrently.
type spinPolicy struct {
	spinning atomic.Bool // whether a goroutine spins for spinFor

	short atomic.Bool  // whether the last wait was shorter than spinFor
	rests atomic.Int32 // short waits that must pass before the next spin, including that of the last spin
	last  atomic.Int32 // value of rests after the last spin, not counting its own wait; 0 if it was fruitful
}

// spin calls ready for a short time until it reports true, and reports whether
// it did. If long is set and the policy allows it, it goes on for spinFor, in
// one goroutine at a time, until ended is set.
func (p *spinPolicy) spin(ready func() bool, ended *atomic.Bool, long bool) bool {
	found := looks(ready)
	if !found && long && p.spins() && p.spinning.CompareAndSwap(false, true) {
		defer p.spinning.Store(false)
		for until := time.Now().Add(spinFor); !found && !ended.Load() && time.Now().Before(until); found = looks(ready) {
			runtime.Gosched()
		}
		if !found && !ended.Load() {
			p.vain()
		}
	}
	if found {
		p.fruitful()
	}
	return found
}

func looks(ready func() bool) bool {
	for range waitSpins {
		if ready() {
			return true
		}
	}
	return false
}

// spins reports whether to spin for spinFor.
func (p *spinPolicy) spins() bool { return p.short.Load() && p.rests.Load() <= 0 }

// fruitful records that a spin, however short, found what it waited for.
func (p *spinPolicy) fruitful() {
	if p.last.Load() != 0 {
		p.last.Store(0)
		p.rests.Store(0)
	}
}

// vain records that a spin of spinFor was fruitless. Its wait goes on.
func (p *spinPolicy) vain() {
	rests := min(2*p.last.Load()+1, maxRests)
	p.last.Store(rests)
	p.rests.Store(rests + 1)
}

// waited records how long a goroutine waited that did not spin, or whose spin
// was fruitless.
func (p *spinPolicy) waited(d time.Duration) {
	short := d < spinFor
	p.short.Store(short)
	if short && p.rests.Load() > 0 {
		p.rests.Add(-1)
	}
}

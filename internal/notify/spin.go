package notify

import (
	"runtime"
	"sync/atomic"
	"time"
)

const (
	waitSpins = 1000 // looks before a goroutine parks: a microsecond or two
	spinFor   = 200 * time.Microsecond
	maxRests  = 63
)

// spinPolicy decides whether a goroutine that waits spins for spinFor before it
// parks: if the last wait was shorter than that, as the peer then is likely to
// be as quick again. But where a spin keeps the peer from the processor that it
// needs to answer, waits are short for as long as nobody spins: after spins in
// vain, ever more short waits pass before the next, 63 at most. Its methods may
// be called concurrently.
type spinPolicy struct {
	spinning atomic.Bool // a goroutine spins for spinFor

	short atomic.Bool  // the last wait was
	rests atomic.Int32 // short waits that are to pass, that of the last spin among them
	last  atomic.Int32 // how many those were at first, after the last spin; 0 if it was not in vain
}

// spin looks until ready reports true, for a short while, and reports whether
// it did. The while is longer if that promises something and long is set, but
// not for more than one goroutine at a time. It ends when ended is set.
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

// spins reports whether to spin.
func (p *spinPolicy) spins() bool { return p.short.Load() && p.rests.Load() <= 0 }

// fruitful records that a spin, however short, found what it waited for.
func (p *spinPolicy) fruitful() {
	if p.last.Load() != 0 {
		p.last.Store(0)
		p.rests.Store(0)
	}
}

// vain records that a spin of spinFor was in vain. The wait that it began goes
// on.
func (p *spinPolicy) vain() {
	rests := min(2*p.last.Load()+1, maxRests)
	p.last.Store(rests)
	p.rests.Store(rests + 1)
}

// waited records how long a goroutine waited that did not spin, or spun in vain
// before.
func (p *spinPolicy) waited(d time.Duration) {
	short := d < spinFor
	p.short.Store(short)
	if short && p.rests.Load() > 0 {
		p.rests.Add(-1)
	}
}

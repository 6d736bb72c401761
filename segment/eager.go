package segment

import (
	"sync/atomic"
	"time"
)

const (
	eagerFor = 200 * time.Microsecond
	maxRests = 63
)

// eagerness decides whether a goroutine that waits spins for eagerFor before it parks: if the last wait was shorter
// than that, as the peer then is likely to be as quick again. But where a spin keeps the peer from the processor that
// it needs to answer, waits are short for as long as nobody spins: after spins in vain, ever more short waits go by
// before the next, 63 at most. Its methods may be called concurrently.
type eagerness struct {
	short atomic.Bool  // the last wait was
	rests atomic.Int32 // short waits that are to go by, that of the last spin among them
	last  atomic.Int32 // how many those were at first, after the last spin; 0 if it was not in vain
}

// spins reports whether to spin.
func (e *eagerness) spins() bool { return e.short.Load() && e.rests.Load() <= 0 }

// fruitful records that a spin, however short, found what it waited for.
func (e *eagerness) fruitful() {
	if e.last.Load() != 0 {
		e.last.Store(0)
		e.rests.Store(0)
	}
}

// vain records that a spin of eagerFor was in vain. The wait that it began goes on.
func (e *eagerness) vain() {
	rests := min(2*e.last.Load()+1, maxRests)
	e.last.Store(rests)
	e.rests.Store(rests + 1)
}

// waited records how long a goroutine waited that did not spin, or spun in vain before.
func (e *eagerness) waited(d time.Duration) {
	short := d < eagerFor
	e.short.Store(short)
	if short && e.rests.Load() > 0 {
		e.rests.Add(-1)
	}
}

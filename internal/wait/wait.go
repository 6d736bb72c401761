// Package wait limits waits by the time for which the waiter itself was able to
// run. A process can be stopped or throttled for longer than the limit of a
// wait. The time on the clock then says nothing about the process that it waits
// for, which may have been stopped as well.
package wait

import "time"

// slack is how many times as long as requested a sleep may take and still be
// counted in full. Timers and a busy machine prolong short sleeps up to that.
// The waiter was not running for the rest.
const slack = 4

// Budget is the remaining time of a wait.
type Budget struct {
	limit, left time.Duration
}

// NewBudget returns a Budget of limit.
func NewBudget(limit time.Duration) Budget { return Budget{limit, limit} }

// Limit returns the limit of the whole wait.
func (b *Budget) Limit() time.Duration { return b.limit }

// Renew restores the full limit. It is called when the wait makes progress.
func (b *Budget) Renew() { b.left = b.limit }

// Sleep sleeps for d and counts that. If no time is left, it returns false at
// once.
func (b *Budget) Sleep(d time.Duration) bool {
	if b.left <= 0 {
		return false
	}
	begun := time.Now()
	sleep(d)
	b.Count(d, time.Since(begun))
	return true
}

// Count counts a wait that was limited to asked and took the given time. It
// returns how much of that time it counted.
func (b *Budget) Count(asked, took time.Duration) time.Duration {
	counted := min(took, slack*asked)
	b.left -= counted
	return counted
}

// Left returns the remaining time, at least 0.
func (b *Budget) Left() time.Duration { return max(b.left, 0) }

// Package wait bounds waits that have a limit of their own by time that the
// waiter itself was running. A process may be stopped, or throttled, for as
// long as that limit and longer. The clock goes on meanwhile, and says nothing
// of those it waits for: they may have been stopped with it.
package wait

import "time"

// slack is how many times as long as asked for a sleep may take and still be
// counted whole. Timers and a busy machine make short sleeps longer; more than
// that is time that the waiter did not have.
const slack = 4

// Budget is what is left of a wait's limit.
type Budget struct {
	limit, left time.Duration
}

// NewBudget returns a budget of limit.
func NewBudget(limit time.Duration) Budget { return Budget{limit, limit} }

// Limit is what the budget was at first.
func (b *Budget) Limit() time.Duration { return b.limit }

// Renew makes the budget whole again: what is waited for makes progress.
func (b *Budget) Renew() { b.left = b.limit }

// Sleep sleeps for d and counts that. It reports false, at once, if nothing is
// left.
func (b *Budget) Sleep(d time.Duration) bool {
	if b.left <= 0 {
		return false
	}
	begun := time.Now()
	sleep(d)
	b.Count(d, time.Since(begun))
	return true
}

// Count counts a wait that was to take no longer than asked, and took some
// time, and returns how much of that it counts.
func (b *Budget) Count(asked, took time.Duration) time.Duration {
	counted := min(took, slack*asked)
	b.left -= counted
	return counted
}

// Left is what is left, 0 at least.
func (b *Budget) Left() time.Duration { return max(b.left, 0) }

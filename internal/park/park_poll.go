//go:build (!linux && !windows) || sharedseg_portable

package park

import (
	"sync/atomic"
	"time"

	"github.com/sharedseg/sharedseg/internal/kernel"
)

// Queue is a place to sleep where one sleeper is woken at a time. Its methods
// may be called concurrently.
type Queue struct{ poll }

// NewQueue returns the queue of threads that sleep on word. part identifies the
// word within its family.
func NewQueue(word *atomic.Uint32, _ *kernel.Family, part string) *Queue { return &Queue{poll{word}} }

// Wake does nothing, because the sleepers poll.
func (q *Queue) Wake() {}

// KickAtEnd does nothing.
func (q *Queue) KickAtEnd(uint32) (stop func()) { return func() {} }

// Broadcast is a word on which all sleepers are woken. Its methods may be
// called concurrently.
type Broadcast struct{ word *atomic.Uint32 }

// NewBroadcast returns the broadcast to threads that sleep on word.
func NewBroadcast(word *atomic.Uint32, _ *kernel.Family) *Broadcast { return &Broadcast{word} }

// Wake does nothing, because the sleepers poll.
func (b *Broadcast) Wake(old uint32) {}

// Changed does nothing, because the sleepers poll.
func (b *Broadcast) Changed(old uint32) {}

// Words returns 0, because Wake has no effect.
func Words() int { return 0 }

// Spot is where one thread sleeps on the word of a Broadcast.
type Spot struct{}

// Prepare reports whether b's word is old.
func (s *Spot) Prepare(b *Broadcast, old uint32) bool { return b.word.Load() == old }

// Close does nothing.
func (s *Spot) Close() {}

// Sleeper is a thread's means to sleep on several Spots.
type Sleeper struct{}

// NewSleeper returns a Sleeper.
func NewSleeper(words int) *Sleeper { return new(Sleeper) }

// Sleep returns soon, so that the caller polls its words.
func (s *Sleeper) Sleep(on []*Spot, limit time.Duration) (expired bool) {
	time.Sleep(min(max(limit, 0), lastPause))
	return limit <= lastPause
}

// Kick does nothing.
func (s *Sleeper) Kick() {}

type poll struct{ word *atomic.Uint32 }

// Wait sleeps while the word is old, for at most limit. It loads the word at
// growing intervals.
func (p poll) Wait(old uint32, limit time.Duration) { pollWord(p.word, old, limit) }

// Kick does nothing.
func (p poll) Kick() {}

// Close does nothing.
func (p poll) Close() {}

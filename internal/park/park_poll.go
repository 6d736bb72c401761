//go:build (!linux && !windows) || sharedseg_portable

package park

import (
	"sync/atomic"
	"time"

	"github.com/sharedseg/sharedseg/internal/kernel"
)

// Queue is a place to sleep where one sleeper is woken at a time. Its methods may be called concurrently.
type Queue struct{ poll }

// NewQueue returns the queue of those who sleep on word.
func NewQueue(word *atomic.Uint32, _ *kernel.Family) *Queue { return &Queue{poll{word}} }

// Wake does nothing: the sleepers look by themselves.
func (q *Queue) Wake() {}

// KickAtEnd does nothing.
func (q *Queue) KickAtEnd(uint32) (stop func()) { return func() {} }

// Crowd is a place to sleep where all are woken. Its methods may be called concurrently.
type Crowd struct{ poll }

// NewCrowd returns the crowd of those who sleep on word.
func NewCrowd(word *atomic.Uint32, _ *kernel.Family) *Crowd { return &Crowd{poll{word}} }

// Wake does nothing: the sleepers look by themselves.
func (c *Crowd) Wake(old uint32) {}

type poll struct{ word *atomic.Uint32 }

// Wait sleeps while the word is old, for at most limit, and looks at the word at growing intervals.
func (p poll) Wait(old uint32, limit time.Duration) { pollWord(p.word, old, limit) }

// Kick does nothing.
func (p poll) Kick() {}

// Close does nothing.
func (p poll) Close() {}

// Package turn is the lock that the writers of a mapping take, as one handle
// sees it: whose turn it is to write, and who of this process has it.
package turn

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"sync/atomic"
	"time"

	"github.com/sharedseg/sharedseg"
	"github.com/sharedseg/sharedseg/internal/fence"
	"github.com/sharedseg/sharedseg/internal/goroutine"
	"github.com/sharedseg/sharedseg/internal/layout"
	"github.com/sharedseg/sharedseg/internal/member"
	"github.com/sharedseg/sharedseg/internal/wait"
	"github.com/sharedseg/sharedseg/sync"
)

// Turn is the writers' lock of a handle. Its methods may be called
// concurrently.
type Turn struct {
	writing uint64 // the writer that has the lock, 0 if none has or it is lent; first, to be aligned on 32-bit machines
	lent    atomic.Bool

	word   layout.MutexWord
	mutex  *ipcsync.Mutex
	member *member.Member
}

// New returns the turn of a handle. repair is called, with the lock held, if a
// writer died with it.
func New(m *member.Member, repair func() error) *Turn {
	return &Turn{
		word:   layout.MutexWord{Word: m.Words.Mutex(), Self: m.Self()},
		mutex:  ipcsync.NewMutex(m.Words.Mutex(), m, repair),
		member: m,
	}
}

// unnamed is the writer of a call that runs no function of the user while it
// has the lock.
const unnamed = 1

// writer is the calling goroutine: unnamed if it is not known.
func writer() uint64 { return max(unnamed, uint64(goroutine.ID())) }

// TryLock takes the lock if it is free, for a call that runs no function of the
// user while it has it. It is called inside the door, or by a direct handle.
func (t *Turn) TryLock() bool {
	if !t.word.TryLock() {
		return false
	}
	fence.Acquire(t.member.Key)
	fence.Publish(&t.writing, unnamed) // Quiesce looks at it, as the lock's word may be a peer's forgery
	return true
}

// Lock waits for the lock, outside of the door. If the calling goroutine has
// it, that is ErrReentrant.
func (t *Turn) Lock(ctx context.Context) error {
	self := writer()
	if t.Within() {
		return fmt.Errorf("%w: it comes from within a codec of the same handle", sharedseg.ErrReentrant)
	}
	if err := t.mutex.Lock(ctx); err != nil {
		return err
	}
	fence.Publish(&t.writing, self)
	return nil
}

// Unlock releases the lock, inside the door.
func (t *Turn) Unlock() error {
	fence.Publish(&t.writing, 0)
	fence.Release(t.member.Key)
	if t.word.TryUnlock() {
		return nil
	}
	return t.unlockSlow()
}

// unlockSlow is Unlock where others wait, where Close has begun, and where the
// lock is not this handle's any more.
func (t *Turn) unlockSlow() error {
	err := t.mutex.Unlock()
	switch {
	case errors.Is(err, fs.ErrClosed):
		return nil // Close waits for calls under way
	case errors.Is(err, sharedseg.ErrNotOwner):
		return fmt.Errorf("%w: a peer took the lock from its live owner", sharedseg.ErrCorrupt)
	}
	return err
}

// Lend says that the lock, which is held, is the user's until Reclaim.
func (t *Turn) Lend() {
	t.lent.Store(true)
	atomic.StoreUint64(&t.writing, 0)
}

// Reclaim undoes Lend. It reports false if Close has begun, which may have
// released the lock: then the lock is not to be used any more.
func (t *Turn) Reclaim() bool {
	atomic.StoreUint64(&t.writing, unnamed) // before the look: Close looks in the other order
	if t.member.Closed() {
		atomic.StoreUint64(&t.writing, 0)
		return false
	}
	t.lent.Store(false)
	return true
}

// Within reports whether the calling goroutine is known to have the lock, as it
// has in a codec's method.
func (t *Turn) Within() bool { return writer() != unnamed && t.Mine() }

// Mine reports whether a goroutine that has taken the lock by Lock still has
// it.
func (t *Turn) Mine() bool { return atomic.LoadUint64(&t.writing) == writer() }

// Close ends all waits for the lock, and returns when no call has it that is
// not lent it. The handle was closed before.
//
// The lock's word says so for the short while in which a call has the lock and
// has not noted it; a word that a peer wrote says nothing for longer.
func (t *Turn) Close() {
	t.mutex.Stop()
	forged := wait.NewBudget(time.Second)
	for pause := 10 * time.Microsecond; ; pause = min(2*pause, time.Millisecond) {
		if atomic.LoadUint64(&t.writing) == 0 && (t.lent.Load() || forged.Left() == 0 || !t.member.OwnsMutex()) {
			return
		}
		if !forged.Sleep(pause) {
			time.Sleep(pause) // for a call that has noted that it has the lock
		}
	}
}

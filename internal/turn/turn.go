// Package turn is the lock that the writers of a mapping take, as one handle
// sees it. The word in shared memory names the handle that holds the lock. A
// [Turn] also notes which call of the handle does: so Close can wait for that
// call, a call that would wait for its own goroutine can fail instead, and a
// loan can keep the lock from one call to the next.
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
	owner uint64 // see below; first, to be aligned on 32-bit machines

	word   layout.MutexWord
	mutex  *ipcsync.Mutex
	member *member.Member
	number uint64 // the last that next returned; guarded by the lock
}

// An owner is 0 if no call of the handle holds the lock, the ID of the
// goroutine that does, a number if its goroutine is unknown, or one of these.
const (
	// unnamed is the owner in a call that runs no user code while it holds the
	// lock.
	unnamed = 1
	// lent is set in the owner while a loan holds the lock. The other bits are
	// the loan's number. It is not set in any goroutine.ID.
	lent = 1 << 63
)

// next returns a number other than unnamed and those that it returned before.
func (t *Turn) next() uint64 {
	t.number = max(t.number, unnamed) + 1
	return t.number
}

// locked notes that the calling goroutine has acquired the lock.
func (t *Turn) locked() {
	owner := uint64(goroutine.ID())
	if owner == 0 {
		owner = t.next()
	}
	fence.Publish(&t.owner, owner)
}

// ErrTaken is returned when the lock's word names another owner than it should.
var ErrTaken = fmt.Errorf("%w: a peer took the lock from its live owner", sharedseg.ErrCorrupt)

// New returns the turn of a handle. repair is called, with the lock held, if a
// writer died while it held the lock.
func New(m *member.Member, repair func() error) *Turn {
	return &Turn{
		word:   layout.MutexWord{Word: m.Words.Mutex(), Self: m.Self()},
		mutex:  ipcsync.NewMutex(m.Words.Mutex(), m, repair),
		member: m,
	}
}

// TryLock acquires the lock if it is free, for a call that runs no user code
// while it holds the lock. It is called within Use, or by a direct handle.
func (t *Turn) TryLock() bool {
	if !t.word.TryLock() {
		return false
	}
	fence.Acquire(t.member.Key)
	fence.Publish(&t.owner, unnamed) // for Close, as the lock's word may be forged by a peer
	return true
}

// TryLockSlow is TryLock for a call that may run a codec, and also acquires the
// lock if its owner died.
func (t *Turn) TryLockSlow() (bool, error) {
	locked, err := t.mutex.TryLock()
	if locked {
		t.locked()
	}
	return locked, err
}

// Lock waits for the lock, until ctx is done. It is called outside Use.
// It returns within if the calling goroutine holds the lock.
func (t *Turn) Lock(ctx context.Context, within error) error {
	if t.Within() {
		return within
	}
	if err := t.mutex.Lock(ctx); err != nil {
		return err
	}
	t.locked()
	return nil
}

// Unlock releases the lock. It is called within Use.
func (t *Turn) Unlock() error {
	fence.Publish(&t.owner, 0)
	fence.Release(t.member.Key)
	if t.word.TryUnlock() {
		return nil
	}
	return t.UnlockSlow()
}

// TryUnlock is the first half of Unlock, which is inlined. If it reports false,
// UnlockSlow is the second.
func (t *Turn) TryUnlock() bool {
	fence.Publish(&t.owner, 0)
	fence.Release(t.member.Key)
	return t.word.TryUnlock()
}

// UnlockSlow is Unlock if others wait, if Close has begun, or if the handle no
// longer holds the lock.
func (t *Turn) UnlockSlow() error {
	err := t.mutex.Unlock()
	switch {
	case errors.Is(err, fs.ErrClosed):
		return nil // Close waits for calls under way
	case errors.Is(err, sharedseg.ErrNotOwner):
		return ErrTaken
	}
	return err
}

// Finish runs f within Use, with the lock held by Lock or Reclaim. f must
// release the lock, or lend it. Finish releases it if f does not return,
// because a codec panics or the memory vanishes.
func (t *Turn) Finish(f func() error) error {
	owner, returned := atomic.LoadUint64(&t.owner), false
	defer func() {
		// The memory may have vanished after the release, while f woke others.
		// Another goroutine may hold the lock by then.
		if !returned && atomic.LoadUint64(&t.owner) == owner {
			t.member.Use(t.Unlock)
		}
	}()
	return t.member.Use(func() error {
		err := f()
		returned = true
		return err
	})
}

// Lend hands the lock, which is held, over to a loan, until Reclaim. The token
// is not 0.
func (t *Turn) Lend() (token uint64) {
	token = lent | t.next()
	fence.Publish(&t.owner, token)
	return token
}

// Reclaim takes the lock back from a loan, for the calling goroutine. It
// reports false if the loan no longer holds the lock: it was reclaimed before,
// Close has revoked it, or a peer freed the lock and another call took it. If
// member.Pinning, Reclaim releases the lock of a loan that Close has revoked.
// It is called outside Use.
func (t *Turn) Reclaim(token uint64) bool {
	owner := uint64(goroutine.ID())
	if owner == 0 {
		owner = token &^ lent
	}
	if atomic.CompareAndSwapUint64(&t.owner, token, owner) {
		return true
	}
	if member.Pinning && t.member.Closed() {
		t.member.Use(t.Unlock) // Leave may wait for other parts that are in use
	}
	return false
}

// Within reports whether the calling goroutine is known to hold the lock: it
// runs user code, such as a codec's method.
func (t *Turn) Within() bool {
	id := uint64(goroutine.ID())
	return id != 0 && id == atomic.LoadUint64(&t.owner)
}

// Close ends all waits for the lock, and returns when no call of the handle
// holds it. The handle was closed before. A loan that holds the lock is
// revoked. Close does not release its lock, which is left to Member.Leave or,
// if member.Pinning, to Reclaim if that is called earlier.
//
// A call notes that it holds the lock shortly after it has acquired it. Until
// then only the lock's word shows it. A word that names the handle for longer
// was forged by a peer.
func (t *Turn) Close() {
	t.mutex.Stop()
	forged := wait.NewBudget(time.Second)
	for pause := 10 * time.Microsecond; ; pause = min(2*pause, time.Millisecond) {
		switch owner := atomic.LoadUint64(&t.owner); {
		case owner&lent != 0:
			if atomic.CompareAndSwapUint64(&t.owner, owner, 0) {
				return
			}
		case owner == 0 && (forged.Left() == 0 || !t.member.OwnsMutex()):
			return
		}
		if !forged.Sleep(pause) {
			time.Sleep(pause) // for a call that has noted that it holds the lock
		}
	}
}

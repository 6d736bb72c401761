// Package sync has locks for memory that several processes share, locks that survive the death of their owner.
// Import it as ipcsync, to tell it from the standard library's:
//
//	import ipcsync "github.com/sharedseg/sharedseg/sync"
//
// A [Mutex] is one 32-bit word that names its owner. The owner holds, besides, something that the kernel takes
// back when its process ends, SIGKILL included; so whoever waits can find out that the owner is dead, and takes
// the mutex over. No process ID decides that, and no thread or clean-up daemon is involved. [SeqLock] lets readers do
// without a lock.
package sync

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sharedseg/sharedseg/internal/fence"
	"github.com/sharedseg/sharedseg/internal/layout"
	"github.com/sharedseg/sharedseg/internal/member"
	"github.com/sharedseg/sharedseg/internal/park"
	"github.com/sharedseg/sharedseg/internal/step"
)

// Errors of a Mutex, to be tested for with errors.Is. The use of a closed one is fs.ErrClosed.
var (
	// ErrOwnerDied means that an owner died while it held the mutex, and that what the mutex guards has not
	// been repaired since.
	ErrOwnerDied = errors.New("the mutex's owner died; set Options.Repair to mend what it guards")
	// ErrNotOwner means that Unlock was called through a handle that does not hold the mutex.
	ErrNotOwner = errors.New("unlock of a mutex that this handle does not hold")
)

const (
	spins     = 100                    // looks at a held word before parking: about a microsecond
	firstPark = 100 * time.Microsecond // doubled at each timeout
	longPark  = 16 * firstPark         // from then on the end of the owner's process ends it
	lastPark  = 5 * time.Millisecond   // the longest that a dead owner, or a done context, goes unnoticed
)

// pid is that of this process.
var pid = uint32(os.Getpid())

// Owners tells a Mutex about the handles that share its word.
type Owners interface {
	// Self is the identity of this handle: 1 to 2^30-1, and different from that of any other live handle.
	Self() uint32
	// Alive reports whether the handle of that identity is open. It may be called concurrently. It may err on
	// the side of true for a while, and must not err on the other.
	Alive(owner uint32) bool
}

// Mutex is a mutual exclusion lock between processes, and between the goroutines of one process. It belongs to
// the handle, not to a thread or goroutine: any goroutine may unlock it. Its methods may be called
// concurrently.
//
// Uncontended, Lock and Unlock are one compare-and-swap each and no system call. Under contention, one
// goroutine of each handle competes for the word: it looks a few times, then parks in the kernel, and asks at
// growing intervals, 5 ms at most, whether the owner is alive; on Linux and Windows usually as soon as the owner's
// process has ended, for which a wait of more than 1.5 ms takes a file descriptor on Linux, if one is left. A live
// owner is never robbed, however long it is stopped; that is what Lock's context is for. The word's states are those
// of Drepper's "Futexes Are Tricky" (2011), mutex 2, with the owner in place of "locked".
type Mutex struct {
	word   *atomic.Uint32
	pid    *atomic.Uint32 // of who took the mutex last; one of this handle's own if the word has none
	queue  *park.Queue
	count  func(layout.Counter)
	self   uint32
	owners Owners
	repair func() error
	key    uint64
	gate   chan struct{} // one goroutine of the handle is in the slow path
	closed atomic.Bool   // Stop has begun
	done   chan struct{} // closed by Stop
	left   atomic.Bool   // Close retires the word: it becomes private memory, which a late Lock may hold for a moment
	stop   sync.Once
	close  sync.Once
	member *member.Member // nil if the word is somebody else's
	guard  bool           // calls run under layout.Guard
	name   string
}

// NewMutex returns a handle of the mutex in a word of shared memory, 0 at first, which must stay mapped for as
// long as the handle is used. Options.Repair as in [OpenMutex]. Most users want OpenMutex, which brings word
// and Owners along. The race detector knows mutexes apart by key; handles of the same word have the same.
func NewMutex(word *atomic.Uint32, owners Owners, repair func() error, key uint64) *Mutex {
	m := &Mutex{
		word: word, self: owners.Self(), owners: owners, repair: repair, key: key,
		gate: make(chan struct{}, 1), done: make(chan struct{}),
	}
	if mb, ok := owners.(*member.Member); ok {
		m.queue, m.pid, m.count = mb.Queue, mb.Words.OwnerPid(), mb.Count
	} else {
		m.queue, m.pid, m.count = park.NewQueue(word, nil), new(atomic.Uint32), func(layout.Counter) {}
	}
	return m
}

// Lock locks the mutex, and blocks until it is free or ctx is done; it then returns ctx's error, within 5 ms, or
// Windows's tick of 16 ms. A goroutine that locks a mutex which its own handle holds waits until it is unlocked, as
// with the standard library's.
//
// If an owner died while it held the mutex, Lock runs Options.Repair, holding the mutex, before it returns. If
// that fails or there is none, Lock unlocks and returns ErrOwnerDied, and so does every Lock until a Repair
// succeeds. Whenever Lock returns an error, the mutex is not held.
func (m *Mutex) Lock(ctx context.Context) error {
	if member.Pinning && m.member != nil {
		if !m.member.Pin() {
			return m.wrap("lock", fs.ErrClosed)
		}
		defer m.member.Unpin()
	}
	if m.guard {
		return m.lockGuarded(ctx)
	}
	// The common case in one step; acquire does all of it again.
	if ctx.Err() == nil && m.word.CompareAndSwap(0, m.self) {
		step.At(step.LockTaken)
		if m.closed.Load() {
			return m.wrap("lock", m.entered(0))
		}
		m.sign()
		fence.Acquire(m.key)
		return nil
	}
	return m.wrap("lock", m.acquire(ctx))
}

// lockGuarded is Lock under layout.Guard, with less to do in the common case.
func (m *Mutex) lockGuarded(ctx context.Context) (err error) {
	old, done := debug.SetPanicOnFault(true), false
	defer func() {
		if !done {
			err = m.wrap("lock", layout.Fault(recover(), m.member.Mem, old))
		}
	}()
	if ctx.Err() == nil && m.word.CompareAndSwap(0, m.self) {
		step.At(step.LockTaken)
		err = m.entered(0)
	} else {
		err = m.acquire(ctx)
	}
	done = true
	debug.SetPanicOnFault(old)
	if err != nil {
		return m.wrap("lock", err)
	}
	runtime.KeepAlive(m)
	return nil
}

// TryLock locks the mutex if that is possible without waiting, and reports whether it did. It takes over the
// mutex of an owner that died, as Lock does.
func (m *Mutex) TryLock() (locked bool, err error) {
	if member.Pinning && m.member != nil {
		if !m.member.Pin() {
			return false, m.wrap("lock", fs.ErrClosed)
		}
		defer m.member.Unpin()
	}
	if !m.guard {
		locked, err = m.tryAcquire()
		return locked, m.wrap("lock", err)
	}
	err = layout.Guard(m.member.Mem, func() (err error) { locked, err = m.tryAcquire(); return err })
	return locked && err == nil, m.wrap("lock", err)
}

// Unlock unlocks the mutex. It returns ErrNotOwner if this handle does not hold it. It does not block.
func (m *Mutex) Unlock() error {
	if member.Pinning && m.member != nil {
		if !m.member.Pin() {
			return m.wrap("unlock", fs.ErrClosed)
		}
		defer m.member.Unpin()
	}
	if m.left.Load() {
		return m.wrap("unlock", fs.ErrClosed)
	}
	if m.guard {
		return m.unlockGuarded()
	}
	step.At(step.Unlocking)
	fence.Release(m.key)
	if m.word.CompareAndSwap(m.self, 0) { // held, and nobody waits
		step.At(step.Unlocked)
		runtime.KeepAlive(m)
		return nil
	}
	return m.wrap("unlock", m.release(0))
}

// unlockGuarded is Unlock under layout.Guard, with less to do in the common case.
func (m *Mutex) unlockGuarded() (err error) {
	old, done := debug.SetPanicOnFault(true), false
	defer func() {
		if !done {
			err = m.wrap("unlock", layout.Fault(recover(), m.member.Mem, old))
		}
	}()
	step.At(step.Unlocking)
	fence.Release(m.key)
	if m.word.CompareAndSwap(m.self, 0) {
		step.At(step.Unlocked)
	} else {
		err = m.release(0)
	}
	done = true
	debug.SetPanicOnFault(old)
	if err != nil {
		return m.wrap("unlock", err)
	}
	runtime.KeepAlive(m)
	return nil
}

// Held reports whether this handle holds the mutex, through whichever goroutine. It does not if it is closed.
func (m *Mutex) Held() (held bool) {
	if member.Pinning && m.member != nil {
		if !m.member.Pin() {
			return false
		}
		defer m.member.Unpin()
	}
	if m.guard {
		layout.Guard(m.member.Mem, func() error { held = m.holds(); return nil })
	} else {
		held = m.holds()
	}
	runtime.KeepAlive(m)
	return held
}

func (m *Mutex) holds() bool { return !m.left.Load() && m.word.Load()&layout.IdentMask == m.self }

// Stop ends the handle of a mutex on the caller's own word, as Close does for a named one: Lock returns
// fs.ErrClosed from now on, also in goroutines that wait. It returns when none waits any more. It does not
// unlock.
func (m *Mutex) Stop() {
	m.stop.Do(func() {
		m.closed.Store(true)
		close(m.done)
		for {
			m.queue.Kick()
			select {
			case m.gate <- struct{}{}:
				return
			case <-time.After(time.Millisecond):
			}
		}
	})
}

// wrap names the mutex in an error, and keeps m's memory mapped until here.
func (m *Mutex) wrap(op string, err error) error {
	runtime.KeepAlive(m)
	if err == nil || m.name == "" {
		return err
	}
	return &fs.PathError{Op: op, Path: m.name, Err: err}
}

// acquire is Lock without the guard.
func (m *Mutex) acquire(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if m.word.CompareAndSwap(0, m.self) {
		step.At(step.LockTaken)
		return m.entered(0)
	}
	return m.acquireSlow(ctx)
}

// entered ends an acquisition. A handle that was closed meanwhile must not keep the mutex; then it leaves flags.
func (m *Mutex) entered(flags uint32) error {
	if m.closed.Load() {
		m.release(flags)
		return fs.ErrClosed
	}
	m.sign()
	fence.Acquire(m.key)
	return nil
}

// sign tells those who will wait whose end they may wait for besides.
func (m *Mutex) sign() {
	if m.pid.Load() != pid {
		m.pid.Store(pid)
	}
	runtime.KeepAlive(m)
}

func (m *Mutex) tryAcquire() (bool, error) {
	if m.word.CompareAndSwap(0, m.self) {
		step.At(step.LockTaken)
		err := m.entered(0)
		return err == nil, err
	}
	if m.closed.Load() {
		return false, fs.ErrClosed
	}
	select {
	case m.gate <- struct{}{}:
	default:
		return false, nil // a goroutine of this handle waits for the mutex, or repairs what it guards
	}
	defer func() { <-m.gate }()
	w := m.word.Load()
	if owner := w & layout.IdentMask; owner != 0 && m.owners.Alive(owner) {
		return false, nil
	}
	taken, err := m.take(w, 0)
	return taken && err == nil, err
}

// take takes the mutex over from the state w, in which it is free or has a dead owner, and sets the given flags.
// It reports whether the state was still that; with an error the mutex is not held.
func (m *Mutex) take(w, flags uint32) (bool, error) {
	died := w&^layout.WaitersBit != 0 // a dead owner, or a flag that one left
	flags |= w & layout.WaitersBit
	if died {
		flags |= layout.InconsistentBit
	}
	step.At(step.LockTaking)
	if !m.word.CompareAndSwap(w, m.self|flags) {
		return false, nil
	}
	step.At(step.LockTakenOver)
	if w&layout.IdentMask != 0 {
		m.count(layout.TakeOvers)
	}
	if err := m.entered(flags & layout.InconsistentBit); err != nil || !died {
		return true, err
	}
	if err := m.mend(); err != nil {
		return true, err
	}
	return true, m.entered(0) // unless it was closed meanwhile
}

// mend repairs what the mutex guards, with the mutex held. If that fails it lets the mutex go, still inconsistent.
func (m *Mutex) mend() error {
	repaired := false
	defer func() {
		if !repaired {
			m.release(layout.InconsistentBit)
		}
	}()
	step.At(step.LockRepairing)
	if m.repair == nil {
		return ErrOwnerDied
	}
	if err := m.repair(); err != nil {
		return fmt.Errorf("%w: repair: %w", ErrOwnerDied, err)
	}
	repaired = true
	step.At(step.LockRepaired)
	for w := m.word.Load(); w&layout.IdentMask == m.self; w = m.word.Load() {
		if m.word.CompareAndSwap(w, w&^layout.InconsistentBit) {
			step.At(step.LockConsistent)
			return nil
		}
	}
	return fmt.Errorf("%w: Repair unlocked it, or a peer took it: %w", layout.ErrCorrupt, ErrNotOwner)
}

func (m *Mutex) acquireSlow(ctx context.Context) error {
	select {
	case m.gate <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	case <-m.done:
		return fs.ErrClosed
	}
	defer func() { <-m.gate }()
	step.At(step.LockQueued)

	var flags uint32 // once this goroutine has parked, others may be parked that only its Unlock wakes
	for look := 0; ; look++ {
		err := ctx.Err()
		if m.closed.Load() {
			err = fs.ErrClosed
		}
		if err != nil {
			if flags != 0 {
				m.queue.Wake() // in case this goroutine was woken, and another could have been
			}
			return err
		}
		w := m.word.Load()
		if w&layout.IdentMask == 0 {
			if taken, err := m.take(w, flags); taken {
				return err
			}
			continue
		}
		if look < spins {
			if look%10 == 9 {
				runtime.Gosched()
			}
			continue
		}
		taken, err := m.await(ctx, w, flags)
		if taken || err != nil {
			return err
		}
		flags, look = layout.WaitersBit, 0
	}
}

// await parks until the word, last seen as w with an owner, may have changed. It takes the mutex over if the
// owner is dead, for which it asks before it parks, and then at each timeout; and when the process ends that signed
// the mutex last, once the wait has been long. flags are those to take it with if that is before it parks.
func (m *Mutex) await(ctx context.Context, w, flags uint32) (taken bool, err error) {
	for limit := firstPark; ; limit = min(2*limit, lastPark) {
		if limit == longPark {
			defer m.queue.KickAtEnd(m.pid.Load())()
		}
		if !m.owners.Alive(w & layout.IdentMask) {
			return m.take(w, flags)
		}
		if w&layout.WaitersBit == 0 {
			if !m.word.CompareAndSwap(w, w|layout.WaitersBit) {
				return false, nil
			}
			w |= layout.WaitersBit
			step.At(step.LockWaitersSet)
		}
		if limit == firstPark {
			m.count(layout.Waits)
		}
		step.At(step.LockParking)
		m.queue.Wait(w, limit)
		step.At(step.LockAwake)
		flags = layout.WaitersBit
		if m.word.Load() != w || ctx.Err() != nil || m.closed.Load() {
			return false, nil
		}
	}
}

// release lets the mutex go, and adds flags to that which says that it is inconsistent.
func (m *Mutex) release(flags uint32) error {
	fence.Release(m.key)
	for {
		w := m.word.Load()
		if w&layout.IdentMask != m.self {
			if m.closed.Load() {
				return fs.ErrClosed
			}
			return ErrNotOwner
		}
		step.At(step.Unlocking)
		if m.word.CompareAndSwap(w, w&layout.InconsistentBit|flags) {
			step.At(step.Unlocked)
			if w&layout.WaitersBit != 0 {
				step.At(step.LockWaking)
				m.queue.Wake()
				step.At(step.LockWoken)
			}
			return nil
		}
	}
}

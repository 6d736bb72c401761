// Package ipcsync provides locks for processes that share memory. They survive
// the death of their owner.
//
//	m, err := ipcsync.OpenMutex("journal", &ipcsync.Options{
//		Repair: rollBack, // runs if an owner died before it unlocked
//	})
//	if err != nil {
//		return err
//	}
//	defer m.Close()
//	if err := m.Lock(ctx); err != nil {
//		return err
//	}
//	defer m.Unlock()
//
// A [Mutex] is one 32-bit word that names its owner. The owner also holds a
// kernel lock, which is released when its process exits, even by SIGKILL. A
// waiter can therefore find out that the owner is dead, and take the mutex
// over. This does not depend on process IDs, and needs no extra thread or
// daemon.
//
// [RWMutex], [Semaphore], [Cond] and [Event] are built in the same way.
// [SeqLock] lets readers read without a lock.
package ipcsync

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sharedseg/sharedseg"
	"github.com/sharedseg/sharedseg/internal/fault"
	"github.com/sharedseg/sharedseg/internal/fence"
	"github.com/sharedseg/sharedseg/internal/goroutine"
	"github.com/sharedseg/sharedseg/internal/layout"
	"github.com/sharedseg/sharedseg/internal/member"
	"github.com/sharedseg/sharedseg/internal/park"
	"github.com/sharedseg/sharedseg/internal/step"
)

const (
	spins     = 100                    // looks at a held word before parking: about a microsecond
	firstPark = 100 * time.Microsecond // doubled at each timeout
	longPark  = 16 * firstPark         // from here on the exit of the owner's process also ends a park
	lastPark  = 5 * time.Millisecond   // the longest that a dead owner, or a done context, goes unnoticed
)

// Owners tells a Mutex about the handles that share its word.
type Owners interface {
	// Self returns the identity of this handle, 1 to 2^30-1. It differs from
	// that of any other live handle.
	Self() uint32
	// Alive reports whether the handle with that identity is open. It may be
	// called concurrently. It may report true for a while after the handle is
	// gone, but must never report false for an open handle.
	Alive(owner uint32) bool
}

// Mutex is a mutual exclusion lock between processes, and between the
// goroutines of one process. It belongs to the handle that locked it, not to a
// thread or goroutine: any goroutine may unlock it. Its methods may be called
// concurrently.
//
// Uncontended, Lock and Unlock are one compare-and-swap each and make no system
// call. Under contention, one goroutine of each handle competes for the word.
// It looks at the word a few times and then parks in the kernel. At growing
// intervals, at most 5 ms, it asks whether the owner is alive. On Linux and
// Windows it usually learns of the owner's death as soon as the owner's process
// has exited. For that, on Linux, a wait of more than 1.5 ms takes a file
// descriptor if one is available.
//
// The mutex is never taken from a live owner, however long its process is
// stopped. Use Lock's context to give up. The states of the word are those of
// mutex 2 in Drepper's "Futexes Are Tricky" (2011), with the owner in place of
// "locked".
type Mutex struct {
	word   layout.MutexWord
	direct bool           // the word may be accessed outside use
	state  *atomic.Uint32 // bits of package fault; 0 while the handle is open and its memory whole
	key    uint64         // of the word, for the race detector

	queue  *park.Queue
	owners Owners
	repair func() error
	gate   chan struct{} // one goroutine of the handle competes for the word, or repairs
	done   chan struct{} // closed by Stop
	stop   sync.Once
	close  sync.Once
	member *member.Member // nil if the word is the caller's
	name   string         // in errors; "" if they are not wrapped

	readers *readers // of the RWMutex that has this word; nil for a Mutex

	repairer atomic.Uintptr // goroutine.ID of the goroutine that runs repair, 0 if none does or it is not known
}

// NewMutex returns a handle of a mutex in a word of shared memory that the
// caller provides. The word must be 0 at first, and must stay mapped while the
// handle is used. repair is like Options.Repair. Most programs use [OpenMutex],
// which provides the word and the Owners.
func NewMutex(word *atomic.Uint32, owners Owners, repair func() error) *Mutex {
	m := &Mutex{
		word: layout.MutexWord{Word: word, Self: owners.Self()}, owners: owners, repair: repair,
		gate: make(chan struct{}, 1), done: make(chan struct{}),
	}
	if mb, ok := owners.(*member.Member); ok {
		m.member, m.direct, m.state = mb, mb.Direct, mb.State
		m.queue, m.key = mb.Queue, mb.Key
	} else {
		m.direct, m.state = true, new(atomic.Uint32)
		m.queue = park.NewQueue(word, nil, park.MutexPart)
	}
	return m
}

// Lock locks the mutex. It blocks until the mutex is free or ctx is done. If
// ctx is done it returns an error that wraps ctx's, within 5 ms, or within one
// timer tick of 16 ms on Windows. The text of that error names the holder: this
// handle, or the process ID of another, as a hint. If ctx is already done, Lock
// does not lock. As in package sync, a goroutine that locks a mutex that its
// own handle holds waits until the mutex is unlocked.
//
// If an owner died while it held the mutex, Lock runs Options.Repair, with the
// mutex held, before it returns. If Repair fails or is nil, Lock unlocks the
// mutex and returns ErrOwnerDied, and so does every Lock until a Repair
// succeeds. Whenever Lock returns an error, the mutex is not held. Other
// errors: ErrReentrant within Repair, ErrCorrupt, fs.ErrClosed.
func (m *Mutex) Lock(ctx context.Context) error {
	if m.direct && ctx.Err() == nil && m.word.TryLock() {
		if m.state.Load() == 0 {
			fence.Acquire(m.key)
			runtime.KeepAlive(m)
			return nil
		}
		return m.wrap("lock", m.acquired(0))
	}
	return m.wrap("lock", m.lockSlow(ctx, false))
}

// TryLock locks the mutex if that is possible without waiting, and reports
// whether it did. Like Lock, it takes over the mutex of an owner that died, and
// runs Options.Repair. The errors are those of [Mutex.Lock].
func (m *Mutex) TryLock() (locked bool, err error) {
	if m.direct && m.word.TryLock() {
		err = m.acquired(0)
		locked = err == nil
	} else {
		locked, err = m.tryLockSlow(false)
	}
	return locked, m.wrap("lock", err)
}

// Unlock unlocks the mutex. It returns ErrNotOwner if this handle does not hold
// it, ErrCorrupt, or fs.ErrClosed after Close. It does not block.
func (m *Mutex) Unlock() error {
	if m.direct {
		fence.Release(m.key)
		if m.word.TryUnlock() { // held, and nobody waits
			if m.state.Load() == 0 || m.member == nil {
				return nil
			}
			return m.wrap("unlock", m.member.Verdict(nil))
		}
	}
	return m.wrap("unlock", m.unlockSlow())
}

// unlockSlow is Unlock if others wait, if the handle does not hold the mutex,
// or if the word may only be accessed within use.
func (m *Mutex) unlockSlow() error {
	err := m.use(func() error { return m.release(0) })
	if err != nil || m.member != nil {
		err = m.verdict(err)
	}
	return err
}

// Held reports whether this handle holds the mutex, whichever goroutine locked
// it. It returns false after Close.
func (m *Mutex) Held() bool {
	held := m.holds()
	return held && (m.member == nil || m.state.Load()&fault.Closed == 0)
}

func (m *Mutex) holds() (held bool) {
	m.use(func() error {
		held = m.word.Word.Load()&layout.IdentMask == m.word.Self
		return nil
	})
	runtime.KeepAlive(m)
	return held
}

// Stop ends a handle that NewMutex returned, as Close does for one that
// OpenMutex returned. From then on Lock returns fs.ErrClosed, even in
// goroutines that already wait. Stop returns when none of them waits any more.
// It does not unlock the mutex. Within Repair it would wait for itself: it
// returns ErrReentrant, and the handle stays open.
func (m *Mutex) Stop() error {
	if m.repairs() {
		return errStopWithin
	}
	m.stop.Do(func() {
		m.state.Or(fault.Closed)
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
	return nil
}

// wrap adds the mutex's name to err, and keeps m's memory mapped until then.
func (m *Mutex) wrap(op string, err error) error {
	runtime.KeepAlive(m)
	if err == nil || m.name == "" {
		return err
	}
	return wrap(op, m.name, err)
}

// wrap adds an operation and a name to err.
func wrap(op, name string, err error) error {
	if err == nil {
		return nil
	}
	return &sharedseg.Error{Op: op, Name: name, Err: err}
}

// use calls f, which accesses the word, through member.Use of the word's
// mapping.
func (m *Mutex) use(f func() error) error {
	if m.member == nil {
		return f()
	}
	return m.member.Use(f)
}

// acquire is use for an f that acquires the mutex. Before such an f returns
// nil, it has looked at the state, after its last access. If the memory has
// vanished since, it vanished after the acquisition, and the next call fails.
func (m *Mutex) acquire(f func() error) error {
	done := false
	err := m.use(func() error {
		err := f()
		done = err == nil
		return err
	})
	if done {
		return nil
	}
	return err
}

// count adds one to a counter of the word's mapping.
func (m *Mutex) count(c layout.Counter) {
	if m.member != nil {
		m.member.Count(c)
	}
}

// verdict returns the error of a call that ends with err.
func (m *Mutex) verdict(err error) error {
	if m.state.Load() == 0 {
		return err
	}
	return m.failed(err)
}

// failed is verdict for a handle that was closed, or whose memory vanished.
func (m *Mutex) failed(err error) error {
	if m.member != nil {
		return m.member.Verdict(err)
	}
	return fs.ErrClosed
}

// acquired ends an acquisition, after this handle has become the word's owner.
// If the handle was closed meanwhile, or its memory vanished, acquired releases
// the word, with flags, and returns an error.
func (m *Mutex) acquired(flags uint32) error {
	if m.state.Load() != 0 {
		m.release(flags)
		return m.failed(nil)
	}
	fence.Acquire(m.key)
	return nil
}

// repairs reports whether the calling goroutine runs Repair.
func (m *Mutex) repairs() bool {
	id := goroutine.ID()
	return id != 0 && m.repairer.Load() == id
}

var (
	errLockWithin = fmt.Errorf("%w: it was made by Repair, which runs with the mutex held", sharedseg.ErrReentrant)
	errStopWithin = fmt.Errorf("%w: it was made by Repair; close the handle after Lock has returned", sharedseg.ErrReentrant)
)

// heldBy adds the holder to the text of err, the context's error that ended a
// wait. It is called within use.
func (m *Mutex) heldBy(err error) error {
	owner := m.word.Word.Load() & layout.IdentMask
	if err == nil || owner == 0 {
		return err
	}
	return fmt.Errorf("%w; held by %s", err, m.holder(owner))
}

// holder describes the handle with that identity.
func (m *Mutex) holder(ident uint32) string {
	if ident == m.word.Self {
		return "this handle"
	}
	switch pid := m.holderPID(ident); pid {
	case 0:
		return "another handle"
	case uint32(os.Getpid()):
		return fmt.Sprintf("another handle of this process, %d (a hint)", pid)
	default:
		return fmt.Sprintf("process %d (a hint)", pid)
	}
}

// holderPID returns the process ID of the owner as a hint, 0 if not known.
func (m *Mutex) holderPID(owner uint32) uint32 {
	if m.member == nil {
		return 0
	}
	return m.member.Words.HolderPID(layout.Ident(owner).Slot()).Load()
}

// lockSlow is Lock if the word is not free, or may only be accessed within use.
// If shared is set, it is RLock: it then takes the word only from a dead owner,
// and releases it before it returns.
func (m *Mutex) lockSlow(ctx context.Context, shared bool) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if taken, err := m.takeFree(shared); err != nil || taken && shared {
		return err
	} else if taken {
		return m.settle(ctx, false)
	}
	if m.repairs() {
		return errLockWithin
	}
	select {
	case m.gate <- struct{}{}:
	case <-ctx.Done():
		err := ctx.Err()
		m.use(func() error { err = m.heldBy(err); return nil })
		return err
	case <-m.done:
		return fs.ErrClosed
	}
	defer func() { <-m.gate }()
	step.At(step.LockQueued)
	var died bool
	err := m.acquire(func() (err error) {
		died, err = m.compete(ctx, shared)
		return err
	})
	if err != nil || shared && !died {
		return err // it does not hold the word
	}
	if err = m.settle(ctx, died); err == nil && shared {
		err = m.readers.downgrade()
	}
	return err
}

// settle ends an acquisition of the word. In an RWMutex it waits for the
// readers. If an owner died, it repairs what the mutex guards. If it returns an
// error, it has released the word.
func (m *Mutex) settle(ctx context.Context, died bool) error {
	if m.readers != nil {
		if err := m.readers.drain(ctx); err != nil {
			flags := uint32(0)
			if died {
				flags = layout.InconsistentBit
			}
			m.use(func() error { return m.release(flags) })
			return err
		}
	}
	if died {
		return m.restore()
	}
	return nil
}

// tryLockSlow is TryLock if the word is not free, or may only be accessed
// within use. If shared is set, it is TryRLock.
func (m *Mutex) tryLockSlow(shared bool) (locked bool, err error) {
	taken, err := m.takeFree(shared)
	if err == nil && taken && !shared {
		err = m.settle(noWait, false)
	}
	if err != nil || taken {
		return err == nil, err
	}
	select {
	case m.gate <- struct{}{}:
	default:
		return false, m.verdict(nil)
	}
	defer func() { <-m.gate }()
	var died bool
	err = m.acquire(func() (err error) {
		w := m.word.Word.Load()
		owner := w & layout.IdentMask
		if shared && w&^layout.WaitersBit == 0 || owner != 0 && m.owners.Alive(owner) {
			return nil // held a moment ago, even if it is free now
		}
		taken, died, err = m.tryTake(w, 0)
		return err
	})
	if err == nil && taken {
		err = m.settle(noWait, died)
	}
	if err == nil && taken && shared {
		err = m.readers.downgrade()
	}
	if err == nil && taken {
		return true, nil
	}
	return false, m.verdict(err)
}

// noWait is the context of calls that must not wait.
var noWait = func() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}()

// takeFree takes the word, within use, if it is 0. If shared is set, it counts
// a reader instead.
func (m *Mutex) takeFree(shared bool) (taken bool, err error) {
	err = m.acquire(func() (err error) {
		if shared {
			taken, err = m.readers.enter()
		} else if m.word.Word.Load() == 0 {
			taken, _, err = m.tryTake(0, 0)
		}
		return err
	})
	return taken, err
}

// compete waits for the word and takes it. The gate is held. died reports
// whether what the mutex guards must be repaired. If shared is set, compete
// does not take a word that is free and consistent, but counts a reader. died
// then also reports that it took the word.
//
// It looks at the word for a microsecond. Then it asks whether the owner is
// alive, sets the waiters bit and parks, and asks again after each timeout.
// Once the wait has been long, it also asks when the owner's process exits.
func (m *Mutex) compete(ctx context.Context, shared bool) (died bool, err error) {
	var flags uint32 // the waiters bit, once this goroutine has parked
	stop := func() {}
	defer func() { stop() }()
	for look, limit := 0, firstPark; ; look++ {
		if err := ctx.Err(); err != nil || m.state.Load() != 0 {
			m.pass(flags)
			return false, m.verdict(m.heldBy(err))
		}
		w := m.word.Word.Load()
		owner := w & layout.IdentMask
		switch {
		case shared && w&^layout.WaitersBit == 0:
			if in, err := m.readers.enter(); in || err != nil {
				m.pass(flags)
				return false, err
			}
		case owner == 0 || look >= spins && !m.owners.Alive(owner):
			if taken, died, err := m.tryTake(w, flags); taken {
				return died, err
			}
		case look < spins:
			if look%10 == 9 {
				runtime.Gosched()
			}
		default:
			var changed bool
			if flags, changed = m.park(w, flags, limit); changed {
				stop()
				look, limit, stop = -1, firstPark, func() {}
			} else if limit = min(2*limit, lastPark); limit == longPark {
				stop = m.queue.KickAtEnd(m.holderPID(owner))
			}
		}
	}
}

// pass wakes a sleeper if flags says that this goroutine has parked, for when
// it leaves without the word. It may have been woken in place of another, and
// others may be parked although the last owner cleared the waiters bit.
func (m *Mutex) pass(flags uint32) {
	if flags != 0 {
		m.queue.Wake()
	}
}

// park sets the waiters bit of the word, which was last seen as w, and parks.
// It reports whether the word has changed. Once it has parked, it returns the
// waiters bit, for tryTake: others may be parked that only this goroutine's
// Unlock wakes.
func (m *Mutex) park(w, flags uint32, limit time.Duration) (_ uint32, changed bool) {
	if w&layout.WaitersBit == 0 {
		if !m.word.Word.CompareAndSwap(w, w|layout.WaitersBit) {
			return flags, true
		}
		w |= layout.WaitersBit
		step.At(step.LockWaitersSet)
	}
	step.At(step.LockParking)
	m.queue.Wait(w, limit)
	step.At(step.LockAwake)
	if flags == 0 {
		m.count(layout.Waits)
		flags = layout.WaitersBit
	}
	return flags, m.word.Word.Load() != w
}

// tryTake takes a word that is free or has a dead owner, if it still is w, and
// sets flags. It reports whether it took the word, and whether what the mutex
// guards must be repaired. If it returns an error, the mutex is not held.
func (m *Mutex) tryTake(w, flags uint32) (taken, died bool, err error) {
	died = w&^layout.WaitersBit != 0 // a dead owner, or the inconsistent bit that one left
	flags |= w & layout.WaitersBit
	if died {
		flags |= layout.InconsistentBit
	}
	step.At(step.LockTaking)
	if !m.word.Word.CompareAndSwap(w, m.word.Self|flags) {
		return false, false, nil
	}
	step.At(step.LockTakenOver)
	if w&layout.IdentMask != 0 {
		m.count(layout.TakeOvers)
	}
	return true, died, m.acquired(flags & layout.InconsistentBit)
}

// restore repairs what the mutex guards. The mutex and the gate are held. If
// the repair fails, restore releases the mutex, still inconsistent.
func (m *Mutex) restore() error {
	restored := false
	defer func() {
		if !restored {
			m.use(func() error { return m.release(layout.InconsistentBit) })
		}
	}()
	step.At(step.LockRepairing)
	if m.repair == nil {
		return sharedseg.ErrOwnerDied
	}
	m.repairer.Store(goroutine.ID())
	defer m.repairer.Store(0)
	if err := m.repair(); err != nil {
		return fmt.Errorf("%w: repair: %w", sharedseg.ErrOwnerDied, err)
	}
	restored = true
	step.At(step.LockRepaired)
	return m.acquire(func() error {
		for w := m.word.Word.Load(); w&layout.IdentMask == m.word.Self; w = m.word.Word.Load() {
			if m.word.Word.CompareAndSwap(w, w&^layout.InconsistentBit) {
				step.At(step.LockConsistent)
				return m.acquired(0) // fails if the handle was closed meanwhile
			}
		}
		return fmt.Errorf("%w: Repair unlocked the mutex, or a peer took it: %w", layout.ErrCorrupt, sharedseg.ErrNotOwner)
	})
}

// release unlocks the word. It keeps the inconsistent bit and sets flags.
func (m *Mutex) release(flags uint32) error {
	fence.Release(m.key)
	for {
		w := m.word.Word.Load()
		if w&layout.IdentMask != m.word.Self {
			return sharedseg.ErrNotOwner
		}
		step.At(step.Unlocking)
		if m.word.Word.CompareAndSwap(w, w&layout.InconsistentBit|flags) {
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

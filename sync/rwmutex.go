package ipcsync

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync/atomic"
	"time"

	"github.com/sharedseg/sharedseg"
	"github.com/sharedseg/sharedseg/internal/fault"
	"github.com/sharedseg/sharedseg/internal/fence"
	"github.com/sharedseg/sharedseg/internal/layout"
	"github.com/sharedseg/sharedseg/internal/member"
	"github.com/sharedseg/sharedseg/internal/notify"
	"github.com/sharedseg/sharedseg/internal/step"
)

// RWMutex is a reader/writer mutual exclusion lock between processes, and
// between the goroutines of one process. It can be held by any number of
// readers or by one writer. It belongs to the handle that locked it, not to a
// thread or goroutine. Its methods may be called concurrently.
//
// For writers it is a [Mutex]. Each handle counts its readers in a word of its
// own, so RLock and RUnlock of different handles write to no shared cache line,
// unless 127 or more others were opened in between. Lock takes the mutex's word
// first, which excludes new readers, and then waits until no open handle has a
// reader. If a handle's process was killed, its count no longer matters: a
// waiting Lock finds that out within 5 ms. Counts that readers do not share are
// from Hsieh and Weihl, "Scalable Reader-Writer Locks for Parallel Systems"
// (1992).
//
// As with a Mutex, waiters compete with new arrivals until their context is
// done. A stream of writers can keep a reader waiting, but a stream of readers
// does not keep a writer waiting. As in package sync, a goroutine that calls
// RLock a second time waits forever if another has called Lock in between. A
// handle that calls Lock while it has readers waits until they unlock.
type RWMutex struct {
	*readers
	// The Mutex in readers is the writers'. It has the identity, the state and
	// the word.
}

// readers is an RWMutex: the writers' mutex and the counts of readers.
type readers struct {
	m     *Mutex
	page  layout.WaitPage
	row   *atomic.Uint64     // the number of readers of this handle
	gone  *notify.EventCount // signalled when a reader leaves; the writer waits for it
	asked time.Time          // when the writer last asked which readers are alive
	ready func() bool        // noneReads
}

// drainLimit is how long a writer sleeps before it asks again whether the
// readers are alive. Tests change it.
var drainLimit = lastPark

// OpenRWMutex opens the RWMutex with the given name, and creates it if it does
// not exist. Name, options, errors, and what happens to the lock when handles
// are closed and processes exit are as for [OpenMutex]. Options.Repair runs
// after a writer died. A reader that died has changed nothing.
//
// Close the handle after use. An unreachable handle is eventually closed by the
// garbage collector, unless it holds the lock for writing.
func OpenRWMutex(name string, o *Options) (*RWMutex, error) {
	mb, err := open(name, o, layout.KindRWMutex, 0)
	if err != nil {
		return nil, err
	}
	m := named(mb, name, o.repair())
	row, err := mb.Row()
	if err != nil {
		mb.Leave(false)
		return nil, &sharedseg.Error{Op: "open", Name: name, Err: err}
	}
	r := &readers{m: m, page: mb.WaitPage, row: row}
	r.gone = notify.NewEventCount(mb.Event(member.RowEvent), m.use, func() time.Duration { return drainLimit },
		func() { mb.Count(layout.Waits) })
	r.ready = r.noneReads
	m.readers = r
	return &RWMutex{r}, nil
}

// Lock locks rw for writing. It blocks until no handle holds the lock or ctx is
// done. If ctx is done it returns an error that wraps ctx's. The text of that
// error names a holder, as a hint.
//
// If a writer died while it held the lock, Lock runs Options.Repair before it
// returns, after all readers have unlocked. Whenever Lock returns an error, the
// lock is not held. The errors are those of [Mutex.Lock].
func (rw *RWMutex) Lock(ctx context.Context) error {
	m := rw.m
	if !m.direct || ctx.Err() != nil || !m.word.TryLock() {
		return m.wrap("lock", m.lockSlow(ctx, false))
	}
	step.At(step.LockDraining)
	if rw.noCounts() {
		return m.wrap("lock", m.acquired(0))
	}
	return m.wrap("lock", m.settle(ctx, false))
}

// TryLock locks rw for writing if that is possible without waiting, and reports
// whether it did. The errors are those of [RWMutex.Lock].
func (rw *RWMutex) TryLock() (locked bool, err error) {
	m := rw.m
	read := false
	err = m.use(func() error { read = rw.reader() != 0; return nil })
	if err == nil && !read { // while it is read, taking the word would only disturb the readers
		locked, err = m.tryLockSlow(false)
	}
	switch {
	case locked:
		return true, nil
	case errors.Is(err, errRead):
		err = nil
	}
	return false, m.wrap("lock", m.verdict(err))
}

// Unlock unlocks rw for writing. It returns ErrNotOwner if this handle does not
// hold the lock for writing, ErrCorrupt, or fs.ErrClosed after Close. It does
// not block.
func (rw *RWMutex) Unlock() error { return rw.m.Unlock() }

// RLock locks rw for reading. It blocks until no writer holds the lock or ctx
// is done. If ctx is done it returns an error that wraps ctx's, as Lock does.
//
// If a writer died while it held the lock, RLock runs Options.Repair before it
// returns, with the lock held for writing, as Lock does. If Repair fails or is
// nil, RLock returns ErrOwnerDied, and so does every RLock and Lock until a
// Repair succeeds. Whenever RLock returns an error, the lock is not held. The
// errors are those of [Mutex.Lock].
func (rw *RWMutex) RLock(ctx context.Context) error {
	m := rw.m
	if m.direct && ctx.Err() == nil {
		rw.row.Add(1)
		step.At(step.ReaderCounted)
		if m.word.Word.Load()|m.state.Load() == 0 {
			step.At(step.ReaderEntered)
			fence.Acquire(m.key)
			runtime.KeepAlive(m)
			return nil
		}
		rw.leave()
	}
	return m.wrap("rlock", m.lockSlow(ctx, true))
}

// TryRLock locks rw for reading if that is possible without waiting, and
// reports whether it did. The errors are those of [RWMutex.RLock].
func (rw *RWMutex) TryRLock() (locked bool, err error) {
	locked, err = rw.m.tryLockSlow(true)
	if errors.Is(err, errRead) { // it took the word over from a dead writer, but there are readers
		return false, nil
	}
	return locked, rw.m.wrap("rlock", err)
}

// RUnlock undoes a single RLock. It returns ErrNotOwner if this handle does not
// hold the lock for reading, or fs.ErrClosed after Close. It does not block.
func (rw *RWMutex) RUnlock() error {
	m := rw.m
	var err error
	if !m.direct {
		err = m.use(rw.leave)
	} else if err = rw.leave(); err == nil && m.state.Load() == 0 {
		runtime.KeepAlive(m)
		return nil
	}
	return m.wrap("runlock", m.verdict(err))
}

// Close closes the handle. It undoes the handle's RLocks. Goroutines that wait
// in methods of the handle return fs.ErrClosed. Otherwise it is like
// [Mutex.Close].
func (rw *RWMutex) Close() error {
	m := rw.m
	if m.repairs() {
		return m.wrap("close", errStopWithin)
	}
	m.state.Or(fault.Closed)
	rw.gone.Close()
	return m.Close()
}

// enter counts a reader of this handle, and reports whether it may read. If
// enter returns an error, it may not.
func (r *readers) enter() (in bool, err error) {
	m := r.m
	r.row.Add(1)
	step.At(step.ReaderCounted)
	if m.word.Word.Load()&^layout.WaitersBit != 0 {
		return false, r.leave()
	}
	step.At(step.ReaderEntered)
	if m.state.Load() != 0 {
		r.leave()
		return false, m.failed(nil)
	}
	fence.Acquire(m.key)
	runtime.KeepAlive(m)
	return true, nil
}

// leave removes a reader from the count, and signals a writer that waits. It
// returns ErrNotOwner if the count is 0.
func (r *readers) leave() error {
	fence.Release(r.m.key)
	for {
		n := r.row.Load()
		if n == 0 {
			return r.m.verdict(sharedseg.ErrNotOwner)
		}
		step.At(step.ReaderLeaving)
		if r.row.CompareAndSwap(n, n-1) {
			break
		}
	}
	step.At(step.ReaderLeft)
	r.gone.Signal()
	return nil
}

// downgrade counts a reader and releases the word.
func (r *readers) downgrade() error {
	m := r.m
	counted := false
	err := m.acquire(func() error {
		r.row.Add(1)
		counted = true
		step.At(step.ReaderCounted)
		err := m.verdict(m.release(0))
		if err != nil {
			r.leave()
		}
		return err
	})
	if !counted { // the memory of the row vanished
		m.use(func() error { return m.release(0) })
	}
	return err
}

var errRead = errors.New("the lock is held for reading")

// drain waits until no open handle has a reader. The caller holds the word, so
// readers can only leave, and no other goroutine is in drain.
func (r *readers) drain(ctx context.Context) error {
	m := r.m
	fence.Acquire(m.key)
	r.asked = time.Time{}
	var err error
	if ctx == noWait {
		err = m.use(func() error {
			if !r.noneReads() {
				return errRead
			}
			return nil
		})
	} else {
		err = r.gone.Wait(ctx, r.ready)
	}
	step.At(step.ReadersDrained)
	if err == nil || m.state.Load() != 0 {
		fence.Acquire(m.key)
		return m.verdict(err)
	}
	m.use(func() error {
		if reader := r.reader(); reader != 0 {
			err = fmt.Errorf("%w; read by %s", err, m.holder(reader))
		}
		return nil
	})
	return err
}

// noneReads reports whether no open handle has a reader. If a reader died, it
// may report false for up to a millisecond longer than necessary.
func (r *readers) noneReads() bool {
	if r.noCounts() {
		return true
	}
	now := time.Now()
	if now.Sub(r.asked) < time.Millisecond {
		return false
	}
	r.asked = now
	return r.reader() == 0
}

// noCounts reports whether all counts are 0, including those of dead handles.
func (r *readers) noCounts() bool {
	if r.page.AnyRow() {
		for slot := range r.page.UsedRows() {
			if r.page.Row(slot).Load() != 0 {
				return false
			}
		}
	}
	return true
}

// reader returns the identity of an open handle that has readers, 0 if none
// has.
func (r *readers) reader() uint32 {
	for slot := range r.page.UsedRows() {
		if r.page.Row(slot).Load() != 0 && r.m.member.Open(slot) {
			return uint32(layout.NewIdent(slot, r.m.member.Words.Generation(slot).Load()))
		}
	}
	return 0
}

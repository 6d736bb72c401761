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

// RWMutex is a lock between processes, and between the goroutines of one
// process, that either any number of readers hold or one writer. It belongs to
// the handle, not to a thread or goroutine. Its methods may be called
// concurrently.
//
// For writers it is a [Mutex]. Readers count in a word of their handle's own,
// so RLock and RUnlock of different handles share no cache line that anybody
// writes. Lock takes the mutex's word first, which keeps new readers out, and
// then waits until no open handle has a reader. The count of a handle that was
// killed means nothing: it is found out within 5 ms of a Lock that waits for
// it. The idea of counts that readers do not share is that of Hsieh and Weihl,
// "Scalable Reader-Writer Locks for Parallel Systems" (1992).
//
// Fairness is the Mutex's: who waits competes with who comes, for as long as
// its context lasts. So a stream of writers can keep a reader waiting, but a
// stream of readers does not keep a writer waiting. An RLock by a goroutine
// that has one already waits for ever if a Lock came between them, as with the
// standard library's, and so does a Lock by a handle that has readers, until
// they unlock.
type RWMutex struct {
	*readers
	// The Mutex has the identity, the state and the word. It is the writers'.
}

// readers is what an RWMutex has beside the writers' mutex.
type readers struct {
	m     *Mutex
	page  layout.WaitPage
	row   *atomic.Uint64     // how many readers this handle has
	gone  *notify.EventCount // the writer waits for the readers
	asked time.Time          // when the writer last asked which of the readers live
	ready func() bool        // noneReads
}

// drainLimit is how long a writer sleeps before it asks again whether the
// readers live.
const drainLimit = lastPark

// OpenRWMutex opens the lock of that name, and creates it if there is none.
// Name, options and errors are as of [OpenMutex], and so is what becomes of the
// lock when handles close and processes end; Repair is for a writer that died.
// A reader that died has changed nothing.
//
// Close the handle when it is no longer used. An unreachable handle is
// eventually closed by the garbage collector, unless it holds the lock as a
// writer.
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

// Lock locks the lock for writing. It blocks until nobody holds it or ctx is
// done; then it returns an error that wraps ctx's. Its text names a holder, as
// a hint.
//
// If a writer died while it held the lock, Lock runs Options.Repair before it
// returns, when all readers have unlocked. Whenever Lock returns an error, the
// lock is not held. Errors are those of [Mutex.Lock].
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

// TryLock locks the lock for writing if that is possible without waiting, and
// reports whether it did. Errors as of Lock.
func (rw *RWMutex) TryLock() (locked bool, err error) {
	m := rw.m
	read := false
	err = m.use(func() error { read = rw.reader() != 0; return nil })
	if err == nil && !read { // else to take the word would disturb the readers
		locked, err = m.tryLockSlow(false)
	}
	if errors.Is(err, errRead) {
		return false, nil
	}
	return locked && err == nil, m.wrap("lock", m.verdict(err))
}

// Unlock unlocks what Lock locked. It returns ErrNotOwner if this handle does
// not hold the lock for writing, ErrCorrupt, or fs.ErrClosed after Close. It
// does not block.
func (rw *RWMutex) Unlock() error { return rw.m.Unlock() }

// RLock locks the lock for reading. It blocks until no writer holds it or ctx
// is done; then it returns an error that wraps ctx's, as Lock does.
//
// If a writer died while it held the lock, RLock runs Options.Repair as Lock
// does, alone, before it returns. If that fails or there is none, it returns
// ErrOwnerDied, and so does every RLock and Lock until a Repair succeeds.
// Whenever RLock returns an error, the lock is not held. Errors are those of
// [Mutex.Lock].
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

// TryRLock locks the lock for reading if that is possible without waiting, and
// reports whether it did. Errors as of RLock.
func (rw *RWMutex) TryRLock() (locked bool, err error) {
	locked, err = rw.m.tryLockSlow(true)
	if errors.Is(err, errRead) { // the word was taken over from a dead writer
		return false, nil
	}
	return locked && err == nil, rw.m.wrap("rlock", err)
}

// RUnlock unlocks what one RLock locked. It returns ErrNotOwner if this handle
// does not hold the lock for reading, or fs.ErrClosed after Close. It does not
// block.
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

// Close closes the handle. What it holds for reading is unlocked. Goroutines
// that wait in its methods return fs.ErrClosed. Else it is as [Mutex.Close].
func (rw *RWMutex) Close() error {
	m := rw.m
	if m.repairs() {
		return m.wrap("close", errStopWithin)
	}
	m.state.Or(fault.Closed)
	rw.gone.Close()
	return m.Close()
}

// enter counts a reader of this handle, and reports whether it may read. With
// an error it may not.
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

// leave takes a reader off the count, and tells a writer that waits. It returns
// ErrNotOwner if there is none.
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
	r.row.Add(1)
	step.At(step.ReaderCounted)
	err := r.m.verdict(r.m.release(0))
	if err != nil {
		r.leave()
	}
	return err
}

var errRead = errors.New("it is read")

// drain waits until no open handle has a reader. The caller has the word, so
// there are no new ones, and nobody else in drain.
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

// noneReads reports whether no open handle has a reader. It may report false
// for a millisecond longer.
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

// noCounts reports whether all counts are 0, those of the dead included.
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

// reader is the identity of an open handle that has readers, 0 if there is
// none.
func (r *readers) reader() uint32 {
	for slot := range r.page.UsedRows() {
		if r.page.Row(slot).Load() != 0 && r.m.member.Open(slot) {
			return uint32(layout.NewIdent(slot, r.m.member.Words.Generation(slot).Load()))
		}
	}
	return 0
}

package ipcsync

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sharedseg/sharedseg"
	"github.com/sharedseg/sharedseg/internal/fence"
	"github.com/sharedseg/sharedseg/internal/layout"
	"github.com/sharedseg/sharedseg/internal/notify"
	"github.com/sharedseg/sharedseg/internal/step"
)

// MaxPermits is the largest number of permits of a Semaphore, about 1.7e10.
const MaxPermits = layout.MaxHolding

// Semaphore has a fixed number of permits that processes acquire and release,
// one or several at a time. Permits belong to the handle that acquired them,
// not to a thread or goroutine. They are released when the handle is closed or
// its process exits, even by SIGKILL. The methods of a Semaphore may be called
// concurrently.
//
// The numbers of permits that are used, and that each handle holds, change
// under an internal [Mutex]. If its owner dies, the next owner counts again
// what live handles hold.
//
// A Semaphore with one permit can serve as a lock without Repair, or as an
// event that resets itself: see [Event].
type Semaphore struct {
	m       *Mutex // guards used and the rows; has the identity and the state
	name    string
	permits uint64
	page    layout.WaitPage
	used    *atomic.Uint64 // permits that are held
	row     *atomic.Uint64 // this handle's Holding: its permits
	changes *broadcast     // releases
	close   sync.Once
	closing atomic.Bool
}

// The time until a waiting Acquire looks for permits of dead handles. Tests
// change it.
var (
	firstLook = 2 * time.Millisecond // doubled at each look
	lastLook  = 32 * time.Millisecond
)

// OpenSemaphore opens the semaphore with the given name, and creates it, with
// the given number of permits, if it does not exist. permits must be 1 to
// MaxPermits. Name, options and errors are as for [OpenMutex]. If the semaphore
// exists with another number of permits, OpenSemaphore returns ErrIncompatible.
// Options.Repair is not used: permits of handles that died are released without
// it.
//
// Close the handle after use. An unreachable handle is eventually closed by the
// garbage collector, which releases its permits.
func OpenSemaphore(name string, permits int64, o *Options) (*Semaphore, error) {
	if permits < 1 || permits > MaxPermits {
		return nil, &sharedseg.Error{Op: "open", Name: name,
			Err: fmt.Errorf("%w: %d permits; a semaphore has 1 to %d", fs.ErrInvalid, permits, int64(MaxPermits))}
	}
	mb, err := open(name, o, layout.KindSemaphore, permits)
	if err != nil {
		return nil, err
	}
	row, err := mb.Row()
	if err != nil {
		mb.Leave(false)
		return nil, &sharedseg.Error{Op: "open", Name: name, Err: err}
	}
	s := &Semaphore{name: name, permits: uint64(permits), page: mb.WaitPage, used: mb.WaitPage.Word(0), row: row}
	s.m = named(mb, "", func() error { return s.m.use(s.recount) })
	s.changes = newBroadcast(s.m)
	return s, nil
}

// Acquire acquires n permits, at least 1, all at once. It blocks until n
// permits are free or ctx is done. If ctx is done it returns an error that
// wraps ctx's. The text of that error names a handle that holds permits, as a
// hint. If ctx is already done, Acquire acquires nothing.
//
// Waiters compete with new arrivals: an Acquire of many permits can wait for as
// long as others acquire few. Permits of a handle that was killed reach a
// waiting Acquire within about 40 ms. Whenever Acquire returns an error,
// nothing was acquired.
//
// Errors: fs.ErrInvalid if n is less than 1 or more than the semaphore has,
// fs.ErrClosed, ErrCorrupt.
func (s *Semaphore) Acquire(ctx context.Context, n int64) error {
	taken, err := s.tryAcquire(ctx, n)
	if taken && err == nil {
		return nil
	}
	if err == nil {
		err = s.acquireSlow(ctx, n)
	}
	return s.wrap("acquire", err)
}

// TryAcquire acquires n permits if they are free, and reports whether it did.
// It does not wait for permits. It may wait for another Acquire or Release to
// finish its update. The errors are those of [Semaphore.Acquire].
func (s *Semaphore) TryAcquire(n int64) (acquired bool, err error) {
	acquired, err = s.tryAcquire(context.Background(), n)
	return acquired, s.wrap("acquire", err)
}

// Release releases n permits, at least 1, that this handle has acquired in any
// goroutine. If the handle holds fewer than n, Release releases none and
// returns ErrNotOwner. Other errors: fs.ErrInvalid as for Acquire,
// fs.ErrClosed, ErrCorrupt. Release may wait for another Acquire or Release to
// finish its update.
func (s *Semaphore) Release(n int64) error {
	m := s.m
	if n < 1 || uint64(n) > s.permits {
		return s.wrap("release", s.invalid(n))
	}
	err := error(nil)
	if !m.direct || !m.word.TryLock() {
		if err := m.lockSlow(context.Background(), false); err != nil {
			return s.wrap("release", err)
		}
	}
	fence.Acquire(m.key)
	if m.direct {
		err = s.giveBack(uint64(n))
	} else {
		err = s.giveBackInside(uint64(n))
	}
	fence.Release(m.key)
	if !m.direct || !m.word.TryUnlock() {
		err = cmp.Or(err, m.unlockSlow())
	}
	if m.direct && err == nil && s.changes.flag.Load()|m.state.Load() == 0 {
		runtime.KeepAlive(m)
		return nil
	}
	return s.wrap("release", cmp.Or(err, s.changes.tell()))
}

// Close closes the handle and releases its permits. Goroutines that wait in
// Acquire return fs.ErrClosed. The error says what could not be cleaned up. The
// handle is closed even so. A second Close returns nil.
func (s *Semaphore) Close() (err error) {
	s.close.Do(func() {
		s.closing.Store(true)
		if s.held() > 0 {
			s.releaseAll()
		}
		s.changes.close()
		err = s.wrap("close", s.m.Close())
	})
	return err
}

// releaseAll releases the handle's permits. If it fails, as the holder of the
// internal mutex is stopped, another handle's recount releases them.
func (s *Semaphore) releaseAll() {
	ctx, cancel := context.WithTimeout(context.Background(), leaveTime)
	defer cancel()
	m := s.m
	if m.lockSlow(ctx, false) != nil {
		return
	}
	fence.Acquire(m.key)
	m.use(func() error {
		held, _ := s.mine()
		return s.giveBack(held)
	})
	fence.Release(m.key)
	m.unlockSlow()
	s.changes.tell()
}

// wrap adds the semaphore's name to err, and keeps its memory mapped until
// then.
func (s *Semaphore) wrap(op string, err error) error {
	runtime.KeepAlive(s.m)
	return wrap(op, s.name, err)
}

func (s *Semaphore) invalid(n int64) error {
	return fmt.Errorf("%w: %d permits; the semaphore has %d", fs.ErrInvalid, n, s.permits)
}

// held returns the number of permits that the handle holds.
func (s *Semaphore) held() (n uint64) {
	s.m.use(func() error {
		n, _ = s.mine()
		return nil
	})
	return n
}

// mine returns the number of permits that the handle holds, from its row. stale
// reports whether the row is still that of the member slot's last holder.
func (s *Semaphore) mine() (n uint64, stale bool) {
	row := layout.Holding(s.row.Load())
	if row != 0 && uint32(row.Holder()) != s.m.word.Self {
		return 0, true
	}
	return row.N(), false
}

// tryAcquire acquires n permits if they are free. Like Release, it holds the
// mutex only for its update.
func (s *Semaphore) tryAcquire(ctx context.Context, n int64) (taken bool, err error) {
	m := s.m
	if n < 1 || uint64(n) > s.permits {
		return false, s.invalid(n)
	}
	if !m.direct || ctx.Err() != nil || !m.word.TryLock() {
		if err := m.lockSlow(ctx, false); err != nil {
			return false, err
		}
	}
	fence.Acquire(m.key)
	if m.direct {
		taken, err = s.take(uint64(n))
	} else {
		taken, err = s.takeInside(uint64(n))
	}
	fence.Release(m.key)
	if !m.direct || !m.word.TryUnlock() {
		err = cmp.Or(err, m.unlockSlow())
	}
	if err = m.verdict(err); err != nil {
		return false, err // if the handle was closed, another one's recount releases what it took
	}
	runtime.KeepAlive(m)
	return taken, nil
}

func (s *Semaphore) takeInside(n uint64) (taken bool, err error) {
	err = s.m.use(func() (err error) {
		taken, err = s.take(n)
		return err
	})
	return taken, err
}

func (s *Semaphore) giveBackInside(n uint64) error {
	return s.m.use(func() error { return s.giveBack(n) })
}

// take takes n permits if they are free. The mutex is held. If they are not
// free, or if the row is stale, take first counts again what live handles hold.
func (s *Semaphore) take(n uint64) (taken bool, err error) {
	held, stale := s.mine()
	used := s.used.Load()
	if stale || used > s.permits || s.permits-used < n {
		if err := s.recount(); err != nil {
			return false, err
		}
		used = s.used.Load()
		if used > s.permits || s.permits-used < n {
			return false, nil
		}
	}
	step.At(step.PermitsTaking)
	layout.PutWord(s.used, used+n)
	step.At(step.PermitsUsed)
	layout.PutWord(s.row, uint64(layout.NewHolding(layout.Ident(s.m.word.Self), held+n)))
	step.At(step.PermitsTaken)
	return true, nil
}

// giveBack releases n permits of the handle. The mutex is held.
func (s *Semaphore) giveBack(n uint64) error {
	held, _ := s.mine()
	if held < n && s.closing.Load() {
		return fs.ErrClosed
	}
	if held < n {
		return fmt.Errorf("%w: it holds %d permits, not %d", sharedseg.ErrNotOwner, held, n)
	}
	used := s.used.Load()
	step.At(step.PermitsReturning)
	layout.PutWord(s.used, max(used, n)-n)
	step.At(step.PermitsUnused)
	layout.PutWord(s.row, uint64(layout.NewHolding(layout.Ident(s.m.word.Self), held-n)))
	step.At(step.PermitsReturned)
	return nil
}

// recount adds up the permits of live handles, and releases those of dead ones.
// The mutex is held.
func (s *Semaphore) recount() error {
	used := uint64(0)
	for slot := range s.page.UsedRows() {
		row := s.page.Row(slot)
		h := layout.Holding(row.Load())
		switch {
		case h == 0:
		case h.Holder().Slot() == slot && s.m.member.Alive(uint32(h.Holder())):
			used += h.N()
		default:
			layout.PutWord(row, 0)
			step.At(step.RowTakenBack)
		}
	}
	layout.PutWord(s.used, used)
	step.At(step.PermitsCounted)
	if used > s.permits {
		return fmt.Errorf("%w: its users hold %d permits of %d", layout.ErrCorrupt, used, s.permits)
	}
	return nil
}

// acquireSlow waits for n permits and acquires them.
func (s *Semaphore) acquireSlow(ctx context.Context, n int64) error {
	enough := func() bool { return s.used.Load()+uint64(n) <= s.permits }
	count := s.changes.countOnce()
	for limit := firstLook; ; limit = min(2*limit, lastLook) {
		if err := s.changes.wait(ctx, limit, enough, count); err != nil {
			return s.heldBy(err)
		}
		if taken, err := s.tryAcquire(ctx, n); taken || err != nil {
			return s.heldBy(err)
		}
	}
}

// heldBy returns err, the error that ended a wait. If it is that of a context,
// heldBy adds the holders of permits to its text.
func (s *Semaphore) heldBy(err error) error {
	if !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, context.Canceled) {
		return err
	}
	s.m.use(func() error {
		var holder uint32
		others := -1
		for slot := range s.page.UsedRows() {
			h := layout.Holding(s.page.Row(slot).Load())
			if h != 0 && s.m.member.Alive(uint32(h.Holder())) {
				holder = uint32(h.Holder())
				others++
			}
		}
		switch {
		case others == 0:
			err = fmt.Errorf("%w; held by %s", err, s.m.holder(holder))
		case others > 0:
			err = fmt.Errorf("%w; held by %s and %d others", err, s.m.holder(holder), others)
		}
		return nil
	})
	return err
}

// broadcast tells all waiters of a lock, in all processes, of changes.
type broadcast struct {
	m        *Mutex
	seq      *atomic.Uint32 // changes with each tell that finds the flag set
	flag     *atomic.Uint32 // not 0 if there may be waiters
	notifier *notify.Notifier
}

// newBroadcast returns the broadcast of the mapping that has m's word.
func newBroadcast(m *Mutex) *broadcast {
	e := m.member.WaitPage.Event(layout.TellEvent)
	return &broadcast{m: m, seq: e.Seq, flag: e.Flag, notifier: notify.New(notify.Source{
		Word: e.Seq, Flag: e.Flag, OnDemand: true, Sleep: m.member.EventBroadcast(layout.TellEvent),
		Use:   m.use,
		Count: func() { m.count(layout.Waits) },
	})}
}

// countOnce returns a function that counts one wait, however often it is
// called.
func (b *broadcast) countOnce() func() {
	return sync.OnceFunc(func() { b.m.count(layout.Waits) })
}

// tell tells the waiters of a change, if there may be any. The caller must have
// made the change visible with an atomic read-modify-write operation, such as
// an unlock.
func (b *broadcast) tell() error {
	if b.m.direct {
		b.doTell()
	} else {
		b.m.use(b.doTell)
	}
	runtime.KeepAlive(b.m)
	return b.m.verdict(nil)
}

func (b *broadcast) doTell() error {
	if b.notifier.Disarm() {
		step.At(step.TellDisarmed)
		b.notifier.Notify(b.seq.Add(1)-1, true)
	}
	return nil
}

// wait returns nil once ready has reported true, or after limit, because the
// process that should have called tell may have died. count is that of
// countOnce.
func (b *broadcast) wait(ctx context.Context, limit time.Duration, ready func() bool, count func()) error {
	short, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	err := b.m.verdict(b.notifier.WaitCounting(short, ready, count))
	if short.Err() == nil || !errors.Is(err, short.Err()) {
		return err
	}
	return ctx.Err()
}

// close ends all waits with fs.ErrClosed.
func (b *broadcast) close() { b.notifier.Close() }

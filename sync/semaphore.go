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

// Semaphore has a number of permits that processes acquire and release, several
// at a time if they like. They belong to the handle that acquired them, not to
// a thread or goroutine. When the handle is closed, or its process ends however
// it may, they come back. Its methods may be called concurrently.
//
// How many permits are in use, and how many each handle has, changes under a
// [Mutex]. If its owner dies, the next one adds up what the living have.
//
// A Semaphore of one is also a lock without a Repair, and an event that resets
// itself: see [Event].
type Semaphore struct {
	m       *Mutex // guards what follows; has the identity and the state
	name    string
	permits uint64
	page    layout.WaitPage
	used    *atomic.Uint64 // permits
	row     *atomic.Uint64 // this handle's Holding, of permits
	tells   *broadcast     // of releases
	close   sync.Once
	closing atomic.Bool
}

// Looks for permits of the dead, while an Acquire waits.
const (
	firstLook = 2 * time.Millisecond // doubled at each
	lastLook  = 32 * time.Millisecond
)

// OpenSemaphore opens the semaphore of that name, and creates it with so many
// permits, 1 to MaxPermits, if there is none. Name, options and errors are as
// of [OpenMutex]; a semaphore with another number of permits is
// ErrIncompatible. Options.Repair is not used: what the dead held comes back by
// itself.
//
// Close the handle when it is no longer used. An unreachable handle is
// eventually closed by the garbage collector; what it had acquired comes back
// then.
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
	s.tells = newBroadcast(s.m)
	return s, nil
}

// Acquire acquires n permits, 1 or more, all at once. It blocks until there are
// so many or ctx is done; then it returns an error that wraps ctx's. Its text
// says who has permits, as a hint. If ctx is done from the beginning, nothing
// is acquired.
//
// Who waits competes with who comes: an Acquire of many may wait for as long as
// there are others of few. Permits of a handle that was killed come back within
// some 40 ms to those who wait. Whenever Acquire returns an error, nothing was
// acquired.
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

// TryAcquire acquires n permits if there are so many, and reports whether it
// did. It does not wait for permits, but for others that are about to acquire
// or release, if there are any. Errors as of Acquire.
func (s *Semaphore) TryAcquire(n int64) (acquired bool, err error) {
	acquired, err = s.tryAcquire(context.Background(), n)
	return acquired, s.wrap("acquire", err)
}

// Release releases n permits, 1 or more, that this handle has acquired, through
// whichever goroutines. It returns ErrNotOwner if the handle has fewer than n,
// and then releases none; fs.ErrClosed, or ErrCorrupt. It waits for others that
// are about to acquire or release, if there are any.
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
	if m.direct && err == nil && s.tells.flag.Load()|m.state.Load() == 0 {
		runtime.KeepAlive(m)
		return nil
	}
	return s.wrap("release", cmp.Or(err, s.tells.tell()))
}

// Close closes the handle. What it has acquired comes back. Goroutines that
// wait in Acquire return fs.ErrClosed. The error says what could not be cleaned
// up; the handle is closed all the same. A second Close returns nil.
func (s *Semaphore) Close() (err error) {
	s.close.Do(func() {
		s.closing.Store(true)
		if held := s.held(); held > 0 {
			s.Release(int64(held)) // if that fails, the others take it back
		}
		s.tells.close()
		err = s.wrap("close", s.m.Close())
	})
	return err
}

// wrap names the semaphore in an error, and keeps its memory mapped until here.
func (s *Semaphore) wrap(op string, err error) error {
	runtime.KeepAlive(s.m)
	return wrap(op, s.name, err)
}

func (s *Semaphore) invalid(n int64) error {
	return fmt.Errorf("%w: %d permits; the semaphore has %d", fs.ErrInvalid, n, s.permits)
}

// held is how many permits the handle has.
func (s *Semaphore) held() (n uint64) {
	s.m.use(func() error {
		n, _ = s.mine()
		return nil
	})
	return n
}

// mine is how many permits the handle has, by its row, and whether the row is
// that of the slot's last holder still.
func (s *Semaphore) mine() (n uint64, stale bool) {
	row := layout.Holding(s.row.Load())
	if row != 0 && uint32(row.Holder()) != s.m.word.Self {
		return 0, true
	}
	return row.N(), false
}

// tryAcquire has the mutex for a moment, as Release has.
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
		return false, err // what it took in a handle that was closed, others take back
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

// take takes n permits if there are so many. The mutex is held. What the dead
// have is taken back if there are not, and in any case from the slot's last
// holder.
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

// giveBack takes n permits from the handle. The mutex is held.
func (s *Semaphore) giveBack(n uint64) error {
	held, _ := s.mine()
	if held < n && s.closing.Load() {
		return fs.ErrClosed
	}
	if held < n {
		return fmt.Errorf("%w: it has %d permits, not %d", sharedseg.ErrNotOwner, held, n)
	}
	used := s.used.Load()
	step.At(step.PermitsReturning)
	layout.PutWord(s.used, max(used, n)-n)
	step.At(step.PermitsUnused)
	layout.PutWord(s.row, uint64(layout.NewHolding(layout.Ident(s.m.word.Self), held-n)))
	step.At(step.PermitsReturned)
	return nil
}

// recount adds up what the living have, and takes back what the dead have. The
// mutex is held.
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

// acquireSlow is Acquire where there were not enough permits a moment ago.
func (s *Semaphore) acquireSlow(ctx context.Context, n int64) error {
	enough := func() bool { return s.used.Load()+uint64(n) <= s.permits }
	for limit := firstLook; ; limit = min(2*limit, lastLook) {
		if err := s.tells.wait(ctx, limit, enough); err != nil {
			return s.heldBy(err)
		}
		if taken, err := s.tryAcquire(ctx, n); taken || err != nil {
			return s.heldBy(err)
		}
	}
}

// heldBy is the error of a wait that ended with err, with those who have
// permits in its text if it is that of a context.
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

// broadcast tells all who wait, in all processes, that something has changed.
type broadcast struct {
	m        *Mutex
	seq      *atomic.Uint32 // changes each time that somebody is told
	flag     *atomic.Uint32 // not 0 if there can be anybody to tell
	notifier *notify.Notifier
}

// newBroadcast returns the broadcast of the mapping that m's word is in.
func newBroadcast(m *Mutex) *broadcast {
	e := m.member.WaitPage.Event(layout.TellEvent)
	return &broadcast{m: m, seq: e.Seq, flag: e.Flag, notifier: notify.New(notify.Source{
		Word: e.Seq, Flag: e.Flag, Sleep: m.member.EventBroadcast(layout.TellEvent),
		Use:   m.use,
		Count: func() { m.member.Count(layout.Waits) },
	})}
}

// tell tells those who wait, if there can be any. It stands after an atomic
// read-modify-write operation that makes the change visible, as an unlock is
// one.
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

// wait returns nil once ready has reported true, or after limit: whoever was to
// tell this goroutine may have died.
func (b *broadcast) wait(ctx context.Context, limit time.Duration, ready func() bool) error {
	short, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	err := b.m.verdict(b.notifier.Wait(short, ready))
	if short.Err() == nil || !errors.Is(err, short.Err()) {
		return err
	}
	return ctx.Err()
}

// close ends all waits with fs.ErrClosed.
func (b *broadcast) close() { b.notifier.Close() }

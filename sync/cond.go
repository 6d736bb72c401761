package ipcsync

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sharedseg/sharedseg"
	"github.com/sharedseg/sharedseg/internal/layout"
	"github.com/sharedseg/sharedseg/internal/step"
)

// Cond is a condition variable: a place where goroutines of any process wait
// until what a [Mutex] guards has changed. All handles of a Cond must use the
// same mutex. The methods of a Cond may be called concurrently.
//
//	for !condition() {
//		if err := c.Wait(ctx); err != nil {
//			return err // the mutex is not locked
//		}
//	}
//
// A Signal releases one waiter. Handles with waiters take turns. Among the
// goroutines of a handle, the one that has waited longest is released. If the
// process of that handle is killed before it has locked the mutex again, the
// Signal releases another waiter instead. So the death of a waiter loses no
// wake-up. It can cause a spurious one: check the condition again, as above. If
// a waiter dies after it has locked the mutex, the mutex's Repair must handle
// that. It should call Broadcast.
//
// Each Signal and Broadcast wakes all sleeping waiters. Those that are not
// released sleep again.
type Cond struct {
	users   *Mutex
	m       *Mutex // guards the rows, last, queue and gone; has the identity and the state
	name    string
	page    layout.WaitPage
	row     *atomic.Uint64 // this handle's Holding: waiting, granted
	last    *atomic.Uint64 // the member slot that had the last turn; a hint
	queue   []*condWait    // this handle's waiters, oldest first
	moves   atomic.Uint32  // odd while leave changes the row and the places
	gone    bool           // set by Close
	changes *broadcast
	close   sync.Once
}

// condWait is a goroutine that waits.
type condWait struct{ place atomic.Int64 } // its index in the queue

// The number in a row counts the goroutines that wait, and those of them that
// have been released.
const (
	condBits = layout.CondBits
	maxWaits = 1<<condBits - 1

	// leaveTime is how long a Close, or a Wait that has ended, tries to change
	// the row, as the holder of the internal mutex can be stopped. After that
	// it leaves the change to others.
	leaveTime = time.Second
)

func newTurns(ident uint32, waiting, granted uint64) layout.Holding {
	return layout.NewHolding(layout.Ident(ident), min(granted, waiting)<<condBits|waiting)
}

func turns(h layout.Holding) (waiting, granted uint64) {
	waiting = h.Waiting()
	return waiting, min(h.N()>>condBits, waiting)
}

// OpenCond opens the Cond with the given name, for use with m, and creates it
// if it does not exist. Name, options and errors are as for [OpenMutex].
// Options.Repair is not used: the mutex's Repair must restore the condition
// after a process died.
//
// Close the handle after use. An unreachable handle is eventually closed by the
// garbage collector.
func OpenCond(name string, m *Mutex, o *Options) (*Cond, error) {
	if m == nil {
		return nil, &sharedseg.Error{Op: "open", Name: name, Err: fmt.Errorf("%w: a Cond needs a Mutex", fs.ErrInvalid)}
	}
	mb, err := open(name, o, layout.KindCond, 0)
	if err != nil {
		return nil, err
	}
	row, err := mb.Row()
	if err != nil {
		mb.Leave(false)
		return nil, &sharedseg.Error{Op: "open", Name: name, Err: err}
	}
	own := named(mb, "", func() error { return nil }) // no repair: every row is always consistent
	return &Cond{
		users: m, m: own, name: name, page: mb.WaitPage, row: row, last: mb.WaitPage.Word(0), changes: newBroadcast(own),
	}, nil
}

// Wait unlocks the mutex, waits to be released by a Signal or Broadcast, and
// locks the mutex again. It misses no Signal after the unlock. The mutex handle
// that was passed to OpenCond must hold the mutex, or Wait returns ErrNotOwner.
//
// When Wait returns any other error, the mutex is not held, except after
// ErrReentrant. Errors: that of ctx if ctx is done while Wait waits or locks,
// ErrOwnerDied as from [Mutex.Lock], ErrReentrant within the mutex's Repair,
// where the mutex stays held, fs.ErrClosed, and ErrCorrupt. A Signal that had
// released this Wait then releases another waiter. If a process is stopped in
// the middle of a call of the Cond, Wait can return up to a second late.
func (c *Cond) Wait(ctx context.Context) error { return c.wrap("wait", c.wait(ctx)) }

func (c *Cond) wait(ctx context.Context) error {
	if c.users.repairs() {
		return errLockWithin
	}
	if !c.users.Held() {
		return c.users.verdict(fmt.Errorf("%w: Wait needs the mutex locked", sharedseg.ErrNotOwner))
	}
	w, err := c.enlist(ctx)
	if err != nil {
		return errors.Join(err, c.users.Unlock())
	}
	step.At(step.CondEnlisted)
	err = c.users.Unlock()
	step.At(step.CondReleased)
	if err == nil {
		err = c.await(ctx, w)
	}
	if err == nil {
		step.At(step.CondGranted)
		err = c.users.Lock(ctx)
	}
	locked := err == nil
	if locked {
		step.At(step.CondRelocked)
	}
	if e := c.delist(w, locked); e != nil && locked {
		return errors.Join(e, c.users.Unlock())
	}
	runtime.KeepAlive(c.m)
	return err
}

// Signal releases one waiter, if there is one. The caller may hold the mutex,
// but need not. Signal does not wait for waiters. It may wait for another call
// of the Cond to finish its update. Errors: fs.ErrClosed, ErrCorrupt.
func (c *Cond) Signal() error {
	return c.wrap("signal", c.change(func() (told bool) { return c.grant() }))
}

// Broadcast releases all waiters. Otherwise it is like [Cond.Signal].
func (c *Cond) Broadcast() error {
	return c.wrap("broadcast", c.change(func() (told bool) {
		for slot := range c.page.UsedRows() {
			h := layout.Holding(c.page.Row(slot).Load())
			if waiting, granted := turns(h); waiting > granted && c.alive(slot, h) {
				step.At(step.CondGranting)
				layout.PutWord(c.page.Row(slot), uint64(newTurns(uint32(h.Holder()), waiting, waiting)))
				told = true
			}
		}
		return told
	}))
}

// Close closes the handle. Goroutines that wait return fs.ErrClosed, without
// the mutex. The error says what could not be cleaned up. The handle is closed
// even so. A second Close returns nil.
func (c *Cond) Close() (err error) {
	c.close.Do(func() {
		ctx, cancel := context.WithTimeout(context.Background(), leaveTime)
		defer cancel()
		c.with(ctx, func() (told bool, err error) { // if it fails, other handles do the same
			c.gone = true
			return c.inherit(c.row, layout.Ident(c.m.word.Self).Slot()), nil
		})
		c.changes.close()
		err = c.wrap("close", c.m.Close())
	})
	return err
}

// wrap adds the Cond's name to err, unless err names its mutex. It keeps the
// Cond's memory mapped until then.
func (c *Cond) wrap(op string, err error) error {
	runtime.KeepAlive(c.m)
	if _, ok := err.(*sharedseg.Error); ok {
		return err
	}
	return wrap(op, c.name, err)
}

// with runs f with the Cond's internal mutex held. If f returns told, it then
// tells the waiters.
func (c *Cond) with(ctx context.Context, f func() (told bool, err error)) error {
	if err := c.m.Lock(ctx); err != nil {
		return err
	}
	told := false
	err := c.m.use(func() (err error) {
		told, err = f()
		return err
	})
	err = errors.Join(err, c.m.Unlock())
	if told {
		err = errors.Join(err, c.changes.tell())
	}
	return err
}

// change is with for Signal and Broadcast. It does nothing without waiters.
func (c *Cond) change(f func() (told bool)) error {
	waits := false
	err := c.m.use(func() error {
		for slot := range c.page.UsedRows() {
			waiting, granted := turns(layout.Holding(c.page.Row(slot).Load()))
			waits = waits || waiting > granted
		}
		return nil
	})
	if err = c.m.verdict(err); err != nil || !waits {
		return err
	}
	return c.with(context.Background(), func() (bool, error) { return f(), nil })
}

// enlist counts the calling goroutine in the row and appends it to the queue.
func (c *Cond) enlist(ctx context.Context) (*condWait, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	w := new(condWait)
	return w, c.with(ctx, func() (told bool, err error) {
		if c.gone {
			return false, fs.ErrClosed
		}
		h := layout.Holding(c.row.Load())
		if h != 0 && uint32(h.Holder()) != c.m.word.Self { // the row is the slot's last holder's
			told = c.inherit(c.row, h.Holder().Slot())
			h = 0
		}
		waiting, granted := turns(h)
		if waiting == maxWaits {
			return told, fmt.Errorf("%w: %d goroutines already wait through this handle", fs.ErrInvalid, waiting)
		}
		w.place.Store(int64(len(c.queue)))
		c.queue = append(c.queue, w)
		layout.PutWord(c.row, uint64(newTurns(c.m.word.Self, waiting+1, granted)))
		return told, nil
	})
}

// delist removes a goroutine from the row and the queue. went reports whether
// it has locked the mutex again. If not, and it had been released, another
// waiter is released in its place.
func (c *Cond) delist(w *condWait, went bool) error {
	ctx, cancel := context.WithTimeout(context.Background(), leaveTime)
	defer cancel()
	leave := func() (told bool, err error) { return c.leave(w, went), nil }
	err := c.with(ctx, leave)
	if errors.Is(err, context.DeadlineExceeded) {
		// The holder of the internal mutex is stopped, or this process was.
		// Neither is a reason for Wait to fail.
		go c.with(context.Background(), leave)
		return nil
	}
	return err
}

// leave is delist with the internal mutex held.
func (c *Cond) leave(w *condWait, went bool) (told bool) {
	i := slices.Index(c.queue, w)
	if i < 0 {
		return false
	}
	// A waiter that moves up must not see w's turn as its own, nor miss its own
	// because it sees the new row and its old place: see released.
	c.moves.Add(1)
	defer func() {
		c.queue = slices.Delete(c.queue, i, i+1)
		for _, behind := range c.queue[i:] {
			behind.place.Add(-1)
		}
		c.moves.Add(1)
		step.At(step.CondDelisted)
	}()
	waiting, granted := turns(layout.Holding(c.row.Load()))
	if waiting == 0 {
		return false // a peer overwrote the row, or the handle is closed
	}
	waiting--
	if went {
		granted = max(granted, 1) - 1
	}
	if granted > waiting { // this handle has no waiter left to be released in its place
		c.grant()
	}
	layout.PutWord(c.row, uint64(newTurns(c.m.word.Self, waiting, granted)))
	return !went && granted > 0
}

// released reports whether w is one of the waiters that have been released.
func (c *Cond) released(w *condWait) bool {
	for ; ; runtime.Gosched() {
		moves := c.moves.Load()
		_, granted := turns(layout.Holding(c.row.Load()))
		place := w.place.Load()
		if moves&1 == 0 && c.moves.Load() == moves {
			return place < int64(granted)
		}
	}
}

// await waits until w is released.
func (c *Cond) await(ctx context.Context, w *condWait) error {
	may := false
	ready := func() bool {
		may = c.released(w)
		return may
	}
	count := c.changes.countOnce()
	for limit := firstLook; ; limit = min(2*limit, lastLook) {
		if err := c.changes.wait(ctx, limit, ready, count); err != nil || may {
			return err
		}
		if err := c.inheritAll(ctx); err != nil {
			return err
		}
	}
}

// inheritAll releases other waiters in place of those of dead handles.
func (c *Cond) inheritAll(ctx context.Context) error {
	dead := func(slot int) bool {
		h := layout.Holding(c.page.Row(slot).Load())
		_, granted := turns(h)
		return granted > 0 && !c.alive(slot, h)
	}
	found := false
	err := c.m.use(func() error {
		for slot := range c.page.UsedRows() {
			found = found || dead(slot)
		}
		return nil
	})
	if err != nil || !found {
		return err
	}
	return c.with(ctx, func() (told bool, err error) {
		for slot := range c.page.UsedRows() {
			if dead(slot) {
				told = c.inherit(c.page.Row(slot), slot) || told
			}
		}
		return told, nil
	})
}

// inherit releases other waiters in place of the released ones of a row whose
// handle is gone, and then clears the row. A process that dies in between has
// released one waiter too many.
func (c *Cond) inherit(row *atomic.Uint64, slot int) (told bool) {
	h := layout.Holding(row.Load())
	for _, granted := turns(h); granted > 0; granted-- {
		told = c.grantBut(slot) || told
	}
	step.At(step.CondInherited)
	layout.PutWord(row, 0)
	return told
}

// grant releases a waiter of the next handle, and reports whether there was
// one. The internal mutex is held.
func (c *Cond) grant() bool { return c.grantBut(-1) }

// grantBut is grant, but passes over one member slot.
func (c *Cond) grantBut(except int) bool {
	last := int(c.last.Load() % layout.Members)
	for _, again := range [...]bool{false, true} {
		for slot := range c.page.UsedRows() {
			if slot == except || again != (slot <= last) {
				continue
			}
			row := c.page.Row(slot)
			h := layout.Holding(row.Load())
			if waiting, granted := turns(h); waiting > granted && c.alive(slot, h) {
				step.At(step.CondGranting)
				layout.PutWord(row, uint64(newTurns(uint32(h.Holder()), waiting, granted+1)))
				c.last.Store(uint64(slot))
				return true
			}
		}
	}
	return false
}

// alive reports whether the handle that a row names is open.
func (c *Cond) alive(slot int, h layout.Holding) bool {
	return h.Holder().Slot() == slot && c.m.member.Alive(uint32(h.Holder()))
}

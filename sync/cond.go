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

// Cond is a place for those who wait until what a [Mutex] guards has changed,
// in whichever process. All who use one use the same mutex with it. Its methods
// may be called concurrently.
//
//	for !condition() {
//		if err := c.Wait(ctx); err != nil {
//			return err // the mutex is not locked
//		}
//	}
//
// A Signal lets one waiter go on: of the handles that wait, one after the other
// has its turn, and of a handle's goroutines the one that has waited longest.
// If that handle's process is killed before it has the mutex again, the Signal
// goes to another. So a waiter that dies costs nobody a wake-up, but another
// may then go on in vain: look at the condition again, as above. One that dies
// after that, with the mutex, is for the mutex's Repair, which had better call
// Broadcast.
//
// To let one go on wakes all who sleep; the others sleep again.
type Cond struct {
	users *Mutex
	m     *Mutex // guards what follows; has the identity and the state
	name  string
	page  layout.WaitPage
	row   *atomic.Uint64 // this handle's Holding: waiting, granted
	last  *atomic.Uint64 // the slot that had the last turn; a hint
	queue []*condWait    // of this handle, the oldest first
	gone  bool           // by Close
	tells *broadcast
	close sync.Once
}

// condWait is a goroutine that waits.
type condWait struct{ place atomic.Int64 } // in the queue

// A row's number has how many goroutines wait, and how many of these may go on.
const (
	condBits  = layout.CondBits
	maxWaits  = 1<<condBits - 1
	leaveTime = time.Second // in which a Wait that has ended takes itself off the row, or it is done behind it
)

func newTurns(ident uint32, waiting, granted uint64) layout.Holding {
	return layout.NewHolding(layout.Ident(ident), min(granted, waiting)<<condBits|waiting)
}

func turns(h layout.Holding) (waiting, granted uint64) {
	waiting = h.Waiting()
	return waiting, min(h.N()>>condBits, waiting)
}

// OpenCond opens the Cond of that name, and creates it if there is none, for
// use with m. Name, options and errors are as of [OpenMutex]. Options.Repair is
// not used: what becomes of the condition when a process dies is the mutex's to
// say.
//
// Close the handle when it is no longer used. An unreachable handle is
// eventually closed by the garbage collector.
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
	own := named(mb, "", func() error { return nil }) // each row is whole at any time
	return &Cond{
		users: m, m: own, name: name, page: mb.WaitPage, row: row, last: mb.WaitPage.Word(0), tells: newBroadcast(own),
	}, nil
}

// Wait unlocks the mutex, waits until a Signal or Broadcast lets it go on, and
// locks the mutex again. Nothing is missed between unlocking and waiting. The
// handle of the mutex that was passed to OpenCond must hold it, else Wait
// returns ErrNotOwner.
//
// Whenever Wait returns another error, the mutex is not held: ctx's, when it is
// done, in waiting or in locking; ErrOwnerDied as of [Mutex.Lock]; ErrReentrant
// from within Repair, where the mutex stays held; fs.ErrClosed, or ErrCorrupt.
// A Signal that had let this Wait go on then goes to another.
func (c *Cond) Wait(ctx context.Context) error { return c.wrap("wait", c.wait(ctx)) }

func (c *Cond) wait(ctx context.Context) error {
	if c.users.repairs() {
		return errLockWithin
	}
	if !c.users.Held() {
		return fmt.Errorf("%w: Wait needs the mutex locked", sharedseg.ErrNotOwner)
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

// Signal lets one waiter go on, if there is one. The mutex may be held, or not.
// It does not wait for waiters. Errors: fs.ErrClosed, ErrCorrupt.
func (c *Cond) Signal() error {
	return c.wrap("signal", c.change(func() (told bool) { return c.grant() }))
}

// Broadcast lets all waiters go on. Errors and the rest as of Signal.
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
// the mutex. The error says what could not be cleaned up; the handle is closed
// all the same. A second Close returns nil.
func (c *Cond) Close() (err error) {
	c.close.Do(func() {
		ctx, cancel := context.WithTimeout(context.Background(), leaveTime)
		defer cancel()
		c.with(ctx, func() (told bool, err error) { // if that fails, the others do it
			c.gone = true
			return c.inherit(c.row, layout.Ident(c.m.word.Self).Slot()), nil
		})
		c.tells.close()
		err = c.wrap("close", c.m.Close())
	})
	return err
}

// wrap names the Cond in an error, if it does not name its mutex, and keeps its
// memory mapped until here.
func (c *Cond) wrap(op string, err error) error {
	runtime.KeepAlive(c.m)
	if _, ok := err.(*sharedseg.Error); ok {
		return err
	}
	return wrap(op, c.name, err)
}

// with runs f with the mutex of the Cond, and then tells the waiters, if f says
// so.
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
		err = errors.Join(err, c.tells.tell())
	}
	return err
}

// change is with for Signal and Broadcast. It does nothing if nobody waits.
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

// enlist puts a goroutine on the row, at the end of the queue.
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
		if h != 0 && uint32(h.Holder()) != c.m.word.Self { // the slot's last holder's
			told = c.inherit(c.row, h.Holder().Slot())
			h = 0
		}
		waiting, granted := turns(h)
		if waiting == maxWaits {
			return told, fmt.Errorf("%w: %d goroutines wait through this handle", fs.ErrInvalid, waiting)
		}
		w.place.Store(int64(len(c.queue)))
		c.queue = append(c.queue, w)
		layout.PutWord(c.row, uint64(newTurns(c.m.word.Self, waiting+1, granted)))
		return told, nil
	})
}

// delist takes a goroutine off the row and the queue. It has the mutex again,
// or gives up; then, if it was to go on, another does.
func (c *Cond) delist(w *condWait, went bool) error {
	ctx, cancel := context.WithTimeout(context.Background(), leaveTime)
	defer cancel()
	err := c.with(ctx, func() (told bool, err error) { return c.leave(w, went), nil })
	if errors.Is(err, context.DeadlineExceeded) { // somebody is stopped who has it for a moment
		go c.with(context.Background(), func() (told bool, err error) { return c.leave(w, false), nil })
	}
	return err
}

// leave is delist with the mutex of the Cond held.
func (c *Cond) leave(w *condWait, went bool) (told bool) {
	i := slices.Index(c.queue, w)
	if i < 0 {
		return false
	}
	// The row comes first: who moves up meanwhile must not find a turn that is
	// w's.
	defer func() {
		c.queue = slices.Delete(c.queue, i, i+1)
		for _, behind := range c.queue[i:] {
			behind.place.Add(-1)
		}
		step.At(step.CondDelisted)
	}()
	waiting, granted := turns(layout.Holding(c.row.Load()))
	if waiting == 0 {
		return false // a peer wrote it, or the handle is closed
	}
	waiting--
	if went {
		granted = max(granted, 1) - 1
	}
	if granted > waiting { // and none of this handle is left to go on in its place
		c.grant()
	}
	layout.PutWord(c.row, uint64(newTurns(c.m.word.Self, waiting, granted)))
	return !went && granted > 0
}

// await waits until the goroutine may go on.
func (c *Cond) await(ctx context.Context, w *condWait) error {
	may := false
	ready := func() bool {
		_, granted := turns(layout.Holding(c.row.Load()))
		may = w.place.Load() < int64(granted)
		return may
	}
	for limit := firstLook; ; limit = min(2*limit, lastLook) {
		if err := c.tells.wait(ctx, limit, ready); err != nil || may {
			return err
		}
		if err := c.inheritAll(ctx); err != nil {
			return err
		}
	}
}

// inheritAll has others go on in place of the dead.
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

// inherit has others go on in place of those of a row that will not, and clears
// the row after that: who dies in between has let one go on too many.
func (c *Cond) inherit(row *atomic.Uint64, slot int) (told bool) {
	h := layout.Holding(row.Load())
	for _, granted := turns(h); granted > 0; granted-- {
		told = c.grantBut(slot) || told
	}
	step.At(step.CondInherited)
	layout.PutWord(row, 0)
	return told
}

// grant lets the next handle's waiter go on, and reports whether there was one.
// The mutex of the Cond is held.
func (c *Cond) grant() bool { return c.grantBut(-1) }

// grantBut is grant that leaves one slot out.
func (c *Cond) grantBut(but int) bool {
	last := int(c.last.Load() % layout.Members)
	for _, again := range [...]bool{false, true} {
		for slot := range c.page.UsedRows() {
			if slot == but || again != (slot <= last) {
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

// alive reports whether the holder that a row names is open.
func (c *Cond) alive(slot int, h layout.Holding) bool {
	return h.Holder().Slot() == slot && c.m.member.Alive(uint32(h.Holder()))
}

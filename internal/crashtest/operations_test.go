//go:build sharedseg_steps && linux

package crashtest

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/sharedseg/sharedseg"
	"github.com/sharedseg/sharedseg/internal/step"
	"github.com/sharedseg/sharedseg/segment"
)

// scene says what the victim and its peers use.
type scene int

const (
	steady   scene = iota // a segment that the driver has open all the time
	passing               // a segment that no process keeps open, so it is created and freed again and again
	swept                 // the same, with left-over segments under its name at times
	renamed               // the same, and its name is removed at times
	kept                  // a persistent segment that no process keeps open
	mutual                // a named mutex
	orphaned              // the same, but no process keeps it open, and owners die
	queued                // a queue
	brief                 // the same, but no process keeps it open
	others                // the other locks
)

// An operation is what a victim does repeatedly until it reaches a step for the
// nth time.
type operation struct {
	name  string
	scene scene
	*flavour
	counts bool // see actor; if not set, there are Stores
	skips  bool // see actor
	// reads says that the lock is held at the steps of reading.
	reads bool
	// sends says that the victim sends to a queue. completes says that it
	// receives and completes messages.
	sends, completes bool

	do     func(v *player) error
	beside func(ctx context.Context, d *driver) error // what the driver does at the same time
	steps  []step.Step
}

// player is the state of a victim or a peer: an actor in most scenes, a keeper,
// clerk or locker in the others.
type player struct {
	*actor
	*keeper
	*clerk
	locker *locker
}

func (p *player) acked() uint64 {
	switch {
	case p.locker != nil:
		return 0
	case p.keeper != nil:
		return p.keeper.last
	case p.clerk != nil:
		return p.clerk.last
	}
	return p.version
}

func steps(groups ...[]step.Step) (all []step.Step) {
	for _, g := range groups {
		all = append(all, g...)
	}
	return all
}

// from returns the steps from first to last, both included.
func from(first, last step.Step) (all []step.Step) {
	for s := first; s <= last; s++ {
		all = append(all, s)
	}
	return all
}

var (
	entering   = from(step.FileOpened, step.Inspected)
	claiming   = steps([]step.Step{step.SlotHeld}, from(step.GenerationRaised, step.RotorMoved))
	reclaiming = []step.Step{step.RowCleared}
	leaving    = from(step.RegistryUnlocking, step.RegistryUnlocked)
	unlinking  = from(step.Unlinking, step.Unlinked)
	queueing   = from(step.LockQueued, step.LockAwake)
	seizing    = from(step.LockTaking, step.LockTakenOver)
	mending    = from(step.LockTaking, step.LockConsistent)
	reading    = from(step.ReadBegun, step.ReadCopied)
	assigning  = steps(from(step.SlotUnsealed, step.WriteBegun), from(step.WriteFilled, step.WriteEnded))
	encoding   = from(step.SlotUnsealed, step.WriteEnded)
	unlocking  = from(step.Unlocking, step.Unlocked)
	waking     = from(step.WatchersWaking, step.WatchersWoken)
	locked     = []step.Step{step.LockTaken}
	rowing     = from(step.RowClaimed, step.RowUsed)
	closing    = steps(from(step.WaitsEnded, step.LockDisowned), []step.Step{step.RegistryRelocked})
	departing  = []step.Step{step.MemoryRetired, step.LockDisowned, step.RegistryRelocked}
	borrowing  = from(step.PinSet, step.PinCleared)
	lending    = from(step.SlotUnsealed, step.WriteBegun)
	returning  = from(step.LoanTaken, step.LoanReturning)
	following  = from(step.FollowBegun, step.FollowCopied)
	sealing    = from(step.SlotSealed, step.WriteEnded)
	telling    = from(step.EventArmed, step.EventSignalled)
	signalling = from(step.EventSignalling, step.EventSignalled)
	watching   = from(step.WatchArmed, step.WatchAwake)
)

// held has the steps at which the process that passes them holds the lock.
var held = func() map[step.Step]bool {
	held := map[step.Step]bool{}
	for _, s := range steps(locked, from(step.LockTakenOver, step.LockConsistent), encoding, returning,
		from(step.MessagePosted, step.MessageSent), []step.Step{step.SteppedOver, step.RowsSeen, step.Unlocking}) {
		held[s] = true
	}
	return held
}()

func (op *operation) holds(s step.Step) bool {
	return held[s] || op.reads && (s == step.ReadBegun || s == step.ReadCopied)
}

var operations = []*operation{
	{
		name: "create and close last", scene: passing, flavour: fixed, counts: true, do: live,
		steps: steps(from(step.FileCreated, step.HeaderReady), claiming, leaving, closing, from(step.PlaceDropped, step.Unlinked)),
	}, {
		name: "close last reader", scene: passing, flavour: encoded, counts: true, do: leaveReader,
		steps: steps([]step.Step{step.ReaderHeld, step.WaitsEnded, step.MemoryRetired, step.RegistryRelocked, step.PlaceDropped}, unlinking, leaving),
	}, {
		name: "open and close", scene: steady, flavour: fixed, counts: true, do: visit,
		steps: steps(entering, claiming, leaving, closing, []step.Step{step.PlaceDropped}),
	}, {
		name: "open and close reader", scene: steady, flavour: fixed, counts: true, do: visitAsReader,
		steps: steps(entering, []step.Step{step.ReaderHeld}, leaving, reading,
			[]step.Step{step.WaitsEnded, step.MemoryRetired, step.RegistryRelocked, step.PlaceDropped}),
	}, {
		name: "sweep", scene: swept, flavour: fixed, counts: true, do: sweep, beside: litter,
		steps: steps([]step.Step{step.FileOpened, step.RegistryLocked}, unlinking, leaving),
	}, {
		name: "remove", scene: renamed, flavour: fixed, counts: true, do: remove, beside: makeNames,
		steps: steps([]step.Step{step.FileOpened, step.RegistryLocked}, unlinking, leaving),
	},
	{
		name: "use what persists", scene: kept, flavour: persistent, counts: true, reads: true, do: live,
		steps: steps(entering, claiming, leaving, locked, reading, assigning, unlocking, closing, []step.Step{step.PlaceDropped}),
	},
	{name: "load", scene: steady, flavour: fixed, do: (*player).loads, steps: reading},
	{name: "load encoded", scene: steady, flavour: encoded, do: (*player).loads, steps: reading},
	{
		name: "load locked", scene: steady, flavour: locking, reads: true, do: (*player).loads,
		steps: steps(locked, reading, unlocking),
	},
	{name: "store", scene: steady, flavour: fixed, do: (*player).stores, steps: steps(locked, assigning, unlocking, waking)},
	{name: "store encoded", scene: steady, flavour: encoded, do: (*player).stores, steps: steps(locked, encoding, unlocking, waking)},
	{
		name: "update", scene: steady, flavour: fixed, counts: true, reads: true, do: (*player).updates,
		steps: steps(locked, reading, assigning, unlocking, waking),
	}, {
		name: "update encoded", scene: steady, flavour: encoded, counts: true, reads: true, do: (*player).updates,
		steps: steps(locked, reading, encoding, unlocking, waking),
	}, {
		name: "update contended", scene: steady, flavour: fixed, counts: true, reads: true, do: (*player).updates, beside: hold,
		steps: steps(queueing, seizing, assigning, from(step.Unlocking, step.LockWoken)),
	}, {
		name: "update after a death", scene: steady, flavour: encoded, counts: true, reads: true, do: (*player).updates, beside: die,
		steps: steps(mending, reading, encoding, unlocking),
	}, {
		name: "wait", scene: steady, flavour: fixed, counts: true, do: (*player).waits, beside: tell,
		steps: watching,
	},
	{
		name: "borrow", scene: steady, flavour: fixed, counts: true, skips: true, do: (*player).borrows,
		steps: borrowing,
	}, {
		name: "borrow first", scene: steady, flavour: fixed, counts: true, skips: true, do: borrowFirst, beside: leaveRows,
		steps: steps(claiming, reclaiming, rowing, from(step.PinSet, step.PinHeld),
			departing, []step.Step{step.RowLeft, step.PlaceDropped}),
	}, {
		name: "borrow as reader", scene: steady, flavour: fixed, counts: true, skips: true, do: borrowAsReader,
		steps: steps(claiming, rowing, borrowing, []step.Step{step.MemoryRetired, step.RowLeft, step.PlaceDropped}),
	}, {
		name: "loan", scene: steady, flavour: fixed, counts: true, skips: true, do: (*player).lends,
		steps: steps(locked, lending, returning, sealing, unlocking, waking),
	}, {
		name: "loan and discard", scene: steady, flavour: fixed, counts: true, skips: true, do: (*player).discards,
		steps: steps(locked, lending, returning, unlocking),
	}, {
		name: "release beside writers", scene: steady, flavour: fixed, counts: true, skips: true, do: (*player).releases, beside: tell,
		steps: steps([]step.Step{step.PinCleared}, signalling),
	}, {
		name: "store beside borrowers", scene: steady, flavour: fixed, counts: true, skips: true, reads: true, do: (*player).updates, beside: borrowAll,
		steps: steps([]step.Step{step.RowsSeen, step.SteppedOver}, telling),
	}, {
		name: "follow", scene: steady, flavour: fixed, counts: true, skips: true, do: (*player).follows, beside: tell,
		steps: steps(watching, following),
	},
	{name: "lock", scene: mutual, do: (*player).locks, steps: steps(locked, unlocking)},
	{
		name: "lock contended", scene: mutual, do: (*player).locks, beside: holdMutex,
		steps: steps(queueing, seizing, from(step.Unlocking, step.LockWoken)),
	},
	{name: "lock after a death", scene: mutual, do: (*player).locks, beside: abandonMutex, steps: mending},
	{name: "try lock after a death", scene: mutual, do: (*player).tries, beside: abandonMutex, steps: steps(locked, mending, unlocking)},
	{
		name: "initialise again after a death", scene: orphaned, do: func(v *player) error { return v.inherit() },
		steps: steps(from(step.FileOpened, step.HeaderReady), claiming, leaving, locked, mending, unlocking, departing, from(step.PlaceDropped, step.Unlinked)),
	}, {
		name: "open and close in the queue", scene: steady, flavour: fixed, counts: true, do: visit, beside: holdRegistry,
		steps: []step.Step{step.RegistryQueued},
	},
}

func init() { operations = append(operations, queueOperations...) }

// The functions that victims run.

// live opens the segment, which may create it, and closes it, which may free
// it.
func live(v *player) error {
	if err := v.actor.open(); err != nil {
		return err
	}
	return errors.Join(v.updates(), v.load(), v.actor.close())
}

// borrowFirst borrows through a handle that has just been opened, and closes
// the handle.
func borrowFirst(v *player) error {
	return v.actor.beside(func(b *actor) error {
		_, err := b.borrow(b.s)
		return err
	})
}

// borrowAsReader is borrowFirst for a reader.
func borrowAsReader(v *player) error {
	return v.read(func(r *segment.Reader[value]) error {
		b, err := v.borrow(r)
		if err != nil {
			return err
		}
		return b.Release()
	})
}

func (v *player) borrows() error {
	b, err := v.borrow(v.s)
	if err != nil {
		return err
	}
	was := *b.Value()
	err = v.updates() // to another slot
	if now := *b.Value(); now != was {
		err = errors.Join(err, fmt.Errorf("the borrowed value was %v, now it is %v", was, now))
	}
	return errors.Join(err, b.Release())
}

// releases borrows every slot except one for long enough that other writers
// wait, and then releases them.
func (v *player) releases() error {
	a, err := v.borrow(v.s)
	if err != nil {
		return err
	}
	err = v.updates()
	if err != nil {
		return errors.Join(err, a.Release())
	}
	b, err := v.borrow(v.s)
	if err != nil {
		return errors.Join(err, a.Release())
	}
	time.Sleep(8 * time.Millisecond)
	return errors.Join(a.Release(), b.Release())
}

// peeks borrows a value and releases it without waiting for anything in
// between, unlike borrows: two processes that wait while they have all slots
// between them would wait for each other.
func (v *player) peeks() error {
	b, err := v.borrow(v.s)
	if err != nil {
		return err
	}
	return b.Release()
}

func (v *player) lends() error    { return v.lend(true) }
func (v *player) discards() error { return v.lend(false) }

// follows follows some versions in order.
func (v *player) follows() error {
	ctx, cancel := patience()
	defer cancel()
	taken := 0
	for next, err := range v.s.Follow(ctx, v.version) {
		if _, missed := errors.AsType[*segment.MissedError](err); missed {
			continue
		}
		if err != nil {
			return err
		}
		if err := v.saw(&next.Value, next.Number); err != nil {
			return err
		}
		if taken++; taken == 3 {
			break
		}
	}
	return nil
}

// leaveReader leaves a reader as the only handle of the segment.
func leaveReader(v *player) error {
	if err := v.actor.open(); err != nil {
		return err
	}
	if err := v.updates(); err != nil {
		return err
	}
	return v.read(func(r *segment.Reader[value]) error {
		err := v.actor.close()
		_, e := r.Load()
		return errors.Join(err, e)
	})
}

func visit(v *player) error {
	return v.actor.beside(func(b *actor) error { return b.load() })
}

func visitAsReader(v *player) error { return v.read(nil) }

func sweep(v *player) error {
	_, err := sharedseg.Sweep(v.place().Place())
	return err
}

func remove(v *player) error {
	if err := sharedseg.Remove(v.name, v.place().Place()); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

func (v *player) loads() error { return v.load() }

func (v *player) stores() error {
	ctx, cancel := patience()
	defer cancel()
	return v.store(ctx)
}

func (v *player) updates() error {
	ctx, cancel := patience()
	defer cancel()
	return v.update(ctx, func() {})
}

func (v *player) waits() error {
	ctx, cancel := patience()
	defer cancel()
	if _, err := v.s.Wait(ctx, v.version); err != nil {
		return fmt.Errorf("waited for a version after %d, the current one is %d: %w", v.version, v.s.Version(), err)
	}
	return v.load()
}

func (v *player) locks() error {
	ctx, cancel := patience()
	defer cancel()
	return v.lock(ctx)
}

func (v *player) tries() error { return v.tryLock() }

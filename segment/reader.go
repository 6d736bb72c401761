package segment

import (
	"context"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sharedseg/sharedseg"
	"github.com/sharedseg/sharedseg/internal/fault"
	"github.com/sharedseg/sharedseg/internal/fence"
	"github.com/sharedseg/sharedseg/internal/layout"
	"github.com/sharedseg/sharedseg/internal/member"
	"github.com/sharedseg/sharedseg/internal/notify"
	"github.com/sharedseg/sharedseg/internal/payload"
	"github.com/sharedseg/sharedseg/internal/step"
	"github.com/sharedseg/sharedseg/internal/turn"
	"github.com/sharedseg/sharedseg/sync"
)

// maxRetries is how often a Load starts again at once before it makes room for
// the writers that disturb it.
const maxRetries = 8

// Reader is a handle of a shared value that can only read. Its mapping is
// read-only. Close it when it is no longer used; an unreachable handle is
// eventually closed by the garbage collector.
type Reader[T any] struct{ handle[T] }

// handle is what Segment and Reader have in common.
type handle[T any] struct {
	seq       ipcsync.SeqLock
	state     *atomic.Uint32 // bits of package fault; 0 while the handle is open and its memory whole
	direct    bool           // load and write may touch the memory outside of the door
	lockReads bool
	payload   payload.Payload[T]

	turn       *turn.Turn // the writers' lock; nil in a Reader
	member     *member.Member
	name       string
	notifier   *notify.Notifier   // of new versions
	pins       *pins              // what this handle has borrowed
	rows       layout.WaitPage    // of all members, if borrowable
	borrowable bool               // the segment has rows, and they may be used
	freed      *notify.EventCount // of slots that are borrowed no longer; nil until a writer has to wait
	asking     atomic.Bool        // whoever waits for one is to ask who lives
	scratches  sync.Pool          // *scratch[T]
}

// Load returns the current value, T's zero value if nothing was stored yet. It
// is a copy that nobody else changes.
//
// Load does not wait for writers, unless the segment has LockReads. A Load that
// is disturbed again and again, by writers that publish Slots-1 versions while
// it copies one, takes the writers' lock if it is free, so it ends as soon as
// they leave it a gap. A Reader cannot take the lock, and goes on trying.
//
// Errors: codec.ErrMalformed if the codec cannot decode the value, whose error
// is wrapped as well: a program that has another type for the same codec stored
// it, and Store replaces it. ErrCorrupt if the memory holds what no correct
// peer writes; ErrNoSpace if memory that was reserved is gone; ErrReentrant,
// with LockReads; and fs.ErrClosed.
func (r *handle[T]) Load() (v T, err error) {
	_, err = r.load(context.Background(), &v)
	return v, err
}

// LoadContext is Load, but gives up when ctx is done, at once if it is from the
// beginning. The error then wraps that of ctx.
func (r *handle[T]) LoadContext(ctx context.Context) (v T, err error) {
	if err := ctx.Err(); err != nil {
		return v, wrap("load", r.name, err)
	}
	_, err = r.load(ctx, &v)
	return v, err
}

// LoadInto is Load into *v, whose memory it uses again if the codec can, as
// codec.Bytes does. It also returns the version of the value, 0 if nothing was
// stored yet. After an error neither is defined.
func (r *handle[T]) LoadInto(v *T) (version uint64, err error) {
	return r.load(context.Background(), v)
}

// load copies the current value into *v, and returns its version. The common
// case is here: a value is there, no writer disturbs it, and the codec can read
// to any place. loadSlow does everything else, from the beginning.
func (r *handle[T]) load(ctx context.Context, v *T) (version uint64, err error) {
	switch {
	case !r.direct:
		return r.loadSlow(ctx, v)
	case r.lockReads:
		if !r.turn.TryLock() {
			return r.loadSlow(ctx, v)
		}
		var ok bool
		version, ok, err = r.tryRead(v, nil) // which cannot panic here
		if r.turn.Unlock(); !ok {
			return r.loadSlow(ctx, v)
		}
	default:
		var i uint64
		version, i = r.seq.ReadBegin()
		step.At(step.ReadBegun)
		if r.payload.Plain {
			layout.Get(r.payload.Slot(i), v)
		} else {
			err = r.payload.Get(r.payload.Slot(i), v)
		}
		step.At(step.ReadCopied)
		if r.seq.ReadRetry(version) {
			return r.loadSlow(ctx, v)
		}
	}
	if version != 0 && err == nil && r.state.Load() == 0 {
		fence.Acquire(r.member.Key)
		return version, nil
	}
	return r.loadSlow(ctx, v)
}

// tryRead copies the current value into *v, or through a codec that is not
// payload.Direct into what s has on the heap: into s.v, or if the payload is
// Copied its encoding into s.buf. It is not ok if a writer disturbed it; what
// it read is then void.
func (r *handle[T]) tryRead(v *T, s *scratch[T]) (version uint64, ok bool, err error) {
	version, i := r.seq.ReadBegin()
	if version == 0 {
		return 0, true, nil
	}
	step.At(step.ReadBegun)
	err = r.copyOut(r.payload.Slot(i), v, s)
	step.At(step.ReadCopied)
	return version, !r.seq.ReadRetry(version), err
}

// copyOut copies the value in a slot, to where tryRead says.
func (r *handle[T]) copyOut(slot layout.Slot, v *T, s *scratch[T]) error {
	switch {
	case r.payload.Plain:
		layout.Get(slot, v)
		return nil
	case r.payload.Direct:
		return r.payload.Get(slot, v)
	case r.payload.Copied:
		return r.payload.Copy(slot, &s.buf)
	}
	return r.payload.DecodeInPlace(slot, &s.v)
}

// loadSlow is load for a handle whose memory is touched through the door, for a
// codec that needs a private copy or memory on the heap, under the lock, and
// beside writers that disturb it.
func (r *handle[T]) loadSlow(ctx context.Context, v *T) (version uint64, err error) {
	var s *scratch[T]
	if !r.payload.Direct {
		s = r.scratch()
		defer r.release(s)
		s.v = *v
	}
	err = r.member.Use(func() (err error) {
		version, err = r.read(ctx, v, s)
		return err
	})
	if err = r.finish(v, s, version, r.member.Verdict(err)); err != nil {
		return 0, wrap("load", r.name, err)
	}
	fence.Acquire(r.member.Key)
	return version, nil
}

// finish puts into *v what tryRead read, or the zero T if there is no value or
// err is not nil.
func (r *handle[T]) finish(v *T, s *scratch[T], version uint64, err error) error {
	if err == nil && version != 0 && r.payload.Copied {
		err = r.payload.Decode(s.buf, &s.v)
	}
	switch {
	case err != nil || version == 0:
		var zero T
		*v = zero
	case s != nil:
		*v = s.v
	}
	return err
}

// read calls tryRead until it is ok. If the segment has LockReads it holds the
// lock; else it takes it, if it is free, after writers disturbed it a few
// times. A writer that is stopped while it holds the lock disturbs nobody.
func (r *handle[T]) read(ctx context.Context, v *T, s *scratch[T]) (version uint64, err error) {
	try := func() (_ uint64, ok bool, err error) {
		version, ok, err = r.tryRead(v, s)
		return version, ok, err
	}
	if r.lockReads {
		return version, r.readLocked(ctx, try)
	}
	err = r.untilUndisturbed(ctx, try)
	return version, err
}

// readLocked reads while the lock, for which it waits, keeps writers away.
func (r *handle[T]) readLocked(ctx context.Context, try func() (uint64, bool, error)) error {
	if !r.turn.TryLock() {
		if err := r.turn.Lock(ctx, errLoadWithin); err != nil {
			return err
		}
	}
	return r.readHeld(try)
}

// untilUndisturbed calls try, which reads the current version, until no writer
// disturbs it. After a few times it takes the lock, if that is free, or waits a
// little. A writer that is stopped while it has the lock disturbs nobody.
func (r *handle[T]) untilUndisturbed(ctx context.Context, try func() (version uint64, ok bool, err error)) error {
	for n, pause := 0, time.Microsecond; ; n++ {
		version, ok, err := try()
		if ok {
			return err
		}
		if n == 0 {
			r.member.Count(layout.DisturbedReads)
		}
		if n < maxRetries {
			continue
		}
		if r.seq.Version() == version {
			return errCounters
		}
		if r.turn != nil {
			if locked, err := r.turn.TryLockSlow(); err != nil {
				return err
			} else if locked {
				return r.readHeld(try)
			}
		}
		time.Sleep(pause)
		pause = min(2*pause, time.Millisecond)
		if err := r.member.Verdict(ctx.Err()); err != nil {
			return err
		}
	}
}

// readHeld reads with the lock held, and releases it, also if the codec panics
// or the memory vanishes, which is a panic behind a guard.
func (r *handle[T]) readHeld(try func() (uint64, bool, error)) error {
	defer r.turn.Unlock()
	_, ok, err := try()
	if !ok {
		err = errCounters
	}
	return err
}

const fromWithin = "it comes from within an Update, or a codec, of the same handle"

var (
	errStoreWithin = fmt.Errorf("%w: %s: change the value that Update gave the function instead", sharedseg.ErrReentrant, fromWithin)
	errLoadWithin  = fmt.Errorf("%w: %s: use the value that Update gave the function instead", sharedseg.ErrReentrant, fromWithin)
	errCloseWithin = fmt.Errorf("%w: %s: close the handle when that has returned", sharedseg.ErrReentrant, fromWithin)
)

// No writer disturbs those that read the current version.
var errCounters = fmt.Errorf("%w: the version counters contradict each other", sharedseg.ErrCorrupt)

// scratch is what a codec that is not payload.Direct needs of the heap.
type scratch[T any] struct {
	v   T
	buf []byte // private copy of an encoding
}

func (r *handle[T]) scratch() *scratch[T] {
	if s, ok := r.scratches.Get().(*scratch[T]); ok {
		return s
	}
	return new(scratch[T])
}

func (r *handle[T]) release(s *scratch[T]) {
	var zero T
	s.v = zero
	r.scratches.Put(s)
}

// Version returns the number of the current version: 0 if nothing was stored
// yet, then 1, 2, 3 …, some of which may be left out. It is also 0 if the
// handle is closed or the segment corrupt, which Load tells.
func (r *handle[T]) Version() (version uint64) {
	err := r.member.Use(func() error {
		version = r.seq.Version()
		return nil
	})
	if r.member.Verdict(err) != nil {
		return 0
	}
	return version
}

// Close closes the handle. It waits for Stores and Updates under way. Loads
// under way and later calls return fs.ErrClosed, as do Wait, Watch and Follow.
// What was borrowed is given up, and a Loan that is open is discarded. If it is
// the last handle of a segment that does not persist, the segment ends. The
// error says what could not be cleaned up; the handle is closed all the same. A
// second Close returns nil, perhaps before the first is done.
//
// A Close from within an Update of this handle would wait for itself: it
// returns ErrReentrant, and the handle stays open.
func (r *handle[T]) Close() error {
	if r.turn != nil && r.turn.Within() && !r.closed() {
		return wrap("close", r.name, errCloseWithin)
	}
	if !r.member.BeginClose() {
		return nil
	}
	r.notifier.Close()
	r.pins.end()
	if r.freed != nil { // which only changes before the pins end
		r.freed.Close()
	}
	step.At(step.WaitsEnded)
	if r.turn != nil {
		if r.turn.Close() {
			r.pins.revoked()
		}
		if !member.Pinning {
			// A Store that has released the lock may not have woken the
			// watchers yet, and cannot where the memory is another.
			r.member.Broadcast.Wake(0)
		}
		step.At(step.StoresEnded)
	}
	m := r.member
	leave := func() error { return m.Leave(false) }
	if r.pins.postpone(leave) {
		return nil
	}
	err := wrap("close", r.name, leave())
	runtime.KeepAlive(r)
	return err
}

func (r *handle[T]) closed() bool { return r.state.Load()&fault.Closed != 0 }

func wrap(op, name string, err error) error {
	if err == nil {
		return nil
	}
	return &sharedseg.Error{Op: op, Name: name, Err: err}
}

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

// maxRetries is how often a Load retries at once before it makes room for the
// writers that disturb it.
const maxRetries = 8

// Reader is a handle that can only read a shared value. Its mapping is
// read-only. Close it after use. An unreachable handle is eventually closed by
// the garbage collector.
type Reader[T any] struct{ handle[T] }

// handle is the part that Segment and Reader share.
type handle[T any] struct {
	seq       ipcsync.SeqLock
	state     *atomic.Uint32 // bits of package fault; 0 while the handle is open and its memory intact
	direct    bool           // load and store may access the memory outside Use
	lockReads bool
	payload   payload.Payload[T]

	turn       *turn.Turn // the writers' lock; nil in a Reader
	member     *member.Member
	name       string
	notifier   *notify.Notifier   // of new versions
	pins       *pins              // slots that this handle has borrowed
	rows       layout.WaitPage    // of all members, if borrowable
	borrowable bool               // the segment has rows, and they may be used
	freed      *notify.EventCount // of slots that are released; nil until a writer has to wait
	asking     atomic.Bool        // a writer that waits for a slot must ask which borrowers live
	scratches  sync.Pool          // *scratch[T]
}

// Load returns a private copy of the current value. If nothing was stored yet,
// that is the zero value of T.
//
// Load does not wait for writers unless the segment has LockReads. Writers
// disturb a Load if they publish Slots-1 versions while it copies one. A Load
// that is disturbed repeatedly takes the writers' lock if it is free, so it
// returns as soon as the writers leave a gap. A Reader cannot take the lock,
// and keeps trying.
//
// Load returns codec.ErrMalformed, and the codec's error, if the codec cannot
// decode the value: a program with another type for the same codec stored it,
// and Store replaces it. Load returns ErrCorrupt if the memory contains data
// that no correct peer writes, ErrNoSpace if reserved memory is gone,
// ErrReentrant with LockReads, as described at [Segment.Update], and
// fs.ErrClosed.
func (r *handle[T]) Load() (v T, err error) {
	_, err = r.load(context.Background(), &v)
	return v, err
}

// LoadContext is like Load, but stops when ctx is done. If ctx is already done,
// it fails at once. The error then wraps that of ctx.
func (r *handle[T]) LoadContext(ctx context.Context) (v T, err error) {
	if err := ctx.Err(); err != nil {
		return v, wrap("load", r.name, err)
	}
	_, err = r.load(ctx, &v)
	return v, err
}

// LoadInto is like Load, but stores the value in *v and reuses the memory of *v
// if the codec can, as codec.Bytes does. It also returns the version of the
// value, 0 if nothing was stored yet. After an error neither is defined.
func (r *handle[T]) LoadInto(v *T) (version uint64, err error) {
	return r.load(context.Background(), v)
}

// load copies the current value into *v, and returns its version. The common
// case is here: there is a value, no writer disturbs the copy, and the codec
// can decode to any address. In all other cases loadSlow starts from the
// beginning.
func (r *handle[T]) load(ctx context.Context, v *T) (version uint64, err error) {
	switch {
	case !r.direct:
		return r.loadSlow(ctx, v)
	case r.lockReads:
		if !r.turn.TryLock() {
			return r.loadSlow(ctx, v)
		}
		var ok bool
		version, ok, err = r.tryRead(v, nil) // cannot panic for a direct handle
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

// tryRead copies the current value into *v. If the codec is not payload.Direct,
// tryRead uses s instead, which is on the heap: it stores the encoding in s.buf
// if the payload is Copied, and else the value in s.v. If a writer disturbed
// the copy, ok is false and the copy is invalid.
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

// copyOut copies the value of a slot to *v or s, as described at tryRead.
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

// loadSlow is load for the other cases: the handle accesses memory within
// Use, the codec needs a private copy or heap memory, the segment has
// LockReads, or writers disturb the copy.
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

// finish sets *v to the value that tryRead read. It sets *v to the zero value
// if nothing was stored yet or err is not nil.
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

// read calls tryRead until it succeeds. If the segment has LockReads, read
// holds the lock.
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

// readLocked waits for the lock, and reads while it holds the lock.
func (r *handle[T]) readLocked(ctx context.Context, try func() (uint64, bool, error)) error {
	runsCodec := !r.payload.Direct && !r.payload.Copied
	if runsCodec || !r.turn.TryLock() {
		if err := r.turn.Lock(ctx, errLoadWithin); err != nil {
			return err
		}
	}
	return r.readHeld(try)
}

// untilUndisturbed calls try, which reads the current version, until no writer
// disturbs it. After a few attempts it takes the lock if that is free, or else
// sleeps. A writer that is suspended while it holds the lock disturbs no
// reader.
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

// readHeld reads with the lock held, and then releases it, even if try does not
// return, because the codec panics or the memory vanished.
func (r *handle[T]) readHeld(try func() (uint64, bool, error)) error {
	defer r.turn.Unlock()
	_, ok, err := try()
	if !ok {
		err = errCounters
	}
	return err
}

const fromWithin = "the call comes from within an Update or a codec of the same handle"

var (
	errStoreWithin = fmt.Errorf("%w: %s: change the value that Update gave the function instead", sharedseg.ErrReentrant, fromWithin)
	errLoadWithin  = fmt.Errorf("%w: %s: use the value that Update gave the function instead", sharedseg.ErrReentrant, fromWithin)
	errCloseWithin = fmt.Errorf("%w: %s: close the handle after it has returned", sharedseg.ErrReentrant, fromWithin)
)

// errCounters is returned if a read fails although no writer disturbs it.
var errCounters = fmt.Errorf("%w: the version counters contradict each other", sharedseg.ErrCorrupt)

// scratch is the heap memory for a read with a codec that is not
// payload.Direct.
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

// Version returns the number of the current version. It is 0 if nothing was
// stored yet. The numbers start at 1 and grow, but some may be skipped. Version
// also returns 0 if the handle is closed or the segment corrupt; Load returns
// the error.
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

// Close closes the handle. It waits for Stores and Updates that are in
// progress. Loads in progress and later calls return fs.ErrClosed, and so do
// Wait, Watch and Follow. An open Loan can no longer be published, and Close
// releases its lock. Borrowed values are given up, as described at
// [Borrowed.Release]. On Windows, where mapped memory cannot be replaced, a
// Loan keeps the lock until Publish or Discard. Closing the last handle ends
// the segment unless it persists. The error says what could not be cleaned up;
// the handle is closed anyway. A second Close returns nil, possibly before the
// first has finished.
//
// If an Update of this handle calls Close, Close returns ErrReentrant, because
// it would wait for itself, and the handle stays open.
func (r *handle[T]) Close() error {
	if r.turn != nil && r.turn.Within() && !r.closed() {
		return wrap("close", r.name, errCloseWithin)
	}
	if !r.member.BeginClose() {
		return nil
	}
	r.notifier.Close()
	r.pins.end()
	if r.freed != nil { // does not change after pins.end
		r.freed.Close()
	}
	step.At(step.WaitsEnded)
	if r.turn != nil {
		r.turn.Close()
		if !member.Pinning {
			// A Store that has released the lock may not have woken the
			// watchers yet. After Leave it would wake on other memory.
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

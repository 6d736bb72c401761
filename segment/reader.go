package segment

import (
	"context"
	"fmt"
	"io/fs"
	"runtime"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sharedseg/sharedseg/codec"
	"github.com/sharedseg/sharedseg/internal/fence"
	"github.com/sharedseg/sharedseg/internal/layout"
	"github.com/sharedseg/sharedseg/internal/member"
	"github.com/sharedseg/sharedseg/internal/step"
	ipcsync "github.com/sharedseg/sharedseg/sync"
)

// quickReads is how often a Load starts again at once before it makes room for the writer that disturbs it.
const quickReads = 8

// Reader is a handle of a shared value that can only read. OpenReader makes one whose mapping is read-only; the
// one in a Segment shares the Segment's mapping and is closed with it.
type Reader[T any] struct {
	writing uint64 // a Store or Update has the lock; first, to be aligned on 32-bit machines

	seq     ipcsync.SeqLock
	slots   layout.Slots
	closed  atomic.Bool
	plain   bool // codec.Plain
	direct  bool // codec.Direct
	noGuard bool
	locking bool // reads take the mutex

	unhindered bool // plain && noGuard && !locking && !member.Pinning

	mutex  *ipcsync.Mutex // nil if the mapping is read-only
	codec  codec.Codec[T]
	member *member.Member
	name   string
	news   news
	cells  sync.Pool // *cell[T]
}

// cell is what a Load needs of the heap when a codec is called, as nothing that is passed to one can stay on
// the stack.
type cell[T any] struct {
	v   T
	buf []byte // private copy of an encoding
}

// Load returns the current value, T's zero value if nothing was stored yet. It returns a copy that nobody else
// changes.
//
// With the SeqLock guard it does not wait for writers. One that is disturbed again and again, by writers that
// publish Slots-1 versions while it copies one, takes the writers' lock if it is free, so it ends as soon as
// they leave it a gap; a Reader with a read-only mapping cannot, and goes on trying. With the Mutex guard Load
// waits for the lock.
//
// Errors: ErrCorrupt, also if the codec cannot decode the value, whose error is then wrapped as well, and
// fs.ErrClosed.
func (r *Reader[T]) Load() (v T, err error) {
	if r.unhindered && r.quick(&v) != 0 && !r.closed.Load() {
		fence.Acquire(r.member.Key)
		return v, nil
	}
	err = r.loadValue(context.Background(), &v)
	return v, err
}

// LoadContext is Load, but gives up when ctx is done. The error is then that of ctx.
func (r *Reader[T]) LoadContext(ctx context.Context) (v T, err error) {
	err = r.loadValue(ctx, &v)
	return v, err
}

func (r *Reader[T]) loadValue(ctx context.Context, v *T) (err error) {
	if r.plain {
		if _, err = r.loadPlain(ctx, v); err != nil {
			var zero T
			*v = zero
		}
		return err
	}
	c := r.cell()
	if _, err = r.loadCodec(ctx, &c.v); err == nil {
		*v = c.v
	}
	r.free(c)
	return err
}

// LoadInto is Load into *v, whose memory it uses again if the codec can, as codec.Bytes does. It also returns
// the version of the value, 0 if nothing was stored yet. After an error neither is defined.
func (r *Reader[T]) LoadInto(v *T) (version uint64, err error) {
	if r.unhindered {
		// quick, in place; loadInto does all of it again.
		version, slot := r.seq.ReadBegin()
		step.At(step.ReadBegun)
		layout.Get(&r.slots, slot, v)
		step.At(step.ReadCopied)
		if !r.seq.ReadRetry(version) && version != 0 && !r.closed.Load() {
			fence.Acquire(r.member.Key)
			return version, nil
		}
	}
	return r.loadInto(context.Background(), v)
}

func (r *Reader[T]) loadInto(ctx context.Context, v *T) (version uint64, err error) {
	if r.plain {
		return r.loadPlain(ctx, v)
	}
	return r.loadCodec(ctx, v)
}

// loadPlain is apart from loadCodec because it lets v stay on its caller's stack, and does the common case, an
// undisturbed read without a lock, in few steps.
func (r *Reader[T]) loadPlain(ctx context.Context, v *T) (version uint64, err error) {
	if member.Pinning {
		if !r.member.Pin() {
			return 0, r.loadError(fs.ErrClosed)
		}
		defer r.member.Unpin()
	}
	if !r.locking {
		if r.noGuard {
			version = r.quick(v)
		} else {
			version, err = r.quickGuarded(v)
		}
		if version != 0 && !r.closed.Load() {
			fence.Acquire(r.member.Key)
			return version, nil
		}
		if err != nil {
			return 0, r.loadError(err)
		}
	}
	return r.load(ctx, func() (uint64, bool, error) { return r.readPlain(v) })
}

func (r *Reader[T]) loadCodec(ctx context.Context, v *T) (version uint64, err error) {
	if member.Pinning {
		if !r.member.Pin() {
			return 0, r.loadError(fs.ErrClosed)
		}
		defer r.member.Unpin()
	}
	return r.load(ctx, func() (uint64, bool, error) { return r.readCodec(v) })
}

// quick copies a plain value. It returns version 0 if there is none, or if a writer disturbed it.
func (r *Reader[T]) quick(v *T) uint64 {
	version, slot := r.seq.ReadBegin()
	step.At(step.ReadBegun)
	layout.Get(&r.slots, slot, v)
	step.At(step.ReadCopied)
	if r.seq.ReadRetry(version) {
		return 0
	}
	return version
}

func (r *Reader[T]) quickGuarded(v *T) (version uint64, err error) {
	old, done := debug.SetPanicOnFault(true), false
	defer func() {
		if !done {
			version, err = 0, layout.Fault(recover(), r.member.Mem, old)
		}
	}()
	version = r.quick(v)
	done = true
	debug.SetPanicOnFault(old)
	return version, nil
}

// An attempt reads the current value once. It is not ok if a writer disturbed it; what it read is then void.
type attempt func() (version uint64, ok bool, err error)

// read is the attempt of a caller that holds the lock.
func (r *Reader[T]) read(v *T) (version uint64, ok bool, err error) {
	if r.plain {
		return r.readPlain(v)
	}
	return r.readCodec(v)
}

func (r *Reader[T]) readPlain(v *T) (version uint64, ok bool, err error) {
	version, slot := r.seq.ReadBegin()
	if version == 0 {
		var zero T
		*v = zero
		return 0, true, nil
	}
	step.At(step.ReadBegun)
	layout.Get(&r.slots, slot, v)
	step.At(step.ReadCopied)
	return version, !r.seq.ReadRetry(version), nil
}

func (r *Reader[T]) readCodec(v *T) (version uint64, ok bool, err error) {
	version, slot := r.seq.ReadBegin()
	if version == 0 {
		var zero T
		*v = zero
		return 0, true, nil
	}
	step.At(step.ReadBegun)
	b, err := r.slots.Value(slot)
	switch {
	case err != nil:
	case r.direct:
		err = undecodable(version, r.codec.Decode(b, v))
	default:
		// Any other codec sees nothing but a whole value that stays as it is.
		c := r.cell()
		defer r.free(c)
		c.buf = append(c.buf[:0], b...)
		step.At(step.ReadCopied)
		if r.seq.ReadRetry(version) {
			return version, false, nil
		}
		return version, true, undecodable(version, r.codec.Decode(c.buf, v))
	}
	return version, !r.seq.ReadRetry(version), err
}

func undecodable(version uint64, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%w: version %d does not decode: %w", ErrCorrupt, version, err)
}

func (r *Reader[T]) cell() *cell[T] {
	if c, ok := r.cells.Get().(*cell[T]); ok {
		return c
	}
	return new(cell[T])
}

func (r *Reader[T]) free(c *cell[T]) {
	var zero T
	c.v = zero
	r.cells.Put(c)
}

// load makes attempts until one is ok, in the way that the segment's guard asks for.
func (r *Reader[T]) load(ctx context.Context, try attempt) (version uint64, err error) {
	var old, done bool
	if !r.noGuard {
		old = debug.SetPanicOnFault(true)
	}
	defer func() {
		if !done && !r.noGuard {
			version, err = 0, r.loadError(layout.Fault(recover(), r.member.Mem, old))
		}
	}()
	if !r.locking {
		version, err = r.loadLockFree(ctx, try)
	} else if err = r.mutex.Lock(ctx); err == nil {
		version, err = r.readLocked(try)
	}
	done = true
	if !r.noGuard {
		debug.SetPanicOnFault(old)
	}
	if err == nil && !r.closed.Load() {
		fence.Acquire(r.member.Key)
		return version, nil
	}
	return version, r.loadError(err)
}

// loadError is the error of a Load that failed, with err, or that the handle was closed under.
func (r *Reader[T]) loadError(err error) error {
	if r.closed.Load() {
		err = fs.ErrClosed
	}
	return wrap("load", r.name, err)
}

// loadLockFree makes attempts without the lock. After a few that writers disturbed it makes room for them, or
// takes the lock if it is free. A writer that is stopped while it holds the lock disturbs nobody.
func (r *Reader[T]) loadLockFree(ctx context.Context, try attempt) (uint64, error) {
	for look := range quickReads {
		if version, ok, err := try(); ok {
			return version, err
		}
		if look == 0 {
			r.member.Count(layout.DisturbedReads)
		}
	}
	for pause := time.Microsecond; ; pause = min(2*pause, time.Millisecond) {
		version, ok, err := try()
		if ok {
			return version, err
		}
		if r.seq.Version() == version {
			return 0, errCounters
		}
		if r.mutex != nil {
			if locked, err := r.mutex.TryLock(); err != nil {
				return 0, err
			} else if locked {
				return r.readLocked(try)
			}
		}
		time.Sleep(pause)
		if err := ctx.Err(); err != nil {
			return 0, err
		}
		if r.closed.Load() {
			return 0, fs.ErrClosed
		}
	}
}

// readLocked makes an attempt while the lock, which it lets go, keeps writers away.
func (r *Reader[T]) readLocked(try attempt) (uint64, error) {
	defer r.mutex.Unlock()
	version, ok, err := try()
	if !ok {
		return 0, errCounters
	}
	return version, err
}

// A writer announces no version but the one after the current one, and disturbs only those who read an older.
var errCounters = fmt.Errorf("%w: the version counters contradict each other", ErrCorrupt)

// Version returns the number of the current version: 0 if nothing was stored yet, then 1, 2, 3 …. It is 0 as
// well if the handle is closed or the segment corrupt, which Load tells.
func (r *Reader[T]) Version() (version uint64) {
	if member.Pinning {
		if !r.member.Pin() {
			return 0
		}
		defer r.member.Unpin()
	}
	layout.Guard(r.member.Mem, func() error { version = r.seq.Version(); return nil })
	runtime.KeepAlive(r)
	if r.closed.Load() {
		return 0
	}
	return version
}

// Close closes the handle. It waits for Stores and Updates under way; Loads under way and later calls return
// fs.ErrClosed, as do Wait and Watch. If it is the last handle of a segment that does not persist, the segment
// is gone. The error says what could not be cleaned up; the handle is closed all the same. A second Close
// returns nil, perhaps before the first is done.
func (r *Reader[T]) Close() error {
	if r.closed.Swap(true) {
		return nil
	}
	r.news.close()
	step.At(step.WaitsEnded)
	if r.mutex != nil {
		r.mutex.Stop()
		r.quiesce()
		step.At(step.StoresEnded)
	}
	err := wrap("close", r.name, r.member.Leave(false))
	runtime.KeepAlive(r)
	return err
}

// quiesce waits until no call of this handle has the lock. The lock's word says so for the short while in which a
// call has the lock and has not noted it; a word that a peer wrote says nothing for longer.
func (r *Reader[T]) quiesce() {
	begun := time.Now()
	for pause := 10 * time.Microsecond; ; pause = min(2*pause, time.Millisecond) {
		held := false
		layout.Guard(r.member.Mem, func() error { held = r.mutex.Held(); return nil })
		if atomic.LoadUint64(&r.writing) == 0 && (!held || time.Since(begun) > time.Second) {
			return
		}
		time.Sleep(pause)
	}
}

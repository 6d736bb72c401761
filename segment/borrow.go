package segment

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sharedseg/sharedseg/internal/fence"
	"github.com/sharedseg/sharedseg/internal/layout"
	"github.com/sharedseg/sharedseg/internal/member"
	"github.com/sharedseg/sharedseg/internal/notify"
	"github.com/sharedseg/sharedseg/internal/park"
	"github.com/sharedseg/sharedseg/internal/step"
)

// Borrowed is a version of the value in place, in shared memory. No writer
// changes it until Release, however many versions are stored in the meantime.
// Release it before the handle is closed. Several goroutines may use Bytes and
// Value, but not during or after Release.
//
// For a Reader the memory is read-only, and a write to it crashes the process.
// Through a Segment the memory must not be written either, because others read
// it. The value stays unchanged only if all peers follow this library's
// protocol: a hostile peer with write access can change the bytes at any time.
// So read and check each of them once, and use the checked copy.
//
// If a peer truncates the segment's file, the bytes become zeros, and Release
// returns ErrCorrupt. This works on Linux (amd64, arm64, 386, riscv64) unless
// another handler of SIGBUS was installed. Elsewhere the access faults, as with
// any mapped file; debug.SetPanicOnFault turns the fault into a panic.
type Borrowed[T any] struct {
	r       *handle[T]
	version uint64
	slot    uint64
	pinned  bool // the slot is pinned; otherwise bytes are private
	bytes   []byte
}

// Borrow returns the current version of the value in place. Nothing is copied,
// so the time does not depend on the size of the value. If nothing was stored
// yet, the version is 0, Bytes is nil, and Value points to a zero T.
//
// Writers step over borrowed slots. A writer waits only if live handles have
// borrowed every slot except the current one. If at most Slots-2 versions are
// borrowed at a time, counting each version once, no writer ever waits. A Store
// through a handle that has borrowed all other slots itself waits for its own
// Release. Handles that all store while they hold borrowed values can deadlock.
// A borrower that is killed releases what it had borrowed.
//
// The first Borrow of a handle takes some microseconds longer. Like Open, it
// can wait for a process that is stopped in Open or Close of the name. After
// five seconds it returns os.ErrDeadlineExceeded. ctx does not end that wait.
// For a Reader it also takes one of the 1024 places for handles that write. If
// none is free, or the Reader has no write permission for the file, Borrow
// makes a private copy instead; everything else is the same.
//
// Borrow returns errors.ErrUnsupported if the segment has more than 64 Slots.
// It returns the error of ctx if ctx is already done, or becomes done while
// writers disturb the call repeatedly. Other errors: ErrCorrupt, ErrNoSpace,
// fs.ErrClosed.
func (r *handle[T]) Borrow(ctx context.Context) (*Borrowed[T], error) {
	return r.borrow(ctx, new(Borrowed[T])) // inlined, so that the Borrowed can be on the stack
}

// Bytes returns the encoding of the value, in place. Its capacity is its
// length. After Release it returns nil.
func (b *Borrowed[T]) Bytes() []byte { return b.bytes }

// Value returns a pointer to the value, in place, if the codec is codec.Fixed
// for a T without bools. For other codecs, whose encoding is not the memory of
// a T, and after Release it returns nil.
func (b *Borrowed[T]) Value() *T {
	if b.version == 0 && b.r != nil && b.r.payload.Plain {
		return new(T)
	}
	return b.r.in(b.bytes)
}

// Version returns the number of the version.
func (b *Borrowed[T]) Version() uint64 { return b.version }

// pins are the parts of a handle's memory that its user may access: the slots
// that it has borrowed, and that of its Loan. What is counted here does not
// depend on the shared memory, where peers can write. The counts of borrowed
// slots change together with the bits in the handle's row, which writers read.
type pins struct {
	mu     sync.Mutex
	row    atomic.Pointer[atomic.Uint64] // nil until the first Borrow
	event  *park.Event                   // wakes a writer that waits for a slot; nil while row is nil
	counts [layout.RowBits]uint32        // of the borrowed values in each slot
	total  int                           // of the borrowed values
	loans  atomic.Int32                  // that were not published or discarded; if Pinning, mu guards it
	closed bool                          // all borrowed values are given up
	leave  func() error
}

// borrow is Borrow into *b, which it returns. The common case is here: the
// handle has borrowed before, there is a value, and no writer publishes at the
// same moment.
func (r *handle[T]) borrow(ctx context.Context, b *Borrowed[T]) (*Borrowed[T], error) {
	if !r.direct || r.pins.row.Load() == nil || ctx.Err() != nil {
		return r.borrowSlow(ctx, b)
	}
	version, slot, ok := r.pin()
	if !ok || version == 0 {
		return r.borrowSlow(ctx, b)
	}
	bytes, err := r.payload.Bytes(r.payload.Slot(slot))
	*b = Borrowed[T]{r, version, slot, true, bytes}
	if err != nil || r.state.Load() != 0 {
		r.pins.unpin(slot, &b.pinned)
		return nil, wrap("borrow", r.name, r.member.Verdict(err))
	}
	fence.Acquire(r.member.Key)
	return b, nil
}

// pin pins the slot of the current version. If another version was published a
// moment later, a writer may not have seen the pin, and ok is false. pin is
// called within Use, by a handle that has a row.
func (r *handle[T]) pin() (version, slot uint64, ok bool) {
	p := r.pins
	p.mu.Lock()
	defer p.mu.Unlock()
	version, slot = r.seq.ReadBegin()
	if p.closed || version == 0 {
		return 0, 0, !p.closed
	}
	if p.counts[slot]++; p.counts[slot] == 1 {
		p.row.Load().Or(1 << slot)
	}
	step.At(step.PinSet)
	// The writer of a version reads the rows after the version before it was
	// published. So if this version is still current, every writer that could
	// take its slot has yet to read the row, and sees the pin.
	if r.seq.Version() != version {
		p.release(slot)
		return version, 0, false
	}
	p.total++
	step.At(step.PinHeld)
	return version, slot, true
}

// release takes a pin back. The mutex is held.
func (p *pins) release(slot uint64) {
	if p.counts[slot]--; p.counts[slot] != 0 {
		return
	}
	p.row.Load().And(^(uint64(1) << slot))
	step.At(step.PinCleared)
	if !p.closed { // otherwise Leave signals, and waiters look again now and then
		p.event.Signal()
	}
}

// unpin takes a pin back and clears *pinned, unless it is clear already. unpin
// is called within Use.
func (p *pins) unpin(slot uint64, pinned *bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if *pinned {
		*pinned = false
		p.total--
		p.release(slot)
	}
}

// last returns what Close has left to do, if the user can no longer access any
// memory.
func (p *pins) last() (leave func() error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.inUse() {
		leave, p.leave = p.leave, nil
	}
	return leave
}

// inUse reports whether the user may access some of the memory.
func (p *pins) inUse() bool { return p.total > 0 || p.loans.Load() > 0 }

// lend counts a Loan. It reports false if Close may be about to unmap the
// memory.
func (p *pins) lend() bool {
	if member.Pinning {
		p.mu.Lock()
		defer p.mu.Unlock()
		if p.closed {
			return false
		}
	}
	p.loans.Add(1)
	return true
}

// unlend takes the token of a Loan, unless it is taken already, and no longer
// counts the Loan. It also returns what Close has left to do.
func (p *pins) unlend(of *uint64) (token uint64, leave func() error) {
	if member.Pinning {
		defer func() { leave = p.last() }()
		p.mu.Lock()
		defer p.mu.Unlock()
	}
	if token, *of = *of, 0; token != 0 {
		p.loans.Add(-1)
	}
	return token, nil
}

// borrowSlow is borrow for a handle that has no row yet or cannot have one, for
// a handle that must access memory within Use, for a segment without a
// value, and if writers disturb the call.
func (r *handle[T]) borrowSlow(ctx context.Context, b *Borrowed[T]) (*Borrowed[T], error) {
	err := ctx.Err()
	if err == nil && !r.member.Geometry.HasRows() {
		err = fmt.Errorf("%w: a segment of %d slots; only segments with up to %d Slots support Borrow",
			errors.ErrUnsupported, r.member.Geometry.Slots, layout.RowBits)
	}
	if err == nil {
		err = r.takeRow()
	}
	switch {
	case err == nil:
		err = r.member.Use(func() error { return r.borrowPinned(ctx, b) })
	case errors.Is(err, fs.ErrPermission), errors.Is(err, member.ErrTooManyMembers):
		err = r.borrowCopy(ctx, b)
	}
	if err = r.member.Verdict(err); err != nil {
		if b.pinned {
			b.Release()
		}
		return nil, wrap("borrow", r.name, err)
	}
	fence.Acquire(r.member.Key)
	return b, nil
}

// takeRow claims the handle's row.
func (r *handle[T]) takeRow() error {
	row, err := r.member.Row()
	if err != nil {
		return err
	}
	r.pins.mu.Lock()
	defer r.pins.mu.Unlock()
	if r.pins.closed {
		return fs.ErrClosed
	}
	if r.pins.event == nil {
		r.pins.event = r.member.Event(member.RowEvent)
	}
	r.pins.row.Store(row)
	return nil
}

// borrowPinned calls pin until it succeeds. After a few attempts it does so
// with the lock held, if the lock is free, as then no writer publishes.
func (r *handle[T]) borrowPinned(ctx context.Context, b *Borrowed[T]) error {
	b.r = r
	return r.untilUndisturbed(ctx, func() (version uint64, ok bool, err error) {
		version, slot, ok := r.pin()
		if !ok || version == 0 {
			return version, ok, nil
		}
		b.version, b.slot, b.pinned = version, slot, true
		b.bytes, err = r.payload.Bytes(r.payload.Slot(slot))
		return version, true, err
	})
}

// borrowCopy copies the current version instead of pinning it.
func (r *handle[T]) borrowCopy(ctx context.Context, b *Borrowed[T]) error {
	b.r = r
	return r.member.Use(func() error {
		return r.untilUndisturbed(ctx, func() (version uint64, ok bool, err error) {
			version, i := r.seq.ReadBegin()
			if version == 0 {
				return 0, true, nil
			}
			step.At(step.ReadBegun)
			bytes, err := r.payload.Bytes(r.payload.Slot(i))
			if err == nil {
				if len(b.bytes) != len(bytes) {
					b.bytes = r.payload.Private(len(bytes))
				}
				copy(b.bytes, bytes)
			}
			b.version = version
			step.At(step.ReadCopied)
			return version, !r.seq.ReadRetry(version), err
		})
	})
}

// in returns b as a T, if the encoding of the codec is the memory of a T.
func (r *handle[T]) in(b []byte) *T {
	if r == nil {
		return nil
	}
	return r.payload.In(b)
}

// Release gives the version back, so that writers may use its slot again. The
// results of Bytes and Value must not be used afterwards. A second Release does
// nothing and returns nil.
//
// Release returns an error if the memory was lost in the meantime, because the
// value may then have been zeros: ErrCorrupt if the file was truncated,
// ErrNoSpace, or fs.ErrClosed if the handle was closed. Where memory cannot be
// replaced, as on Windows, a value stays intact after Close until Release, and
// the handle keeps its place until then.
func (b *Borrowed[T]) Release() error {
	r := b.r
	b.bytes = nil
	if !b.pinned {
		return nil
	}
	var leave func() error
	if r.direct {
		r.pins.unpin(b.slot, &b.pinned)
	} else {
		r.member.Use(func() error { r.pins.unpin(b.slot, &b.pinned); return nil })
		leave = r.pins.last()
	}
	if r.state.Load() == 0 {
		return nil
	}
	err := r.member.Verdict(nil)
	if leave != nil {
		err = errors.Join(err, leave())
	}
	return wrap("release", r.name, err)
}

// end ends all borrowing, for Close.
func (p *pins) end() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	if p.event != nil {
		p.event.Queue.Close()
	}
}

// postpone keeps leave, which detaches the handle, for the end of the last
// access. It reports false, and keeps nothing, if the user cannot access any
// memory, or if memory can be replaced.
func (p *pins) postpone(leave func() error) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !member.Pinning || !p.inUse() {
		return false
	}
	p.leave = leave
	return true
}

// attachment is the state of a handle that outlives the handle itself.
type attachment struct {
	member *member.Member
	pins   *pins
}

// discard closes an unreachable handle. It does not block.
func (a attachment) discard() {
	if a.pins.inUse() {
		a.member.Abandon()
	} else {
		a.member.Discard()
	}
}

var errPinned = errors.New("every other slot is borrowed")

// recheck is the longest sleep of a Store that waits for a slot, before it
// checks again whether the borrowers are alive.
const recheck = 10 * time.Millisecond

// awaitSlot waits until there is a slot that a writer may use.
func (s *handle[T]) awaitSlot(ctx context.Context) error {
	freed, err := s.freedSlots()
	if err != nil {
		return err
	}
	err = freed.Wait(ctx, func() bool {
		borrowed := s.member.Pinned(s.asking.Swap(false))
		return !s.full(borrowed, s.seq.Slot(s.seq.Version())) || s.state.Load() != 0
	})
	if err != nil && ctx.Err() != nil {
		err = fmt.Errorf("%w; each of the other %d slots is borrowed: choose more Slots, or Release sooner", err, s.member.Geometry.Slots-1)
	}
	return s.member.Verdict(err)
}

// full reports whether a writer finds no slot, because each one is borrowed or
// belongs to the current version.
func (s *handle[T]) full(borrowed, current uint64) bool {
	all := uint64(1)<<s.member.Geometry.Slots - 1
	return (borrowed|1<<current)&all == all
}

// freedSlots returns the event count on which a writer waits for a slot.
func (s *handle[T]) freedSlots() (*notify.EventCount, error) {
	s.pins.mu.Lock()
	defer s.pins.mu.Unlock()
	if s.pins.closed {
		return nil, fs.ErrClosed
	}
	if s.freed == nil {
		limit := func() time.Duration {
			s.asking.Store(true)
			return recheck
		}
		s.freed = notify.NewEventCount(s.member.Event(member.RowEvent), s.use, limit, func() { s.member.Count(layout.Waits) })
	}
	return s.freed, nil
}

// Package segment shares one typed value between processes, through named shared memory.
//
// A [Segment] is a name, a mapping and a [codec.Codec]. Whoever opens the name, with the same codec, has the same
// value: Store publishes a new version of it, Load copies the current one out, Watch waits for the next. A value
// is never torn: a version is written to a slot that no reader is sent to before it is complete, so a process
// that is killed half-way, at any instruction, costs nothing. The segment is created by the first to open it
// and freed when the last handle is closed, by Close or by the end of its process.
//
// All methods may be called concurrently, from any number of goroutines and processes. Nothing in the mapping
// is trusted: a peer that writes nonsense can spoil values, but not crash, hang or bloat this process.
package segment

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"runtime"
	"runtime/debug"

	"github.com/sharedseg/sharedseg/internal/fence"
	"github.com/sharedseg/sharedseg/internal/layout"
	"github.com/sharedseg/sharedseg/internal/member"
	"github.com/sharedseg/sharedseg/internal/step"
	ipcsync "github.com/sharedseg/sharedseg/sync"
)

// Segment is a handle of a shared value, for reading, with the methods of [Reader], and for writing. Close it
// when it is no longer used; one that is dropped is closed by the garbage collector in its own time.
type Segment[T any] struct {
	Reader[T]
}

// begin notes that a call of this handle has the lock. Close looks at the note, as the lock's own word may be
// anything.
func (s *Segment[T]) begin() { fence.Publish(&s.writing, 1) }

// end ends the call that begin noted, and lets the lock go. It is for after a publication, or none.
func (s *Segment[T]) end() error {
	fence.Publish(&s.writing, 0)
	err := s.mutex.Unlock()
	if errors.Is(err, ipcsync.ErrNotOwner) {
		err = fmt.Errorf("%w: a peer took the lock from its live owner", ErrCorrupt)
	}
	return err
}

// Store publishes v as the new version. It waits for other writers, but not for readers. An encoding larger than
// the capacity is ErrTooLarge. After an error the old value stays, but for ErrCorrupt, which tells nothing of it.
func (s *Segment[T]) Store(v T) error { return s.store(context.Background(), &v) }

// StoreContext is Store, but gives up waiting for other writers, one that is stopped perhaps, when ctx is done.
// The error is then that of ctx.
func (s *Segment[T]) StoreContext(ctx context.Context, v T) error { return s.store(ctx, &v) }

// Update publishes what fn makes of the current value, as one step among all processes. fn gets a private copy,
// T's zero value if nothing was stored yet. If it returns an error, Update publishes nothing and returns an Error
// that wraps it; if it panics, nothing is published either. fn runs with the writers' lock held: it should be
// short, and it must not use the segment.
func (s *Segment[T]) Update(fn func(v *T) error) error {
	return s.UpdateContext(context.Background(), fn)
}

// UpdateContext is Update, but gives up waiting for other writers when ctx is done. The error is then that of
// ctx. Once fn runs, ctx no longer counts.
func (s *Segment[T]) UpdateContext(ctx context.Context, fn func(v *T) error) error {
	v := new(T)
	return wrap("update", s.name, s.locked(ctx, func(panicOnFault bool) (uint64, bool, error) {
		if _, ok, err := s.read(v); !ok {
			return 0, false, errCounters
		} else if err != nil {
			return 0, false, err
		}
		if err := s.unguarded(panicOnFault, func() error { return fn(v) }); err != nil {
			return 0, false, err
		}
		return s.publish(v)
	}))
}

// Created reports whether this handle initialised the segment.
func (s *Segment[T]) Created() bool { return s.member.Created }

func (s *Segment[T]) store(ctx context.Context, v *T) (err error) {
	if !s.noGuard || !s.plain {
		return wrap("store", s.name, s.locked(ctx, func(bool) (uint64, bool, error) { return s.publish(v) }))
	}
	if member.Pinning {
		if !s.member.Pin() {
			return wrap("store", s.name, fs.ErrClosed)
		}
		defer s.member.Unpin()
	}
	// What locked and publish come to if nothing between lock and unlock can fail or panic.
	if err = s.mutex.Lock(ctx); err == nil {
		s.begin()
		version, slot := s.seq.WriteNext()
		s.slots.Unseal(slot)
		step.At(step.SlotUnsealed)
		s.seq.WriteAnnounce(version)
		step.At(step.WriteBegun)
		n := layout.Put(&s.slots, slot, v)
		step.At(step.WriteFilled)
		s.slots.Seal(slot, version, n)
		step.At(step.SlotSealed)
		armed := s.news.disarm()
		step.At(step.WatchersDisarmed)
		s.seq.WriteEnd(version)
		step.At(step.WriteEnded)
		err = s.end()
		s.news.wake(version, armed)
	}
	runtime.KeepAlive(s)
	return wrap("store", s.name, err)
}

// locked runs publish under the writers' lock, and then wakes the watchers if it says so. However publish ends,
// by a panic of a codec or a fault perhaps, the lock is let go. publish learns whether its goroutine had faults
// made panics before, and returns what the method publish does.
func (s *Segment[T]) locked(ctx context.Context, publish func(panicOnFault bool) (version uint64, armed bool, err error)) (err error) {
	if member.Pinning {
		if !s.member.Pin() {
			return fs.ErrClosed
		}
		defer s.member.Unpin()
	}
	var old, held, done bool
	if !s.noGuard {
		old = debug.SetPanicOnFault(true)
	}
	defer func() {
		if done {
			return
		}
		p := recover()
		if held {
			layout.Guard(s.member.Mem, s.end)
		}
		if s.noGuard {
			old = debug.SetPanicOnFault(false)
		}
		err = layout.Fault(p, s.member.Mem, old)
	}()
	if err = s.mutex.Lock(ctx); err == nil {
		s.begin()
		held = true
		var version uint64
		var armed bool
		version, armed, err = publish(old)
		held = false
		if e := s.end(); err == nil {
			err = e
		}
		if version != 0 {
			s.news.wake(version, armed)
		}
	}
	done = true
	if !s.noGuard {
		debug.SetPanicOnFault(old)
	}
	runtime.KeepAlive(s)
	return err
}

// unguarded runs f, which is not ours, with the setting that its goroutine would have without us.
func (s *Segment[T]) unguarded(panicOnFault bool, f func() error) error {
	if s.noGuard {
		return f()
	}
	debug.SetPanicOnFault(panicOnFault)
	err := f()
	debug.SetPanicOnFault(true)
	return err
}

// publish writes *v to the next slot and makes it current. It returns its version, and whether watchers were armed
// before. The lock is held.
func (s *Segment[T]) publish(v *T) (version uint64, armed bool, err error) {
	version, slot := s.seq.WriteNext()
	s.slots.Unseal(slot)
	step.At(step.SlotUnsealed)
	s.seq.WriteAnnounce(version)
	step.At(step.WriteBegun)
	var n int
	if s.plain {
		n = layout.Put(&s.slots, slot, v)
	} else {
		// The codec appends in place; an encoding that does not fit moves to the heap.
		space := s.slots.Space(slot)
		b, err := s.codec.Append(space[:0], *v)
		if err != nil {
			return 0, false, err
		}
		if len(b) > len(space) {
			return 0, false, fmt.Errorf("%w: the value takes %d bytes, the segment's capacity is %d; create it with a larger Options.Capacity",
				ErrTooLarge, len(b), len(space))
		}
		if !layout.Same(b, space) {
			copy(space, b)
		}
		step.At(step.WriteEncoded)
		n = len(b)
	}
	step.At(step.WriteFilled)
	s.slots.Seal(slot, version, n)
	step.At(step.SlotSealed)
	armed = s.news.disarm()
	step.At(step.WatchersDisarmed)
	s.seq.WriteEnd(version)
	step.At(step.WriteEnded)
	return version, armed, nil
}

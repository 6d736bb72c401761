package segment

import (
	"context"
	"fmt"
	"iter"

	"github.com/sharedseg/sharedseg/internal/fence"
	"github.com/sharedseg/sharedseg/internal/step"
)

// Version is a version of the value, as returned by Follow.
type Version[T any] struct {
	Number uint64
	Value  T
}

// MissedError is yielded by Follow in place of versions that writers overwrote
// before the loop took them. Use errors.As or errors.AsType to find it.
type MissedError struct {
	// First and Last are the first and last missed numbers. Numbers can be
	// skipped, so fewer versions than numbers may have been missed.
	First, Last uint64
}

func (e *MissedError) Error() string {
	if e.First == e.Last {
		return fmt.Sprintf("missed version %d: choose more Slots, or take versions faster", e.First)
	}
	return fmt.Sprintf("missed versions %d to %d: choose more Slots, or take versions faster", e.First, e.Last)
}

// Follow returns an iterator over every version after the given one, in order,
// as long as the loop is at most Slots-1 versions behind the writers. So a
// segment with many Slots is a log for any number of followers, and followers
// cost the writers nothing. Numbers grow, but some may be skipped. If the given
// version is later than the current one, Follow waits until it has passed.
//
// If versions after the given one are gone, because writers have overtaken the
// follower or it starts late, it gets one error that wraps a [MissedError] with
// their numbers, and then continues with the oldest version that still exists.
// A value that does not decode is reported as codec.ErrMalformed, together with
// its number, and the loop goes on. When ctx is done or the handle is closed,
// the last pair contains that error.
//
//	for v, err := range s.Follow(ctx, 0) {
//		if missed, ok := errors.AsType[*segment.MissedError](err); ok {
//			log.Print(missed)
//			continue
//		}
//		if err != nil {
//			return err
//		}
//		…
//	}
func (r *handle[T]) Follow(ctx context.Context, after uint64) iter.Seq2[Version[T], error] {
	return func(yield func(Version[T], error) bool) {
		for {
			end, err := r.wait(ctx, after)
			if err != nil {
				yield(Version[T]{}, wrap("follow", r.name, err))
				return
			}
			slots, before := uint64(r.member.Geometry.Slots), after
			number := after + 1
			if end-after > slots {
				number = end - slots + 1
			}
			for ; number <= end && number > after; number++ {
				v, previous, ok, err := r.numbered(number)
				if ctx.Err() != nil || r.closed() {
					break // wait ends the loop with that error
				}
				if !ok {
					continue // stepped over, or overwritten
				}
				if previous > after && previous < number {
					missed := wrap("follow", r.name, &MissedError{after + 1, previous})
					if after = previous; !yield(Version[T]{}, missed) {
						return
					}
				}
				if after = number; !yield(v, wrap("follow", r.name, err)) {
					return
				}
			}
			if after == before && ctx.Err() == nil && !r.closed() && r.Version() == end {
				yield(Version[T]{}, wrap("follow", r.name, r.member.Verdict(errCounters)))
				return
			}
		}
	}
}

// numbered copies the version with the given number, and returns the number of
// the version before it. If the slot holds another version, or may have changed
// during the copy, ok is false.
func (r *handle[T]) numbered(number uint64) (v Version[T], previous uint64, ok bool, err error) {
	s := r.scratch()
	defer r.release(s)
	v.Number = number
	err = r.member.Use(func() (err error) {
		slot := r.payload.Slot(r.seq.Slot(number))
		if slot.Version() != number {
			return nil
		}
		step.At(step.FollowBegun)
		previous = slot.Previous()
		err = r.copyOut(slot, &s.v, s)
		step.At(step.FollowCopied)
		fence.LoadLoad()
		ok = slot.Version() == number
		return err
	})
	if err = r.member.Verdict(err); ok && err == nil && r.payload.Copied {
		err = r.payload.Decode(s.buf, &s.v)
	}
	if ok && err == nil {
		fence.Acquire(r.member.Key)
		v.Value = s.v
	}
	return v, previous, ok, err
}

package segment

import (
	"context"
	"fmt"
	"iter"

	"github.com/sharedseg/sharedseg/internal/fence"
	"github.com/sharedseg/sharedseg/internal/step"
)

// Version is one of the versions that Follow returns.
type Version[T any] struct {
	Number uint64
	Value  T
}

// MissedError is returned by Follow in place of versions that writers have
// written over before the loop took them. errors.As finds it.
type MissedError struct {
	// First and Last are the first and the last of the numbers that were
	// missed. As numbers may be left out, fewer versions may have been there
	// than numbers.
	First, Last uint64
}

func (e *MissedError) Error() string {
	if e.First == e.Last {
		return fmt.Sprintf("missed version %d: choose more Slots, or take versions faster", e.First)
	}
	return fmt.Sprintf("missed versions %d to %d: choose more Slots, or take versions faster", e.First, e.Last)
}

// Follow returns every version after the given one, in order, as long as the
// loop is not slower than the writers by more than Slots-1 versions: with many
// Slots a segment is a log for any number of followers, which cost the writers
// nothing. 0 begins with the oldest that is there. Numbers grow, but some may
// be left out.
//
// A follower that was overtaken gets one error that is a [MissedError], with
// the numbers that are gone, and then the oldest version that is there; it goes
// on. A value that does not decode is codec.ErrMalformed in its place, beside
// its number. When ctx is done or the handle closed, the last pair has that
// error.
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
					continue // stepped over, or written over
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

// numbered copies the version of that number, and the number of the one before
// it. It is not ok if the slot holds another version, or may have changed
// during the copy.
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

package segment

import (
	"context"
	"iter"

	"github.com/sharedseg/sharedseg/internal/fence"
	"github.com/sharedseg/sharedseg/internal/layout"
	"github.com/sharedseg/sharedseg/internal/notify"
)

// Wait waits for a version newer than after, and returns the number of the
// version that is current then. It returns the error of ctx when ctx is done,
// fs.ErrClosed when the handle is closed, or ErrCorrupt.
//
// A process parks at most 32 threads for all waiting goroutines and handles.
// Some handles are polled instead, every millisecond when idle: Readers without
// write access even to the segment's wait page, and handles beyond the first
// 4,064 (on Windows 2,016, on Linux before 5.16 32).
func (r *handle[T]) Wait(ctx context.Context, after uint64) (uint64, error) {
	version, err := r.wait(ctx, after)
	return version, wrap("wait", r.name, err)
}

func (r *handle[T]) wait(ctx context.Context, after uint64) (version uint64, err error) {
	err = r.notifier.Wait(ctx, func() bool {
		version = r.seq.Version()
		return version > after
	})
	if err = r.member.Verdict(err); err != nil {
		return 0, err
	}
	fence.Acquire(r.member.Key)
	return version, nil
}

// newNotifier returns the notifier of new versions.
func (r *handle[T]) newNotifier() *notify.Notifier {
	s := notify.Source{
		Word:  r.member.Words.End(),
		Sleep: r.member.Broadcast,
		Use:   r.use,
		Count: func() { r.member.Count(layout.Waits) },
	}
	if r.member.WaitPage.Usable() {
		s.Flag = r.member.WaitPage.WatchFlag()
	}
	return notify.New(s)
}

// use is Member.Use, as a method of the handle: a function that holds it keeps
// the handle, and so its memory, reachable.
func (r *handle[T]) use(f func() error) error { return r.member.Use(f) }

// Watch returns an iterator over the current value, if something was stored,
// and then each newer value as it is published. If versions follow each other
// faster than the loop takes them, the loop gets only the newest. A value that
// does not decode is reported as codec.ErrMalformed, and the loop goes on. When
// ctx is done or the handle is closed, the last pair contains that error.
//
//	for v, err := range s.Watch(ctx) {
//		if err != nil {
//			return err
//		}
//		…
//	}
func (r *handle[T]) Watch(ctx context.Context) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		var zero T
		for seen := uint64(0); ; {
			waited, err := r.wait(ctx, seen)
			if err != nil {
				yield(zero, wrap("watch", r.name, err))
				return
			}
			var v T
			version, err := r.load(ctx, &v)
			if err != nil {
				if ctx.Err() != nil || r.closed() {
					continue // wait ends the loop with that error
				}
				v = zero
			}
			if !yield(v, err) {
				return
			}
			seen = max(version, waited)
		}
	}
}

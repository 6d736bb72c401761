package segment_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"testing"

	"github.com/sharedseg/sharedseg/codec"
	"github.com/sharedseg/sharedseg/internal/proctest"
	"github.com/sharedseg/sharedseg/segment"
)

// numberer NAME N stores the numbers from 1 to N as fast as it can.
func numberer(args []string) error {
	s, err := segment.Attach(args[0], codec.Fixed[cell](), nil)
	if err != nil {
		return err
	}
	n, err := strconv.ParseUint(args[1], 10, 64)
	if err != nil {
		return err
	}
	for i := range n {
		if err := s.Store(cellOf(i + 1)); err != nil {
			return err
		}
	}
	fmt.Println("stored")
	proctest.Await()
	return s.Close()
}

// While a writer stores as fast as it can, a follower gets each version exactly
// once, or a MissedError names it.
func TestFollow(t *testing.T) {
	const versions = 200_000
	for _, slots := range []int{3, 1024} {
		t.Run(fmt.Sprint(slots), func(t *testing.T) {
			name := proctest.Name(t)
			s := open(t, name, codec.Fixed[cell](), &segment.Options{Slots: slots})
			r := reader(t, name, codec.Fixed[cell](), nil)
			p := proctest.Start(t, "numberer", name, strconv.Itoa(versions))
			ctx := patient(t)
			last, taken, missed := uint64(0), 0, 0
			for v, err := range r.Follow(ctx, 0) {
				if m, ok := errors.AsType[*segment.MissedError](err); ok {
					if m.First != last+1 || m.Last < m.First {
						t.Fatalf("missed %d to %d after %d", m.First, m.Last, last)
					}
					missed += int(m.Last - m.First + 1)
					last = m.Last
					continue
				}
				must(t, err)
				if v.Number != last+1 || v.Value != cellOf(v.Number) {
					t.Fatalf("version %d, %d, after %d", v.Number, v.Value[0], last)
				}
				taken++
				if last = v.Number; last == versions {
					break
				}
			}
			if taken+missed != versions || taken == 0 {
				t.Errorf("%d taken, %d missed", taken, missed)
			}
			t.Logf("%d taken, %d missed", taken, missed)
			p.Expect("stored")
			p.Say("go")
			p.Wait()
			s.Close()
		})
	}
}

// Follow begins after the given version, reports what it missed, skips numbers
// that were left out, and ends with its context or with the handle.
func TestFollowFrom(t *testing.T) {
	name := proctest.Name(t)
	s := open(t, name, codec.Fixed[uint64](), &segment.Options{Slots: 4})
	// take returns the numbers that Follow returns. The last number that was
	// missed is negative.
	take := func(after uint64) (numbers []int) {
		for v, err := range s.Follow(t.Context(), after) {
			if m, ok := errors.AsType[*segment.MissedError](err); ok {
				numbers = append(numbers, -int(m.Last))
				continue
			}
			must(t, err)
			numbers = append(numbers, int(v.Number))
			if v.Number == s.Version() {
				return numbers
			}
		}
		return nil
	}
	for n := range uint64(10) {
		must(t, s.Store(n))
	}
	for after, want := range map[uint64]string{0: "[-6 7 8 9 10]", 6: "[7 8 9 10]", 5: "[-6 7 8 9 10]", 8: "[9 10]", 9: "[10]"} {
		if got := fmt.Sprint(take(after)); got != want {
			t.Errorf("Follow after %d returns %v, want %v", after, got, want)
		}
	}
	b := borrow(t, s) // version 10
	for n := range uint64(4) {
		must(t, s.Store(n))
	}
	if got := fmt.Sprint(take(10)); got != "[-11 12 13 15]" {
		t.Errorf("Follow after 10, whose slot is skipped, returns %v", got)
	}
	release(t, b)

	ctx, cancel := context.WithCancel(t.Context())
	errs := make(chan error, 1)
	follow := func(ctx context.Context) {
		var last error
		for v, err := range s.Follow(ctx, s.Version()) {
			if last = err; err == nil {
				t.Errorf("version %d", v.Number)
			}
		}
		errs <- last
	}
	go follow(ctx)
	cancel()
	want(t, <-errs, context.Canceled)
	other := s
	go follow(t.Context())
	other.Close()
	want(t, <-errs, fs.ErrClosed)
}

// A value that does not decode yields an error with its version, and Follow
// continues.
func TestFollowMalformed(t *testing.T) {
	s := open(t, proctest.Name(t), codec.JSON[int](), &segment.Options{Slots: 8})
	for n := range 6 {
		l := loan(t, s)
		text := strconv.Itoa(n)
		if n%2 == 1 {
			text = "?"
		}
		if _, err := l.Publish(copy(l.Bytes(), text)); err != nil {
			t.Fatal(err)
		}
	}
	last := 0
	for v, err := range s.Follow(t.Context(), 0) {
		last++
		if v.Number != uint64(last) || errors.Is(err, codec.ErrMalformed) != (last%2 == 0) || err == nil && v.Value != last-1 {
			t.Errorf("version %d: %d, %v, want %d", v.Number, v.Value, err, last)
		}
		if last == 6 {
			break
		}
	}
}

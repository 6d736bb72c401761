package ipcsync_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/sharedseg/sharedseg/sync"
)

func TestSlot(t *testing.T) {
	counts := []int{1<<16 - 1, 1 << 16, 1<<16 + 1, math.MaxInt32}
	for n := 2; n <= 1000; n++ {
		counts = append(counts, n)
	}
	for _, n := range counts {
		l := ipcsync.NewSeqLock(new(ipcsync.Counters), n, 16)
		m := uint64(n)
		top := uint64(1<<63) / m * m // a multiple of n, at most 2^63
		versions := []uint64{0, 1, m - 1, m, m + 1, 1 << 31, 1<<32 - 1, 1 << 32, 1 << 62, top - m, top - m - 1, top - 1, 1<<63 - 2, 1<<63 - 1}
		for range 200 {
			versions = append(versions, rand.Uint64()>>(1+rand.IntN(62)))
		}
		for _, v := range versions {
			if got := l.Slot(v); got != v%m {
				t.Fatalf("%d slots: version %d is in slot %d, want %d", n, v, got, v%m)
			}
			// No correct peer writes this version, but its slot is in range.
			if got := l.Slot(^v); got >= m {
				t.Fatalf("%d slots: version %d is in slot %d", n, ^v, got)
			}
		}
	}
}

func TestTooFewSlots(t *testing.T) {
	for _, n := range []int{-1, 0, 1} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%d slots did not panic", n)
				}
			}()
			ipcsync.NewSeqLock(new(ipcsync.Counters), n, 16)
		}()
	}
}

func TestVersions(t *testing.T) {
	l := ipcsync.NewSeqLock(new(ipcsync.Counters), 2, 16)
	for want := uint64(1); want < 10; want++ {
		for range 3 { // a writer that gives up uses up no version
			if v, slot := l.WriteNext(); v != want || slot != want%2 || l.ReadRetry(want-1) {
				t.Fatalf("WriteNext = %d, %d, want %d, %d, unannounced", v, slot, want, want%2)
			}
			if v, slot := l.WriteBegin(); v != want || slot != want%2 {
				t.Fatalf("WriteBegin = %d, %d, want %d, %d", v, slot, want, want%2)
			}
			if v := l.Version(); v != want-1 {
				t.Fatalf("version %d while %d is written", v, want)
			}
		}
		l.WriteEnd(want)
		if v, slot := l.ReadBegin(); v != want || slot != want%2 || l.ReadRetry(v) {
			t.Fatalf("ReadBegin = %d, %d, after %d was written", v, slot, want)
		}
	}
}

// The rest of this file runs one reader and a series of writers in all their
// interleavings. Each step is one access to shared memory. The exploration
// assumes that steps are seen in order, and does not test the fences that
// ensure it.

const (
	writes   = 5 // writers, one after the other; each can die after any step
	attempts = 2 // of the reader
)

// seqLock is the part of SeqLock that the exploration needs. Wrong
// implementations are explored, too.
type seqLock interface {
	WriteBegin() (version, slot uint64)
	WriteEnd(version uint64)
	ReadBegin() (version, slot uint64)
	ReadRetry(version uint64) bool
}

// world is the whole state at one moment: the shared memory, the progress of
// each process, and what the checks remember.
type world struct {
	counters ipcsync.Counters
	slots    [3][2]uint64 // both words of a value are the number of its writer

	writer  int // 1, 2, …; dead or done if writing is 0
	writing int // the writer's next step after WriteBegin
	reading int // the reader's next step
	tries   int
	w, r    struct{ version, slot uint64 }
	copied  [2]uint64

	current uint64             // the last version whose WriteEnd is done
	written [writes + 1]uint64 // the writer of each version
}

// explore runs l, which works on counters, in all interleavings from the
// initial state. It returns the number of states, the number of successful
// reads, and the first fault.
func explore(l seqLock, counters *ipcsync.Counters) (states, good int, fault error) {
	seen := map[world]bool{}
	var visit func(w world)
	// step continues from w by one step of one process.
	step := func(w world, do func(w *world) error) {
		*counters = w.counters
		err := do(&w)
		w.counters = *counters
		if err != nil && fault == nil {
			fault = fmt.Errorf("%w: %+v", err, w)
		}
		visit(w)
	}
	visit = func(w world) {
		if seen[w] || fault != nil {
			return
		}
		seen[w] = true
		if w.writing != 0 || w.writer < writes {
			step(w, func(w *world) error { return w.write(l) })
		}
		if w.writing != 0 { // it dies
			step(w, func(w *world) error { w.writing = 0; return nil })
		}
		if w.tries < attempts {
			step(w, func(w *world) error {
				retry, err := w.read(l)
				if w.reading == 0 && !retry {
					good++
				}
				return err
			})
		}
	}
	visit(world{})
	return len(seen), good, fault
}

func (w *world) write(l seqLock) error {
	switch w.writing {
	case 0:
		w.writer++
		w.w.version, w.w.slot = l.WriteBegin()
	case 1, 2:
		w.slots[w.w.slot][w.writing-1] = uint64(w.writer)
	case 3:
		l.WriteEnd(w.w.version)
		if w.current++; w.w.version != w.current {
			return fmt.Errorf("version %d follows %d", w.w.version, w.current-1)
		}
		w.written[w.current] = uint64(w.writer)
	}
	w.writing = (w.writing + 1) % 4
	return nil
}

func (w *world) read(l seqLock) (retry bool, err error) {
	switch w.reading {
	case 0:
		w.r.version, w.r.slot = l.ReadBegin()
		if w.r.version != w.current {
			return false, fmt.Errorf("reads version %d while the current one is %d", w.r.version, w.current)
		}
	case 1, 2:
		w.copied[w.reading-1] = w.slots[w.r.slot][w.reading-1]
	case 3:
		w.tries++
		if retry = l.ReadRetry(w.r.version); !retry {
			w.tries = attempts
			if id := w.written[w.r.version]; w.copied != [2]uint64{id, id} {
				err = fmt.Errorf("torn: version %d was written by %d, and the copy is %d", w.r.version, id, w.copied)
			}
		}
	}
	w.reading = (w.reading + 1) % 4
	return retry, err
}

// A read that need not be retried returns one whole version, which was current
// when the read began. Versions follow each other without a gap. Writers that
// die at any step change none of that.
func TestInterleavings(t *testing.T) {
	for slots := 2; slots <= 3; slots++ {
		var c ipcsync.Counters
		l := ipcsync.NewSeqLock(&c, slots, 16)
		states, good, fault := explore(&l, &c)
		t.Logf("%d slots: %d states, %d successful reads", slots, states, good)
		if fault != nil {
			t.Error(fault)
		}
		if good == 0 {
			t.Error("no read succeeds")
		}
	}
}

// Wrong sequence locks. Each leaves one thing out.
type (
	noRecheck    struct{ ipcsync.SeqLock }
	oneSlot      struct{ ipcsync.SeqLock }
	announceLate struct {
		ipcsync.SeqLock
		c *ipcsync.Counters
	}
	recheckOffByOne struct {
		ipcsync.SeqLock
		more ipcsync.SeqLock
	}
)

func (l *noRecheck) ReadRetry(uint64) bool { return false }

func (l *oneSlot) WriteBegin() (uint64, uint64) { v, _ := l.SeqLock.WriteBegin(); return v, 0 }
func (l *oneSlot) ReadBegin() (uint64, uint64)  { v, _ := l.SeqLock.ReadBegin(); return v, 0 }

func (l *announceLate) WriteBegin() (uint64, uint64) {
	v := l.Version() + 1
	return v, l.Slot(v)
}

func (l *announceLate) WriteEnd(v uint64) {
	l.SeqLock.WriteBegin()
	l.SeqLock.WriteEnd(v)
}

func (l *recheckOffByOne) ReadRetry(v uint64) bool { return l.more.ReadRetry(v) }

// TestInterleavings finds the faults of wrong implementations.
func TestInterleavingsOfMutants(t *testing.T) {
	for slots := 2; slots <= 3; slots++ {
		var c ipcsync.Counters
		right := ipcsync.NewSeqLock(&c, slots, 16)
		for _, wrong := range []seqLock{
			&noRecheck{right},
			&oneSlot{right},
			&announceLate{right, &c},
			&recheckOffByOne{right, ipcsync.NewSeqLock(&c, slots+1, 16)},
		} {
			if _, _, fault := explore(wrong, &c); fault == nil {
				t.Errorf("%T with %d slots passes", wrong, slots)
			}
		}
	}
}

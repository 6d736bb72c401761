package ipcsync_test

import (
	"context"
	"errors"
	"io/fs"
	"math"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sharedseg/sharedseg"
	"github.com/sharedseg/sharedseg/internal/layout"
	"github.com/sharedseg/sharedseg/sync"
)

// FuzzSeqLock sets the counters to any values. Every slot number is in range, a
// writer gets a later version than the last, and a reader accepts no version
// whose slot has been announced again.
func FuzzSeqLock(f *testing.F) {
	f.Add(uint64(0), uint64(0), uint32(2))
	f.Add(uint64(8), uint64(7), uint32(3))
	f.Add(uint64(0), uint64(math.MaxUint64), uint32(3))
	f.Add(uint64(math.MaxUint64), uint64(1<<63-1), uint32(1<<16))
	f.Add(uint64(1<<63), uint64(1<<63-1), uint32(7))
	f.Fuzz(func(t *testing.T, begin, end uint64, n uint32) {
		slots := uint64(max(n%(layout.MaxSlots+1), 2))
		c := &ipcsync.Counters{begin, end}
		l := ipcsync.NewSeqLock(c, int(slots), 64)
		version, slot := l.ReadBegin()
		if version != end || l.Version() != end || slot >= slots || slot != l.Slot(end) || end < 1<<63 && slot != end%slots {
			t.Fatalf("%d slots: end %d is read as version %d in slot %d", slots, end, version, slot)
		}
		if retry := l.ReadRetry(version); retry {
			t.Fatalf("%d slots, begin %d: ReadRetry of the current version %d is true", slots, begin, version)
		}
		next, slot := l.WriteNext()
		if again, same := l.WriteBegin(); again != next || same != slot || c[0] != next {
			t.Fatalf("WriteNext = %d in slot %d, WriteBegin = %d in slot %d, which announces %d", next, slot, again, same, c[0])
		}
		if next == 0 || next != max(end+1, begin, 1) || slot >= slots || l.Slot(next) != slot {
			t.Fatalf("%d slots: version %d is followed by %d in slot %d", slots, end, next, slot)
		}
		if again, same := l.WriteBegin(); again != next || same != slot {
			t.Fatalf("a writer that died at %d in slot %d is followed by one at %d in slot %d", next, slot, again, same)
		}
		l.WriteEnd(next)
		if version, read := l.ReadBegin(); version != next || read != slot || l.ReadRetry(version) {
			t.Fatalf("begin %d, end %d: a version was written to slot %d, and %d is read from slot %d", begin, end, slot, version, read)
		}
	})
}

// A mob is the handles of a fuzzed word. An identity is alive if it is odd.
type mob struct{ self uint32 }

func (m mob) Self() uint32           { return m.self }
func (mob) Alive(owner uint32) bool  { return owner&1 != 0 }
func died(word uint32) (again bool)  { return word&layout.InconsistentBit != 0 || dead(word) }
func dead(word uint32) (really bool) { o := word & layout.IdentMask; return o != 0 && o&1 == 0 }

// FuzzWord calls a mutex whose word a peer changes between the calls. Each byte
// of the script is a call, after which the word can change. Whatever the word
// is, a call ends with its context, and its result tells what it did.
func FuzzWord(f *testing.F) {
	f.Add(uint32(0), uint32(0), []byte{0, 1, 2, 3}, false)
	f.Add(uint32(2), uint32(layout.WaitersBit|4), []byte{0x80, 0x81, 2, 0x83, 1}, true) // dead owners
	f.Add(uint32(3), uint32(layout.InconsistentBit), []byte{0, 0x81, 1, 2}, false)      // a live one
	f.Add(uint32(1), uint32(math.MaxUint32), []byte{0, 2, 0x80, 1, 2}, true)            // this handle
	errRepair := errors.New("no repair")
	f.Fuzz(func(t *testing.T, first, second uint32, script []byte, repairs bool) {
		const self = 1
		var word atomic.Uint32
		word.Store(first)
		repaired := 0
		m := ipcsync.NewMutex(&word, mob{self}, func() error {
			repaired++
			if word.Load()&layout.IdentMask != self {
				t.Errorf("Repair runs while the word is %#x", word.Load())
			}
			if !repairs {
				return errRepair
			}
			return nil
		})
		took := func(before uint32, locked bool, err error) {
			after := word.Load()
			switch {
			case locked && (err != nil || after&^layout.WaitersBit != self || before&1 != 0):
				t.Fatalf("locking %#x made it %#x: %v", before, after, err)
			case err != nil && (!errors.Is(err, sharedseg.ErrOwnerDied) || repairs || !died(before) || after&layout.IdentMask != 0):
				t.Fatalf("failing to lock %#x made it %#x: %v", before, after, err)
			}
		}
		for i, op := range script[:min(len(script), 16)] {
			before := word.Load()
			repaired = 0
			switch op & 3 {
			case 0:
				locked, err := m.TryLock()
				took(before, locked, err)
				if !locked && err == nil && before&1 == 0 {
					t.Fatalf("%#x could not be locked", before)
				}
			case 1:
				// A call waits only for a live owner.
				limit := time.Minute
				if before&1 != 0 {
					limit = 200 * time.Microsecond
				}
				ctx, cancel := context.WithTimeout(t.Context(), limit)
				err := m.Lock(ctx)
				cancel()
				if err == nil || !errors.Is(err, context.DeadlineExceeded) || before&1 == 0 {
					took(before, err == nil, err)
				}
			case 2:
				err := m.Unlock()
				if held := before&layout.IdentMask == self; held != (err == nil) || err != nil && !errors.Is(err, sharedseg.ErrNotOwner) {
					t.Fatalf("Unlock of %#x: %v", before, err)
				}
				if err == nil && word.Load() != before&layout.InconsistentBit {
					t.Fatalf("unlocking %#x made it %#x", before, word.Load())
				}
			case 3:
				if held := m.Held(); held != (before&layout.IdentMask == self) {
					t.Fatalf("%#x: Held = %v", before, held)
				}
			}
			if repaired > 1 || repaired == 1 && !died(before) {
				t.Fatalf("at %#x Repair ran %d times", before, repaired)
			}
			if op&0x80 != 0 {
				word.Store([]uint32{first, second, first ^ second, first + uint32(op)}[i%4])
			}
		}
		m.Stop()
		if err := m.Lock(t.Context()); !errors.Is(err, fs.ErrClosed) {
			t.Fatalf("Lock of a closed mutex: %v", err)
		}
		held := m.Held()
		if err := m.Unlock(); held != (err == nil) || err != nil && !errors.Is(err, fs.ErrClosed) {
			t.Fatalf("Unlock of a closed mutex, held = %v: %v", held, err)
		}
	})
}

package ipcsync

import (
	"errors"
	"io/fs"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sharedseg/sharedseg/internal/fault"
	"github.com/sharedseg/sharedseg/internal/layout"
	"github.com/sharedseg/sharedseg/internal/proctest"
)

// TestLostAfterwards checks that a call whose memory vanishes right after it
// has acquired a lock holds the lock if and only if it returns no error. The
// call sees a state of its own, so for it the memory is whole.
func TestLostAfterwards(t *testing.T) {
	for what, lock := range map[string]func(rw *RWMutex) (bool, error){
		"Lock":     func(rw *RWMutex) (bool, error) { return true, rw.Lock(t.Context()) },
		"TryLock":  (*RWMutex).TryLock,
		"RLock":    func(rw *RWMutex) (bool, error) { return true, rw.RLock(t.Context()) },
		"TryRLock": (*RWMutex).TryRLock,
	} {
		for _, died := range []bool{false, true} {
			t.Run(what+map[bool]string{true: " from the dead"}[died], func(t *testing.T) {
				lost := func() error { return nil }
				rw, err := OpenRWMutex(proctest.Name(t), &Options{Repair: func() error { return lost() }})
				if err != nil {
					t.Fatal(err)
				}
				m := rw.m
				state := m.state
				m.direct, m.state = false, new(atomic.Uint32)
				lose := func() error { state.Or(fault.Lost); return nil }
				if died {
					m.word.Word.Store(layout.InconsistentBit)
					lost = lose
				} else {
					lose()
				}
				locked, err := lock(rw)
				word, row := m.word.Word.Load(), rw.row.Load()
				if held := word != 0 || row != 0; held != (locked && err == nil) {
					t.Errorf("locked: %v, %v; but the word is %#x and the row %d", locked, err, word, row)
				}
				m.word.Word.Store(0)
				rw.row.Store(0)
				state.And(^uint32(fault.Lost))
				m.state = state
				if err := rw.Close(); err != nil {
					t.Error(err)
				}
			})
		}
	}
}

// TestClosedMeanwhile checks that a call holds the lock if and only if it
// returns no error, at whatever moment the handle is closed or its memory
// vanishes.
func TestClosedMeanwhile(t *testing.T) {
	var word, round, closed atomic.Uint32
	m := NewMutex(&word, alone{}, func() error { return nil })
	for what, lock := range map[string]func() (bool, error){
		"Lock":    func() (bool, error) { err := m.Lock(t.Context()); return err == nil, err },
		"TryLock": m.TryLock,
	} {
		for _, before := range []uint32{0, layout.InconsistentBit} {
			ended := make(chan bool)
			go func() {
				defer close(ended)
				for i, looks := uint32(0), 0; ; looks++ {
					switch now := round.Load(); {
					case now != i && now == 0:
						return
					case now != i:
						i = now
						for range i % 500 {
							word.Load()
						}
						m.state.Store(fault.Closed)
						closed.Store(i)
					case looks%1000 == 0:
						runtime.Gosched()
					}
				}
			}()
			wrong := 0
			i := uint32(1)
			for begun := time.Now(); i <= 50_000 && time.Since(begun) < 200*time.Millisecond; i++ {
				m.state.Store(0)
				word.Store(before)
				round.Store(i)
				locked, err := lock()
				if held := word.Load()&layout.IdentMask != 0; held != locked || locked != (err == nil) {
					wrong++
				}
				for looks := 1; closed.Load() != i; looks++ {
					if looks%1000 == 0 {
						runtime.Gosched()
					}
				}
			}
			round.Store(0)
			<-ended
			if wrong != 0 {
				t.Errorf("%s, the word was %#x: wrong in %d of %d calls", what, before, wrong, i)
			}
		}
	}
}

// alone is the Owners of a mutex with one handle.
type alone struct{}

func (alone) Self() uint32      { return 1 }
func (alone) Alive(uint32) bool { return true }

// TestCloseWaits checks that Close waits for a call that has taken the word and
// is about to release it, as it found the handle closed. The call's thread has
// to wait for a processor.
func TestCloseWaits(t *testing.T) {
	m, err := OpenMutex(proctest.Name(t), nil)
	if err != nil {
		t.Fatal(err)
	}
	other, err := OpenMutex(m.name, nil)
	if err != nil {
		t.Fatal(err)
	}
	if !m.word.TryLock() {
		t.Fatal("the word is not free")
	}
	time.AfterFunc(30*time.Millisecond, func() {
		if err := m.acquired(0); !errors.Is(err, fs.ErrClosed) {
			t.Error(err)
		}
	})
	if err := m.Close(); err != nil {
		t.Error(err)
	}
	if locked, err := other.TryLock(); !locked || err != nil {
		t.Errorf("TryLock of another handle: %v, %v", locked, err)
	}
	if err := other.Unlock(); err != nil {
		t.Error(err)
	}
	if err := other.Close(); err != nil {
		t.Error(err)
	}
}

package turn

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/sharedseg/sharedseg/internal/goroutine"
	"github.com/sharedseg/sharedseg/internal/layout"
	"github.com/sharedseg/sharedseg/internal/mapping"
	"github.com/sharedseg/sharedseg/internal/member"
	"github.com/sharedseg/sharedseg/internal/proctest"
)

func TestMain(m *testing.M) { proctest.Main(m, nil) }

var errWithin = errors.New("within")

// newTurn returns the turn of a new handle of a new segment.
func newTurn(t *testing.T) *Turn {
	t.Helper()
	m, err := member.Join(member.CreateOnly, &member.Spec{
		Place: mapping.Place{Name: proctest.Name(t)},
		New: func(page int) (*layout.Geometry, error) {
			g := &layout.Geometry{Kind: layout.KindSegment, Slots: 2, Capacity: 64}
			return g, g.Place(page)
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Leave(false) })
	return New(m, func() error { return nil })
}

// locked fails the test unless the lock is held, or free.
func locked(t *testing.T, turn *Turn, want bool) {
	t.Helper()
	if got := turn.member.OwnsMutex(); got != want {
		t.Errorf("the lock is held: %v, want %v", got, want)
	}
}

func TestLockWithin(t *testing.T) {
	if goroutine.ID() == 0 {
		t.Skip("which goroutine calls is not known on this machine")
	}
	turn := newTurn(t)
	if err := turn.Lock(t.Context(), errWithin); err != nil {
		t.Fatal(err)
	}
	if err := turn.Lock(t.Context(), errWithin); err != errWithin || !turn.Within() {
		t.Errorf("Lock with the lock held: %v; Within: %v", err, turn.Within())
	}
	elsewhere := make(chan bool)
	go func() { elsewhere <- turn.Within() }()
	if <-elsewhere {
		t.Error("Within reports true in another goroutine")
	}
	if err := turn.Unlock(); err != nil || turn.Within() {
		t.Errorf("Unlock: %v; Within afterwards: %v", err, turn.Within())
	}
	locked(t, turn, false)
}

func TestFinish(t *testing.T) {
	turn := newTurn(t)
	lock := func() {
		t.Helper()
		if err := turn.Lock(t.Context(), errWithin); err != nil {
			t.Fatal(err)
		}
	}
	lock()
	failed := errors.New("failed")
	if err := turn.Finish(func() error { turn.Unlock(); return failed }); err != failed {
		t.Errorf("Finish: %v, want %v", err, failed)
	}
	locked(t, turn, false)

	lock()
	func() {
		defer func() { recover() }()
		turn.Finish(func() error { panic("before Unlock") })
	}()
	locked(t, turn, false)

	lock()
	func() {
		defer func() { recover() }()
		turn.Finish(func() error {
			turn.Unlock()
			if !turn.TryLock() { // as another goroutine of the handle would
				t.Error("the lock is not free")
			}
			panic("after Unlock")
		})
	}()
	locked(t, turn, true)
	turn.Unlock()

	lock()
	other := make(chan error)
	func() {
		defer func() { recover() }()
		turn.Finish(func() error {
			turn.Unlock()
			go func() { other <- turn.Lock(context.Background(), errWithin) }()
			if err := <-other; err != nil {
				t.Error(err)
			}
			panic("after Unlock")
		})
	}()
	locked(t, turn, true)
	turn.Unlock()

	lock()
	token := turn.Lend()
	turn.Reclaim(token)
	func() {
		defer func() { recover() }()
		turn.Finish(func() error { panic("after Reclaim") })
	}()
	locked(t, turn, false)
}

func TestLend(t *testing.T) {
	turn, first := lend(t)
	locked(t, turn, true)
	if !turn.Reclaim(first) || turn.Reclaim(first) {
		t.Error("Reclaim does not work exactly once")
	}
	second := turn.Lend()
	if turn.Reclaim(first) {
		t.Error("the first loan's token reclaims the lock from the second")
	}
	if !turn.Reclaim(second) {
		t.Error("Reclaim of the second loan failed")
	}
	turn.Unlock()
	locked(t, turn, false)
}

// lend returns a new turn with the lock lent.
func lend(t *testing.T) (turn *Turn, token uint64) {
	t.Helper()
	turn = newTurn(t)
	if !turn.TryLock() {
		t.Fatal("TryLock failed")
	}
	return turn, turn.Lend()
}

func TestCloseRevokes(t *testing.T) {
	turn, token := lend(t)
	turn.member.BeginClose()
	turn.Close()
	if turn.Reclaim(token) {
		t.Error("Close did not revoke the loan")
	}
	locked(t, turn, !member.Pinning) // if not, Leave releases it
}

func TestCloseWaits(t *testing.T) {
	turn, token := lend(t)
	turn.Reclaim(token)
	turn.member.BeginClose()
	closed := make(chan struct{})
	go func() { defer close(closed); turn.Close() }()
	select {
	case <-closed:
		t.Fatal("Close did not wait for the call that has reclaimed the lock")
	case <-time.After(20 * time.Millisecond):
	}
	turn.Unlock()
	<-closed
}

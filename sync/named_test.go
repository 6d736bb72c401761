package ipcsync_test

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/sharedseg/sharedseg"
	"github.com/sharedseg/sharedseg/codec"
	"github.com/sharedseg/sharedseg/internal/proctest"
	"github.com/sharedseg/sharedseg/segment"
	"github.com/sharedseg/sharedseg/sync"
)

// Two handles of a name exclude each other in one process, too. The race
// detector is told, because it does not see the word.
func TestTwoHandlesOfOneName(t *testing.T) {
	for _, o := range []*ipcsync.Options{nil, {}} {
		name := proctest.Name(t)
		want, got := contend(t, []*ipcsync.Mutex{open(t, name, o), open(t, name, o)}, patient(t))
		if got != want {
			t.Errorf("locked %d times, counted %d", want, got)
		}
	}
}

// The handles that open waits for at the end of each test are counted.
func TestHandlesAreCounted(t *testing.T) {
	name := proctest.Name(t)
	count := func(want int) {
		t.Helper()
		if got := handles(t, name, nil); got != want {
			t.Errorf("%d handles, want %d", got, want)
		}
	}
	count(0)
	m := open(t, name, nil)
	count(1)
	other := open(t, name, nil)
	count(2)
	p := proctest.Start(t, "owner", name)
	p.Expect("locked")
	count(3)
	p.Kill()
	must(t, other.Close())
	proctest.Gone(t, func() bool { return handles(t, name, nil) == 1 })
	must(t, m.Close())
	count(0)
	sharedseg.Remove(name, nil) // it remembers that its owner died
}

func TestHeld(t *testing.T) {
	name := proctest.Name(t)
	a, b := open(t, name, nil), open(t, name, nil)
	must(t, a.Lock(t.Context()))
	if !a.Held() || b.Held() {
		t.Errorf("Held: %v and %v, want true and false", a.Held(), b.Held())
	}
	must(t, a.Unlock())
	if a.Held() {
		t.Error("held after Unlock")
	}
}

// All errors name the operation and the mutex.
func TestErrors(t *testing.T) {
	name := proctest.Name(t)
	m, other := open(t, name, nil), open(t, name, nil)
	closed := open(t, name, nil)
	must(t, closed.Close())
	must(t, other.Lock(t.Context()))
	for _, c := range []struct {
		op    string
		err   error
		cause error
	}{
		{"lock", m.Lock(during(t, time.Millisecond)), context.DeadlineExceeded},
		{"unlock", m.Unlock(), sharedseg.ErrNotOwner},
		{"lock", closed.Lock(t.Context()), fs.ErrClosed},
		{"lock", lockBy("TryLock", closed), fs.ErrClosed},
		{"unlock", closed.Unlock(), fs.ErrClosed},
	} {
		path, ok := errors.AsType[*sharedseg.Error](c.err)
		if !ok || path.Op != c.op || path.Name != name {
			t.Errorf("%#v is not an Error of %s %s", c.err, c.op, name)
		}
		want(t, c.err, c.cause)
	}
	must(t, other.Unlock())
}

func TestBadNamesAndModes(t *testing.T) {
	for _, name := range []string{"", ".", "..", ".hidden", "a/b", "/a", "a b", "a\x00", "ä", strings.Repeat("x", 201)} {
		_, err := ipcsync.OpenMutex(name, nil)
		want(t, err, fs.ErrInvalid)
		if path, ok := errors.AsType[*sharedseg.Error](err); !ok || path.Op != "open" || path.Name != name {
			t.Errorf("%q: %#v", name, err)
		}
	}
	for _, mode := range []fs.FileMode{0o700, 0o060, 0o400, fs.ModeSetuid | 0o600} {
		_, err := ipcsync.OpenMutex(proctest.Name(t), &ipcsync.Options{Mode: mode})
		want(t, err, fs.ErrInvalid)
	}
}

func TestIncompatible(t *testing.T) {
	name := proctest.Name(t)
	open(t, name, &ipcsync.Options{Mode: 0o600})
	_, err := ipcsync.OpenMutex(name, &ipcsync.Options{Persist: true})
	want(t, err, sharedseg.ErrIncompatible)
	if runtime.GOOS != "windows" { // which has no modes
		_, err := ipcsync.OpenMutex(name, &ipcsync.Options{Mode: 0o660})
		want(t, err, sharedseg.ErrIncompatible)
	}
	_, err = segment.Open(name, codec.String(), nil)
	want(t, err, sharedseg.ErrIncompatible)

	name = proctest.Name(t)
	s, err := segment.Open(name, codec.String(), nil)
	must(t, err)
	defer s.Close()
	_, err = ipcsync.OpenMutex(name, nil)
	want(t, err, sharedseg.ErrIncompatible)
}

func TestDoubleClose(t *testing.T) {
	m := open(t, proctest.Name(t), nil)
	for range 3 {
		must(t, m.Close())
	}
}

// Closing a handle that holds the mutex counts as the death of the owner.
func TestCloseWhileHeld(t *testing.T) {
	name := proctest.Name(t)
	repairs := 0
	holds, plain := open(t, name, nil), open(t, name, nil)
	mends := open(t, name, &ipcsync.Options{Repair: func() error { repairs++; return nil }})
	must(t, holds.Lock(t.Context()))
	must(t, holds.Close())
	if holds.Held() {
		t.Error("held after Close")
	}
	want(t, plain.Lock(patient(t)), sharedseg.ErrOwnerDied)
	must(t, mends.Lock(patient(t)))
	must(t, mends.Unlock())
	must(t, plain.Lock(patient(t)))
	must(t, plain.Unlock())
	if repairs != 1 {
		t.Errorf("Repair ran %d times", repairs)
	}
}

// Close ends the waiting calls of its handle. The owner keeps the mutex.
func TestCloseWhileWaiting(t *testing.T) {
	name := proctest.Name(t)
	holds, waits := open(t, name, nil), open(t, name, nil)
	must(t, holds.Lock(t.Context()))
	got := make(chan error)
	for range 3 {
		go func() { got <- waits.Lock(patient(t)) }()
	}
	time.Sleep(10 * time.Millisecond)
	must(t, waits.Close())
	for range 3 {
		want(t, proctest.Receive(t, got), fs.ErrClosed)
	}
	must(t, holds.Unlock())
	must(t, holds.Lock(t.Context()))
	must(t, holds.Unlock())
}

// Calls that run when a handle is closed do what they report, and other handles
// go on.
func TestCloseUnderContention(t *testing.T) {
	name := proctest.Name(t)
	repairs := 0
	stays := open(t, name, &ipcsync.Options{Repair: func() error { repairs++; return nil }})
	for range 50 {
		m := open(t, name, nil)
		got := make(chan error)
		for range 2 {
			go func() {
				for {
					if err := m.Lock(patient(t)); err != nil {
						got <- err
						return
					}
					m.Unlock()
				}
			}()
		}
		for range 20 {
			must(t, stays.Lock(patient(t)))
			must(t, stays.Unlock())
		}
		must(t, m.Close())
		for range 2 {
			want(t, proctest.Receive(t, got), fs.ErrClosed)
		}
		must(t, stays.Lock(patient(t)))
		must(t, stays.Unlock())
	}
	if repairs > 50 {
		t.Errorf("50 handles were closed and Repair ran %d times", repairs)
	}
}

// Persist keeps the mutex after the last handle is closed. The death of an
// owner keeps it in any case, until it is repaired.
func TestPersist(t *testing.T) {
	for _, persist := range []bool{false, true} {
		o := &ipcsync.Options{Dir: proctest.TempDir(t), Persist: persist}
		kept := func(what string, want bool) {
			t.Helper()
			if files, err := os.ReadDir(o.Dir); err != nil || len(files) != 0 != want {
				t.Errorf("Persist is %v: %v after it was %s, %v", persist, files, what, err)
			}
		}
		first := open(t, "m", o)
		must(t, first.Lock(t.Context()))
		must(t, first.Close())
		kept("closed while held", true)
		second := open(t, "m", o)
		want(t, second.Lock(t.Context()), sharedseg.ErrOwnerDied)
		must(t, second.Close())
		kept("not repaired", true)
		want(t, open(t, "m", o).Lock(t.Context()), sharedseg.ErrOwnerDied)
		repairs := open(t, "m", &ipcsync.Options{Dir: o.Dir, Persist: persist, Repair: func() error { return nil }})
		must(t, repairs.Lock(t.Context()))
		must(t, repairs.Unlock())
	}
	for _, persist := range []bool{false, true} {
		o := &ipcsync.Options{Dir: proctest.TempDir(t), Persist: persist}
		m := open(t, "m", o)
		must(t, m.Lock(t.Context()))
		must(t, m.Unlock())
		must(t, m.Close())
		if files, err := os.ReadDir(o.Dir); err != nil || len(files) != 0 != persist {
			t.Errorf("Persist is %v: %v after the last close, %v", persist, files, err)
		}
	}
}

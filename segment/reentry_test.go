package segment_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/sharedseg/sharedseg"
	"github.com/sharedseg/sharedseg/codec"
	"github.com/sharedseg/sharedseg/internal/goroutine"
	"github.com/sharedseg/sharedseg/internal/proctest"
	"github.com/sharedseg/sharedseg/segment"
)

// A context that is done from the beginning ends a call, even if the call would
// not have to wait.
func TestDoneContext(t *testing.T) {
	t.Run("Fixed", func(t *testing.T) { doneContext(t, codec.Fixed[uint64](), nil) })
	t.Run("LockReads", func(t *testing.T) { doneContext(t, codec.Fixed[uint64](), &segment.Options{LockReads: true}) })
	t.Run("JSON", func(t *testing.T) { doneContext(t, codec.JSON[uint64](), nil) })
}

func doneContext(t *testing.T, c codec.Codec[uint64], o *segment.Options) {
	name := proctest.Name(t)
	s := open(t, name, c, o)
	r, err := segment.OpenReader(name, c, nil)
	must(t, err)
	defer r.Close()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for version := range uint64(2) {
		want(t, s.StoreContext(ctx, 9), context.Canceled)
		want(t, s.UpdateContext(ctx, func(*uint64) error { t.Error("Update ran"); return nil }), context.Canceled)
		for _, h := range []readable[uint64]{s, r} {
			v, err := h.LoadContext(ctx)
			want(t, err, context.Canceled)
			if v != 0 {
				t.Errorf("LoadContext = %d beside an error", v)
			}
			_, err = h.Wait(ctx, 0)
			want(t, err, context.Canceled)
			for _, err := range h.Watch(ctx) {
				want(t, err, context.Canceled)
			}
			if h.Version() != version {
				t.Errorf("version %d, want %d", h.Version(), version)
			}
		}
		must(t, s.Store(7))
	}
}

// meddler is a codec whose methods call functions of the test.
type meddler struct{ append, decode func() }

func (*meddler) ID() string { return "test/meddler" }

func (m *meddler) Append(b []byte, v uint64) ([]byte, error) {
	if m.append != nil {
		m.append()
	}
	return fmt.Append(b, v), nil
}

func (m *meddler) Decode(b []byte, v *uint64) error {
	if m.decode != nil {
		m.decode()
	}
	_, err := fmt.Sscan(string(b), v)
	return err
}

// knowsGoroutines skips a test on machines that do not tell which goroutine
// calls.
func knowsGoroutines(t *testing.T) {
	t.Helper()
	if goroutine.ID() == 0 {
		t.Skip("this machine does not tell which goroutine calls")
	}
}

// A call that would wait for its own goroutine returns ErrReentrant at once,
// and the Update in which it was made goes on.
func TestReentrantCalls(t *testing.T) {
	knowsGoroutines(t)
	for _, o := range []*segment.Options{{}, {LockReads: true}} {
		t.Run(fmt.Sprint("LockReads=", o.LockReads), func(t *testing.T) {
			t.Run("Fixed", func(t *testing.T) { reentrantCalls(t, codec.Fixed[uint64](), o) })
			t.Run("JSON", func(t *testing.T) { reentrantCalls(t, codec.JSON[uint64](), o) })
			t.Run("codec", func(t *testing.T) { reentrantCodec(t, o) })
		})
	}
}

// reentrant makes all calls that need the lock while the caller holds it.
func reentrant(t *testing.T, s *segment.Segment[uint64], lockReads bool) {
	t.Helper()
	never := func(*uint64) error { t.Error("Update ran within another"); return nil }
	for what, err := range map[string]error{
		"Store":         s.Store(3),
		"StoreContext":  s.StoreContext(context.Background(), 3),
		"Update":        s.Update(never),
		"UpdateContext": s.UpdateContext(context.Background(), never),
		"Close":         s.Close(),
	} {
		if !errors.Is(err, sharedseg.ErrReentrant) || !strings.Contains(err.Error(), "within an Update") || !strings.Contains(err.Error(), "instead") && what != "Close" {
			t.Errorf("%s: %v", what, err)
		}
	}
	_, loaded := s.Load()
	_, loadedContext := s.LoadContext(context.Background())
	_, loadedInto := s.LoadInto(new(uint64))
	for _, err := range []error{loaded, loadedContext, loadedInto} {
		if lockReads {
			want(t, err, sharedseg.ErrReentrant)
		} else if err != nil {
			t.Errorf("Load: %v", err)
		}
	}
}

func reentrantCalls(t *testing.T, c codec.Codec[uint64], o *segment.Options) {
	name := proctest.Name(t)
	s, err := segment.Open(name, c, o)
	must(t, err)
	proctest.Within(t, "the test", func() {
		// Deep in fn, after its stack has moved, and in a deferred call.
		var deep func(n int) byte
		deep = func(n int) byte {
			var frame [1 << 10]byte
			if n == 0 {
				runtime.GC()
				reentrant(t, s, o.LockReads)
			} else {
				frame[n] = deep(n - 1)
			}
			return frame[n/2]
		}
		if err := s.Update(func(v *uint64) error {
			defer reentrant(t, s, o.LockReads)
			reentrant(t, s, o.LockReads)
			deep(500)
			*v = 1
			return nil
		}); err != nil {
			t.Error(err)
		}
		// fn may ignore such an error.
		err := s.Update(func(v *uint64) error { *v = 2; return s.Store(*v) })
		want(t, err, sharedseg.ErrReentrant)
		if v, err := s.Load(); v != 1 || err != nil || s.Version() != 1 {
			t.Errorf("Load = %d, %v, version %d; want 1, version 1", v, err, s.Version())
		}
		// However an Update ended, the goroutine is not within it any more.
		func() {
			defer func() { recover() }()
			s.Update(func(*uint64) error { panic("fn") })
		}()
		if err := s.Store(4); err != nil {
			t.Error(err)
		}
		exited := make(chan error)
		go func() {
			defer func() { exited <- s.Store(5) }()
			s.Update(func(*uint64) error { runtime.Goexit(); return nil })
		}()
		if err := <-exited; err != nil {
			t.Error(err)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	if _, err := sharedseg.Stat(name, nil); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("after Close: %v", err)
	}
}

// The methods of a codec run with the lock held, too.
func reentrantCodec(t *testing.T, o *segment.Options) {
	c := new(meddler)
	s, err := segment.Open(proctest.Name(t), c, o)
	must(t, err)
	proctest.Within(t, "the test", func() {
		if err := s.Store(1); err != nil {
			t.Error(err)
		}
		calls := 0
		meddle := func(f *func()) func() {
			return func() {
				calls++
				was := *f
				*f = nil // for the calls of Load
				reentrant(t, s, o.LockReads)
				*f = was
			}
		}
		c.append = meddle(&c.append)
		if err := s.Store(2); err != nil {
			t.Error(err)
		}
		c.append, c.decode = nil, meddle(&c.decode)
		if err := s.Update(func(v *uint64) error { *v++; return nil }); err != nil {
			t.Error(err)
		}
		c.decode = nil
		if v, err := s.Load(); v != 3 || err != nil || calls != 2 {
			t.Errorf("Load = %d, %v after %d calls; want 3 after 2", v, err, calls)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
}

// A codec may close the bare mapping that calls it.
func TestBareClosedByCodec(t *testing.T) {
	for _, call := range []string{"Load", "Store"} {
		c := new(meddler)
		b, err := segment.OpenBare(proctest.Name(t), 64, c, nil)
		must(t, err)
		closer := func() {
			if err := b.Close(); err != nil {
				t.Error(err)
			}
		}
		proctest.Within(t, "the test", func() {
			if err := b.Store(1); err != nil {
				t.Error(err)
			}
			if call == "Load" {
				c.decode = closer
				if v, err := b.Load(); v != 1 || err != nil {
					t.Errorf("Load = %d, %v", v, err)
				}
			} else {
				c.append = closer
				want(t, b.Store(2), fs.ErrClosed)
			}
		})
	}
}

// A call that waits for another goroutine is not taken for a reentrant call.
func TestNotReentrant(t *testing.T) {
	a := open(t, proctest.Name(t), codec.Fixed[uint64](), nil)
	b := open(t, proctest.Name(t), codec.Fixed[uint64](), nil)
	proctest.Within(t, "the test", func() {
		// The goroutine is within an Update of a, while another goroutine
		// updates b.
		within, goOn, done := make(chan bool), make(chan bool), make(chan error, 2)
		go func() {
			done <- b.Update(func(v *uint64) error { close(within); <-goOn; *v = 1; return nil })
		}()
		<-within
		err := a.Update(func(v *uint64) error {
			time.AfterFunc(20*time.Millisecond, func() { close(goOn) })
			*v = 1
			return errors.Join(b.Store(2), b.Update(func(v *uint64) error { *v++; return nil }))
		})
		if err := errors.Join(err, <-done); err != nil {
			t.Error(err)
		}
		if v, err := b.Load(); v != 3 || err != nil {
			t.Errorf("Load = %d, %v; want 3", v, err)
		}

		// Another goroutine stores when the Update is done.
		if err := a.Update(func(v *uint64) error {
			go func() { done <- a.Store(7) }()
			time.Sleep(20 * time.Millisecond)
			return nil
		}); err != nil {
			t.Error(err)
		}
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// A wait that would never end ends with its context, and the error names the
// holder of the lock.
func TestWaitsThatContextsEnd(t *testing.T) {
	for _, lockReads := range []bool{false, true} {
		t.Run(fmt.Sprint("LockReads=", lockReads), func(t *testing.T) {
			name := proctest.Name(t)
			o := &segment.Options{LockReads: lockReads}
			s := open(t, name, codec.String(), o)
			other := open(t, name, codec.String(), o)
			check := func(holder string, h *segment.Segment[string]) {
				t.Helper()
				ctx := func() context.Context { return during(t, 20*time.Millisecond) }
				errs := map[string]error{
					"StoreContext":  h.StoreContext(ctx(), "no"),
					"UpdateContext": h.UpdateContext(ctx(), func(*string) error { t.Error("the function ran"); return nil }),
				}
				if lockReads {
					_, errs["LoadContext"] = h.LoadContext(ctx())
				}
				for what, err := range errs {
					want(t, err, context.DeadlineExceeded)
					if err != nil && !strings.HasSuffix(err.Error(), ": context deadline exceeded; held by "+holder) {
						t.Errorf("%s: %v; want: held by %s", what, err, holder)
					}
				}
			}
			proctest.Within(t, "the test", func() {
				if err := s.Update(func(*string) error {
					done := make(chan bool)
					go func() { // fn waits for it
						defer close(done)
						check("this handle", s)
					}()
					<-done
					check(fmt.Sprintf("another handle of this process, %d (a hint)", os.Getpid()), other)
					return nil
				}); err != nil {
					t.Error(err)
				}
			})
			p := proctest.Start(t, "updater", name)
			p.Expect("updating")
			check(fmt.Sprintf("process %d (a hint)", p.Pid()), s)
			p.Say("go on")
			p.Wait()
		})
	}
}

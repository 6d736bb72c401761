package ipcsync_test

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"math/rand/v2"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/sharedseg/sharedseg"
	"github.com/sharedseg/sharedseg/codec"
	"github.com/sharedseg/sharedseg/internal/proctest"
	"github.com/sharedseg/sharedseg/segment"
	"github.com/sharedseg/sharedseg/sync"
)

// opens opens a lock of each kind.
var opens = map[sharedseg.Kind]func(name string, o *ipcsync.Options) (io.Closer, error){
	sharedseg.KindMutex:   func(name string, o *ipcsync.Options) (io.Closer, error) { return ipcsync.OpenMutex(name, o) },
	sharedseg.KindRWMutex: func(name string, o *ipcsync.Options) (io.Closer, error) { return ipcsync.OpenRWMutex(name, o) },
	sharedseg.KindSemaphore: func(name string, o *ipcsync.Options) (io.Closer, error) {
		return ipcsync.OpenSemaphore(name, 2, o)
	},
	sharedseg.KindCond: func(name string, o *ipcsync.Options) (io.Closer, error) {
		m, err := ipcsync.OpenMutex(name+".m", o)
		if err != nil {
			return nil, err
		}
		c, err := ipcsync.OpenCond(name, m, o)
		if err != nil {
			return nil, errors.Join(err, m.Close())
		}
		return place{c, m}, nil
	},
	sharedseg.KindEvent: func(name string, o *ipcsync.Options) (io.Closer, error) { return ipcsync.OpenEvent(name, o) },
}

// a returns the kind with its article.
func a(kind sharedseg.Kind) string {
	if kind == sharedseg.KindRWMutex || kind == sharedseg.KindEvent {
		return "an " + string(kind)
	}
	return "a " + string(kind)
}

// Opening a lock as another kind fails with an error that names both, and Stat
// reports the kind. All kinds take the Options of a Mutex.
func TestKinds(t *testing.T) {
	for kind, open := range opens {
		t.Run(string(kind), func(t *testing.T) {
			name, o := "lock", &ipcsync.Options{Dir: proctest.TempDir(t)}
			c, err := open(name, o)
			must(t, err)
			info, err := sharedseg.Stat(name, o.Place())
			if err != nil || info.Kind != kind || info.Writers != 1 || info.Persist {
				t.Errorf("Stat = %+v, %v", info, err)
			}
			for other, open := range opens {
				if other == kind {
					continue
				}
				_, err := open(name, o)
				want(t, err, sharedseg.ErrIncompatible, "it is "+a(kind)+", not "+a(other))
			}
			_, err = segment.Open(name, codec.String(), &segment.Options{Dir: o.Dir})
			want(t, err, sharedseg.ErrIncompatible, "it is "+a(kind)+", not a segment")
			_, err = open(name, &ipcsync.Options{Dir: o.Dir, Persist: true})
			want(t, err, sharedseg.ErrIncompatible)
			must(t, c.Close())
			must(t, c.Close())
			if _, err := sharedseg.Stat(name, o.Place()); !errors.Is(err, fs.ErrNotExist) {
				t.Error("the last Close left it:", err)
			}
			c, err = open(name, &ipcsync.Options{Dir: o.Dir, Persist: true})
			must(t, err)
			must(t, c.Close())
			if info, err := sharedseg.Stat(name, o.Place()); err != nil || !info.Persist {
				t.Errorf("Stat = %+v, %v", info, err)
			}
			must(t, sharedseg.Remove(name, o.Place()))
			_, err = open("no name", nil)
			want(t, err, fs.ErrInvalid)
		})
	}
}

// Close may be called concurrently with any other call. Later calls return
// fs.ErrClosed, and no call waits for ever.
func TestCloseOthersRace(t *testing.T) {
	for range kills() {
		name := proctest.Name(t)
		rw, err := ipcsync.OpenRWMutex(name+".rw", &ipcsync.Options{Repair: nothing})
		must(t, err)
		s, err := ipcsync.OpenSemaphore(name+".s", 2, nil)
		must(t, err)
		p, err := openPlace(name, nothing)
		must(t, err)
		e, err := ipcsync.OpenEvent(name+".e", nil)
		must(t, err)
		ctx := context.Background()
		calls := []func() error{
			func() error { return errors.Join(rw.RLock(ctx), rw.RUnlock()) },
			func() error { return errors.Join(rw.Lock(ctx), rw.Unlock()) },
			func() error { return errors.Join(s.Acquire(ctx, 1), s.Release(1)) },
			func() error { return errors.Join(s.Acquire(ctx, 2), s.Release(2)) },
			func() error { return p.waits(ctx) },
			func() error { return errors.Join(p.Signal(), p.Broadcast()) },
			func() error { return e.Wait(ctx) },
			func() error { return errors.Join(e.Set(), e.Reset()) },
		}
		var all sync.WaitGroup
		for _, call := range calls {
			all.Go(func() {
				for ; ; runtime.Gosched() { // otherwise Close waits for the time slices of all calls
					if err := call(); err != nil {
						if !errors.Is(err, fs.ErrClosed) {
							t.Error(err)
						}
						return
					}
				}
			})
		}
		time.Sleep(time.Duration(rand.IntN(3000)) * time.Microsecond)
		for _, c := range []io.Closer{rw, s, p.Cond, p.m, e} {
			for range 2 {
				all.Go(func() {
					if err := c.Close(); err != nil {
						t.Error(err)
					}
				})
			}
		}
		all.Wait()
		if err := sharedseg.Remove(name+".rw", nil); !errors.Is(err, fs.ErrNotExist) { // a writer can have died with it
			must(t, err)
		}
	}
}

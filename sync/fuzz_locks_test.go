package ipcsync_test

import (
	"context"
	"errors"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/sharedseg/sharedseg"
	"github.com/sharedseg/sharedseg/internal/layout"
	"github.com/sharedseg/sharedseg/internal/proctest"
	"github.com/sharedseg/sharedseg/sync"
)

// FuzzLocks calls the other locks while a peer writes into their words: the
// mutex word, the event counts, the words of the wait page, the rows, and the
// words that tell which rows are used. Each two bytes of the script are a patch
// and a call. Whatever the words are, a call ends with its context and returns
// a documented error.
func FuzzLocks(f *testing.F) {
	f.Add([]byte{0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7}, uint64(0), uint64(1))
	f.Add([]byte{3, 0, 3, 1, 3, 2, 3, 3, 3, 4, 3, 5}, uint64(math.MaxUint64), uint64(layout.NewHolding(layout.NewIdent(0, 1), 9)))
	f.Add([]byte{4, 0, 5, 1, 0, 2, 2, 3, 1, 4, 6, 5, 4, 6, 5, 7}, uint64(layout.WaitersBit|5), uint64(layout.InconsistentBit))
	f.Add([]byte{3, 8, 2, 9, 3, 10, 1, 11, 4, 12, 0, 13}, uint64(layout.NewHolding(layout.NewIdent(0, 1), layout.MaxHolding)), uint64(3<<17|1))
	f.Fuzz(func(t *testing.T, script []byte, first, second uint64) {
		dir := proctest.TempDir(t)
		o := &ipcsync.Options{Dir: dir, Repair: func() error { return nil }}
		rw, err := ipcsync.OpenRWMutex("rw", o)
		must(t, err)
		s, err := ipcsync.OpenSemaphore("s", 3, o)
		must(t, err)
		m, err := ipcsync.OpenMutex("m", o)
		must(t, err)
		c, err := ipcsync.OpenCond("c", m, o)
		must(t, err)
		e, err := ipcsync.OpenEvent("e", o)
		must(t, err)
		mems := map[string]patched{}
		for _, name := range []string{"rw", "s", "c", "e"} {
			mems[name] = openPatched(t, filepath.Join(dir, name))
		}
		known := func(err error) {
			t.Helper()
			for _, target := range []error{
				nil, context.DeadlineExceeded, sharedseg.ErrNotOwner, sharedseg.ErrOwnerDied, sharedseg.ErrCorrupt,
				fs.ErrClosed, fs.ErrInvalid,
			} {
				if errors.Is(err, target) {
					return
				}
			}
			t.Fatalf("an undocumented error: %v", err)
		}
		calls := []func(ctx context.Context) error{
			func(ctx context.Context) error { return rw.RLock(ctx) },
			func(context.Context) error { return rw.RUnlock() },
			func(ctx context.Context) error { return rw.Lock(ctx) },
			func(context.Context) error { return rw.Unlock() },
			func(context.Context) error { _, err := rw.TryLock(); return err },
			func(context.Context) error { _, err := rw.TryRLock(); return err },
			func(ctx context.Context) error { return s.Acquire(ctx, 2) },
			func(context.Context) error { _, err := s.TryAcquire(1); return err },
			func(context.Context) error { return s.Release(1) },
			func(ctx context.Context) error {
				if err := m.Lock(ctx); err != nil {
					return err
				}
				err := c.Wait(ctx)
				if err == nil {
					return m.Unlock()
				}
				return err
			},
			func(context.Context) error { return c.Signal() },
			func(context.Context) error { return c.Broadcast() },
			func(context.Context) error { return e.Set() },
			func(context.Context) error { e.IsSet(); return e.Reset() },
			func(ctx context.Context) error { return e.Wait(ctx) },
		}
		for i := 0; i+1 < min(len(script), 24); i += 2 {
			for _, p := range mems {
				p.patch(script[i], []uint64{first, second, first ^ second}[i/2%3])
			}
			// Signal and the other calls without a context wait for the owner
			// of a mutex word.
			for _, p := range mems {
				p.free()
			}
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Millisecond)
			known(calls[int(script[i+1])%len(calls)](ctx))
			cancel()
		}
		for _, p := range mems {
			p.free()
			must(t, p.f.Close()) // otherwise Windows keeps the file
		}
		for _, c := range []interface{ Close() error }{e, c, m, s, rw} {
			known(c.Close())
		}
	})
}

// patched is the file of a lock, into which a peer writes.
type patched struct{ f *os.File }

func openPatched(t *testing.T, path string) patched {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	must(t, err)
	t.Cleanup(func() { f.Close() })
	return patched{f}
}

// patch writes v to one of the words.
func (p patched) patch(where byte, v uint64) {
	head := make([]byte, layout.HeadSize)
	n, _ := p.f.ReadAt(head, 0)
	info, err := p.f.Stat()
	if err != nil {
		return
	}
	g, err := layout.Read(head[:n], info.Size())
	if err != nil {
		return
	}
	page, _ := g.WaitPage()
	off := []int{
		layout.MutexOff, page + 64, page + 128, page + 256, page + 768, page + 776,
		page + g.PageSize(), page + g.PageSize() + 8*(1<<9), page + 128 + 4,
	}[int(where)%9]
	b := make([]byte, 8)
	for i := range b {
		b[i] = byte(v >> (8 * i))
	}
	if where >= 128 {
		b = b[:4]
	}
	if off < int(info.Size()) {
		p.f.WriteAt(b, int64(off))
	}
}

// free clears the mutex word if its owner is alive. Such an owner is this
// process, and a call would wait for it for ever.
func (p patched) free() {
	var word [4]byte
	p.f.ReadAt(word[:], layout.MutexOff)
	if word[0] == 0 && word[1]&0xfc == 4 || word[0] == 0 && word[1] == 4 {
		p.f.WriteAt(make([]byte, 4), layout.MutexOff)
	}
}

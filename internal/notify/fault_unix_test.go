//go:build unix

package notify

import (
	"errors"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"
	"unsafe"

	"github.com/sharedseg/sharedseg/internal/fault"
	"github.com/sharedseg/sharedseg/internal/park"
	"github.com/sharedseg/sharedseg/internal/proctest"
	"golang.org/x/sys/unix"
)

// If the file under a word is truncated, the waits for that word end, and no
// others. The system does not tell a thread that waits for several words which
// of them vanished.
func TestVanished(t *testing.T) {
	each(t, func(t *testing.T, kind string, set *set) {
		if set.words() == 1 {
			// A plain futex cannot be kicked if its memory vanished, so the
			// wait ends at the limit.
			set.first, set.last = 10*time.Millisecond, 100*time.Millisecond
		}
		path := filepath.Join(t.TempDir(), "f")
		page := os.Getpagesize()
		if err := os.WriteFile(path, make([]byte, page), 0o600); err != nil {
			t.Fatal(err)
		}
		f, err := os.OpenFile(path, os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		mem, err := unix.Mmap(int(f.Fd()), 0, page, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
		if err != nil {
			t.Fatal(err)
		}
		region := fault.Watch(mem)
		defer func() {
			region.Forget()
			unix.Munmap(mem)
		}()
		if region.Guarded() {
			proctest.NeedsFaultAddress(t)
		}
		words := (*[2]atomic.Uint32)(unsafe.Pointer(unsafe.SliceData(mem)))
		s := Source{Word: &words[0], Flag: &words[1], Sleep: park.NewBroadcast(&words[0], nil), Use: region.Guard}
		if kind == "no flag" {
			s.Flag = nil
		}
		const others = 3 * fewThreads // so that each thread has several words
		var ns []*Notifier
		var vs []*variable
		var results []<-chan error
		wait := func(count int) {
			for range count {
				v := newVariable()
				n := newIn(set, v.source(kind))
				ns, vs, results = append(ns, n), append(vs, v), append(results, v.waiting(t, t.Context(), n))
			}
		}
		wait(others / 2)
		n := newIn(set, s)
		vanished := make(chan error, 2)
		for range 2 {
			go func() { vanished <- n.Wait(t.Context(), func() bool { return words[0].Load() != 0 }) }()
		}
		eventually(t, "they wait", func() bool {
			n.mu.Lock()
			defer n.mu.Unlock()
			waiting := n.subscribers.Load()
			if n.solo != nil {
				waiting++
			}
			return waiting == 2
		})
		wait(others / 2)
		// The race detector's atomic operations are in C, where a fault ends
		// the process. No goroutine may be in one.
		if set.words() > 0 && kind != "no flag" {
			proctest.Parked(t, ".(*Sleeper).Sleep")
		}
		if err := f.Truncate(0); err != nil {
			t.Fatal(err)
		}
		// Any wake-up of the threads makes them find out.
		n.mu.Lock()
		if n.solo != nil {
			n.solo.Kick()
		}
		if n.owner != nil {
			n.owner.kick()
		}
		n.mu.Unlock()
		for range 2 {
			expect(t, vanished, fault.ErrLost)
		}
		if err := n.Wait(t.Context(), func() bool { return false }); !errors.Is(err, fault.ErrLost) {
			t.Errorf("a later wait: %v", err)
		}
		n.Close()
		for i := range ns {
			select {
			case err := <-results[i]:
				t.Fatalf("a wait for another word ended: %v", err)
			default:
			}
			vs[i].publish()
			expect(t, results[i], nil)
			ns[i].Close()
		}
	})
}

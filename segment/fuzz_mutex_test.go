//go:build unix && !aix

package segment_test

import (
	"context"
	"errors"
	"path/filepath"
	"testing"

	"github.com/sharedseg/sharedseg"
	"github.com/sharedseg/sharedseg/sync"
)

// FuzzLiveMutex plays scripts on a named mutex with two open handles.
func FuzzLiveMutex(f *testing.F) {
	dir := tmpfs(f)
	o := &ipcsync.Options{Dir: dir, Repair: func() error { return nil }}
	var handles [2]*ipcsync.Mutex
	for i := range handles {
		m, err := ipcsync.OpenMutex("m", o)
		must(f, err)
		f.Cleanup(func() { m.Close() })
		handles[i] = m
	}
	peer := mapped(f, filepath.Join(dir, "m"), 2)
	for _, beside := range []bool{false, true} {
		f.Add(beside, []byte{0, 6, 4, 2, 4, 8, 10, 18, 16})
		f.Add(beside, []byte{1, 0xE1, 0, 0, 2, 4, 6})                     // a live owner
		f.Add(beside, []byte{1, 0xE1, 0xC1, 8, 0, 4})                     // with flags
		f.Add(beside, []byte{1, 0x81, 9, 2, 4, 1, 0x81, 10, 0, 4, 14})    // flags alone
		f.Add(beside, []byte{0, 1, 0x83, 0, 0, 8, 2, 4})                  // the owner's generation
		f.Add(beside, []byte{0, 1, 0x90, 96, 11, 12, 1, 0x83, 2, 14, 12}) // rotor
	}
	f.Fuzz(func(t *testing.T, beside bool, in []byte) {
		watched(t, func() {
			copy(peer.mem, peer.good)
			s := script(in)
			stop := func() {}
			if beside {
				stop = peer.scribble(&s)
			}
			for steps, blocked := 0, 0; len(s) > 0 && steps < 16 && blocked < 2; steps++ {
				op := s.byte()
				if op&1 != 0 && !beside {
					p := s.patch(peer.fields)
					p.apply(peer.mem)
					continue
				}
				m := handles[op>>4%2]
				var err error
				ctx, cancel := context.WithTimeout(t.Context(), brief)
				switch op >> 1 & 7 {
				case 0, 1:
					err = m.Lock(ctx)
					expect(t, "Lock", err, context.DeadlineExceeded, sharedseg.ErrNotOwner, sharedseg.ErrOwnerDied)
				case 2:
					expect(t, "Unlock", m.Unlock(), sharedseg.ErrNotOwner)
				case 3:
					m.Held()
				case 4, 5:
					_, e := m.TryLock()
					expect(t, "TryLock", e, sharedseg.ErrNotOwner, sharedseg.ErrOwnerDied)
				case 6, 7:
					other, e := ipcsync.OpenMutex("m", o)
					expect(t, "OpenMutex", e, sharedseg.ErrCorrupt, sharedseg.ErrIncompatible)
					if e == nil {
						err = other.Lock(ctx)
						expect(t, "Lock", err, context.DeadlineExceeded, sharedseg.ErrNotOwner, sharedseg.ErrOwnerDied)
						expect(t, "Close", other.Close())
					}
				}
				cancel()
				if errors.Is(err, context.DeadlineExceeded) {
					blocked++
				}
			}
			stop()
			copy(peer.mem, peer.good)
			for _, m := range handles {
				if err := errors.Join(m.Lock(t.Context()), m.Unlock()); err != nil {
					t.Fatal("after the script: ", err)
				}
			}
		})
	})
}

package member

import (
	"errors"
	"io/fs"
	"os"
	"sync"
	"time"

	"github.com/sharedseg/sharedseg/internal/layout"
	"github.com/sharedseg/sharedseg/internal/mapping"
)

// Processes that are killed leave their mappings behind, with their memory,
// until somebody opens the names again. Nobody may ever do that, so a process
// that takes shared memory also gives back, in the background, what the dead
// have left.

// Sweep removes a mapping that nobody is attached to and that is not there to
// persist, and reports whether it did. It passes over what is busy, what is no
// mapping, what is gone, and what this process may not open: none of that is an
// error.
func Sweep(p *mapping.Place) (bool, error) { return ifDead(p, sweep) }

// Leftover reports whether Sweep would remove a mapping.
func Leftover(p *mapping.Place) (bool, error) { return ifDead(p, leftover) }

// ifDead calls do for a mapping that can be had, with the registry locked.
func ifDead(p *mapping.Place, do func(*mapping.Object) (bool, error)) (bool, error) {
	if err := p.Check(); err != nil || !p.Lasting() {
		return false, err
	}
	// One that somebody opens or closes is in use; but it may also be somebody
	// who looks for what to sweep.
	for tries := 0; ; tries++ {
		obj, busy, err := mapping.TryEnter(p)
		if busy && tries < 20 {
			time.Sleep(time.Millisecond)
			continue
		}
		if obj == nil {
			if isPermission(err) || errors.Is(err, fs.ErrNotExist) || errors.Is(err, layout.ErrIncompatible) {
				err = nil
			}
			return false, err
		}
		defer leave(obj)
		return do(obj)
	}
}

// leftover is Leftover for an object whose registry lock is held.
func leftover(obj *mapping.Object) (bool, error) {
	attached, err := obj.AnyHeld()
	if err != nil || attached {
		return false, err
	}
	// Only now: somebody who was attached could have locked the mutex and died
	// after it was read.
	buf := heads.Get().(*[layout.HeadSize]byte)
	defer heads.Put(buf)
	n, err := obj.ReadAt(buf[:], 0)
	return err == nil && layout.IsMarked(buf[:n]) && !kept(buf[:n]), err
}

// sweep is Sweep for an object whose registry lock is held.
func sweep(obj *mapping.Object) (bool, error) {
	if dead, err := leftover(obj); err != nil || !dead {
		return false, err
	}
	if err := unlink(obj); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			err = nil
		}
		return false, err
	}
	return true, nil
}

// kept reports whether a mapping of ours that begins with head is to stay
// although nobody is attached: it persists, or it is a mutex that has to tell
// its next user that an owner died. Only Remove takes such a one away.
func kept(head []byte) bool {
	ready, err := layout.Ready(head)
	return err != nil || ready && layout.Persists(head) || layout.Dirty(head)
}

// What the sweep of a process may come to.
const (
	sweepEntries = 4096
	sweepTime    = 100 * time.Millisecond
)

var swept sync.Once

// sweepBehind has this process sweep the place of its first new mapping, in the
// background. It does so once, and in the platform's shared memory only: a
// directory is the caller's own affair.
func sweepBehind(p *mapping.Place) {
	if p.Dir != "" || !p.Lasting() {
		return
	}
	swept.Do(func() {
		if os.Getenv("SHAREDSEG_SWEEP") != "off" {
			go sweepAll(mapping.Place{}, sweepEntries, sweepTime)
		}
	})
}

// sweepAll sweeps what this user's processes have left at a place. It looks at
// so many entries of it at most, for so long at most. Those that are busy, or
// make trouble, it leaves to the next.
func sweepAll(p mapping.Place, entries int, limit time.Duration) {
	deadline := time.Now().Add(limit)
	for name := range mapping.Leavings(&p, entries) {
		if time.Now().After(deadline) {
			return
		}
		p.Name = name
		if obj, _, _ := mapping.TryEnter(&p); obj != nil {
			sweep(obj)
			leave(obj)
		}
	}
}

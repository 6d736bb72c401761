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

// Killed processes leave their mappings, with their memory, until the names are
// opened again, which may never happen. So a process that creates a mapping
// also removes, in the background, what dead processes have left.

// Sweep removes a mapping that does not persist and to which no handle is
// attached, and reports whether it did. It skips, without an error, a mapping
// that is in use, a file that is not a mapping, a name that does not exist, and
// a file that this process may not open.
func Sweep(p *mapping.Place) (bool, error) { return ifDead(p, sweep) }

// Leftover reports whether Sweep would remove a mapping.
func Leftover(p *mapping.Place) (bool, error) { return ifDead(p, leftover) }

// ifDead calls do for a mapping whose registry it can lock.
func ifDead(p *mapping.Place, do func(*mapping.Object) (bool, error)) (bool, error) {
	if err := p.Check(); err != nil || !p.Lasting() {
		return false, err
	}
	// A busy mapping is in use, unless the other handle is just another sweep.
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

// leftover is Leftover for an object whose registry is locked.
func leftover(obj *mapping.Object) (bool, error) {
	attached, err := obj.AnyHeld()
	if err != nil || attached {
		return false, err
	}
	// The mutex word is read after that: a handle that was attached could have
	// locked the mutex and died in between.
	buf := heads.Get().(*[layout.HeadSize]byte)
	defer heads.Put(buf)
	n, err := obj.ReadAt(buf[:], 0)
	return err == nil && layout.IsMarked(buf[:n]) && !kept(buf[:n]), err
}

// sweep is Sweep for an object whose registry is locked.
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

// kept reports whether a mapping with the first bytes head stays although no
// handle is attached: it persists, or it must tell its next user that an owner
// died. Only Remove removes it.
func kept(head []byte) bool {
	ready, err := layout.Ready(head)
	return err != nil || ready && layout.Persists(head) || layout.Dirty(head)
}

// The limits of the sweep of a process.
const (
	sweepEntries = 4096
	sweepTime    = 100 * time.Millisecond
)

var swept sync.Once

// sweepBehind makes this process sweep the place of its first new mapping, in
// the background. It does so once, and only in the platform's shared memory: a
// directory is the caller's own.
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
// most at the given number of entries, and at most for the given time. It skips
// mappings that are busy or cause an error.
func sweepAll(p mapping.Place, entries int, limit time.Duration) {
	for name := range mapping.Leavings(&p, entries, time.Now().Add(limit)) {
		p.Name = name
		if obj, _, _ := mapping.TryEnter(&p); obj != nil {
			sweep(obj)
			leave(obj)
		}
	}
}

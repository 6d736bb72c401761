// Package fault keeps a process alive when mapped memory vanishes under it: a
// peer truncates the file, its storage fails, or its file system is full where
// the file is sparse. Each access raises SIGBUS from then on.
//
// A region is trapped or guarded, which is decided when it is watched. In a
// trapped region accesses need no care: a signal handler sets Lost in the
// region's state, maps private zeros over what has vanished, and lets the
// access run again. A caller looks at the state once, after its last access.
// If Lost is set, what it read may have been zeros, and what it wrote is gone.
// In a guarded region each access is inside Guard, where a fault is a panic
// that is recovered.
//
// The trap is for Linux on amd64, arm64, 386 and riscv64, and only where the
// process's handler of SIGBUS is the Go runtime's. The environment variable
// SHAREDSEG_TRAP=off turns it off for a process. A handler that is installed
// after a region is watched, and does not call the former one, takes the trap
// away from it.
package fault

import (
	"errors"
	"runtime"
	"runtime/debug"
	"sync/atomic"
	"unsafe"

	"github.com/sharedseg/sharedseg/internal/fence"
)

// Bits of a State.
const (
	Lost   = 1 << iota // some of the memory is, or was, gone
	Closed             // set by whoever owns the region, when its handle is closed
)

// ErrLost is returned by Guard if some of the region has vanished.
var ErrLost = errors.New("the mapped memory has vanished")

// Region is mapped memory whose file may be truncated, or whose storage may
// fail, under its users.
type Region struct {
	lo, hi  uintptr
	state   *atomic.Uint32
	entry   *entry // in the table of the trap; nil if the region is not trapped
	guarded bool
	own     atomic.Uint32
}

// Watch begins to watch mem, a mapping that is page aligned, before its first
// access. The region is guarded where the trap cannot be had: not on this
// platform, turned off, another handler of SIGBUS, or too many regions.
func Watch(mem []byte) *Region {
	lo := uintptr(unsafe.Pointer(unsafe.SliceData(mem)))
	r := &Region{lo: lo, hi: lo + uintptr(len(mem)), guarded: true}
	r.state = &r.own
	if e := enter(r.lo, r.hi); e != nil {
		r.entry, r.state, r.guarded = e, &e.state, false
	}
	return r
}

// Stable returns a region of memory that cannot vanish. It needs neither trap
// nor guard.
func Stable() *Region {
	r := new(Region)
	r.state = &r.own
	return r
}

// State returns the word that has the bits Lost and Closed. It is the same word
// always, and the region's until Forget. A call looks at it once, after its
// last access to the memory, with fence.LoadLoad between the two. Loads that
// are atomic need no fence.
func (r *Region) State() *atomic.Uint32 { return r.state }

// Guarded reports whether each access has to be inside Guard.
func (r *Region) Guarded() bool { return r.guarded }

// Guard runs f, which touches the memory, and returns f's error, or ErrLost if
// Lost is set after it. If the region is guarded, f ends where it touches
// memory that has vanished; if it is trapped, f runs on with zeros. Other
// panics, faults outside of the region included, go on to the caller. f must
// not copy parts of a guarded region over each other: on x86 such a copy may
// run backwards, and the Go runtime panics with the direction flag set.
func (r *Region) Guard(f func() error) error {
	if r.guarded {
		return r.guard(f)
	}
	err := f()
	if r.lost() {
		return ErrLost
	}
	return err
}

func (r *Region) guard(f func() error) (err error) {
	old, returned := debug.SetPanicOnFault(true), false
	defer func() {
		debug.SetPanicOnFault(old)
		if !returned {
			r.absorb(recover())
		}
		if r.lost() {
			err = ErrLost
		}
	}()
	err = f()
	returned = true
	return err
}

// absorb sets Lost if p, which was recovered, is a fault in the region. Any
// other panic goes on. There is none if the goroutine exits.
func (r *Region) absorb(p any) {
	f, ok := p.(interface {
		runtime.Error
		Addr() uintptr
	})
	switch {
	case ok && r.lo <= f.Addr() && f.Addr() < r.hi:
		r.state.Or(Lost)
	case p != nil:
		panic(p)
	}
}

// lost looks at the state behind what was loaded from the memory: Lost is set
// before zeros can be seen.
func (r *Region) lost() bool {
	fence.LoadLoad()
	return r.state.Load()&Lost != 0
}

// Forget ends the watch. It is called once, right before the memory is
// unmapped, when nobody may touch it any more. The state may be another
// region's afterwards.
func (r *Region) Forget() {
	if r.entry != nil {
		leave(r.entry)
	}
}

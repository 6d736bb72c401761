// Package fault keeps a process alive when mapped memory vanishes. Memory
// vanishes when a peer truncates the file, when the storage fails, or when the
// file is sparse and its file system is full. From then on each access raises
// SIGBUS.
//
// Watch decides whether a region is trapped or guarded.
//
//   - In a trapped region accesses need no care. A signal handler sets Lost in
//     the region's state, maps private zeros over the memory that has vanished,
//     and lets the access run again.
//   - In a guarded region each access must be inside Guard, where a fault is a
//     panic that is recovered.
//
// In both cases a caller loads the state once, after its last access. If Lost
// is set, what it read may have been zeros, and what it wrote is gone.
//
// Invariants: Lost is set before any zero can be seen, and never cleared while
// the region is watched. A fault outside of the watched regions, and every
// other signal or panic, has the effect that it would have without this
// package.
//
// The trap exists on Linux on amd64, arm64, 386 and riscv64. It is used only if
// the process's handler of SIGBUS is that of the Go runtime, and unless the
// environment variable SHAREDSEG_TRAP is "off". A handler that is installed
// after a region is watched, and that does not call the former one, disables
// the trap for that region.
//
// docs/design.md, "Memory that vanishes", explains both methods.
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
	Lost   = 1 << iota // some of the memory has vanished
	Closed             // set by the owner of the region when its handle is closed
)

// ErrLost is returned by Guard if some of the region has vanished.
var ErrLost = errors.New("the mapped memory has vanished")

// Region is mapped memory that may vanish while it is in use.
type Region struct {
	lo, hi  uintptr
	state   *atomic.Uint32
	entry   *entry // in the table of the trap; nil if not trapped
	guarded bool
	own     atomic.Uint32
}

// Watch begins to watch mem, a page-aligned mapping, before its first access.
// The region is guarded if it cannot be trapped: the platform has no trap, the
// trap is turned off, the process has another handler of SIGBUS, or there are
// too many regions.
func Watch(mem []byte) *Region {
	lo := uintptr(unsafe.Pointer(unsafe.SliceData(mem)))
	r := &Region{lo: lo, hi: lo + uintptr(len(mem)), guarded: true}
	r.state = &r.own
	if e := enter(r.lo, r.hi); e != nil {
		r.entry, r.state, r.guarded = e, &e.state, false
	}
	return r
}

// Stable returns a region of memory that cannot vanish. It is neither trapped
// nor guarded.
func Stable() *Region {
	r := new(Region)
	r.state = &r.own
	return r
}

// State returns the word with the bits Lost and Closed. It is always the same
// word, and belongs to the region until Forget. A call loads it once, after its
// last access to the memory, with a fence.LoadLoad between the two. After
// atomic loads no fence is needed.
func (r *Region) State() *atomic.Uint32 { return r.state }

// Guarded reports whether each access must be inside Guard.
func (r *Region) Guarded() bool { return r.guarded }

// Guard runs f, which accesses the memory. It returns f's error, or ErrLost if
// Lost is set afterwards. In a guarded region, f ends when it touches memory
// that has vanished. In a trapped region, f continues with zeros. Other panics,
// including those of faults outside of the region, are not recovered. f must
// not copy parts of a guarded region over each other: on x86 such a copy may
// run backwards, and a fault in it would panic with the direction flag set.
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

// absorb sets Lost if p, a recovered value, is a fault in the region. Any other
// panic continues. p is nil if the goroutine exits.
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

// lost reports whether Lost is set. It orders the state after earlier loads
// from the memory, as Lost is set before zeros can be seen.
func (r *Region) lost() bool {
	fence.LoadLoad()
	return r.state.Load()&Lost != 0
}

// Forget ends the watch. It must be called once, right before the memory is
// unmapped, when nothing can touch the memory any more. Afterwards the state
// may belong to another region.
func (r *Region) Forget() {
	if r.entry != nil {
		leave(r.entry)
	}
}

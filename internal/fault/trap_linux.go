//go:build (amd64 || arm64 || 386 || riscv64) && !sharedseg_portable

package fault

import (
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The trap is a handler of SIGBUS in assembly that is installed in front of the
// Go runtime's. It looks for the fault's address in a table of regions. If it
// finds the address, it sets Lost in the region's state, maps zeros from the
// faulting page to the region's end and returns. The instruction then runs
// again. For any other signal it jumps to the runtime's handler, with all
// registers and the stack unchanged, so that this one finds what it would have
// found without the trap.
//
// The handler can run on any thread, with any g or none, between any two
// instructions. So it calls no Go code, takes no lock, and reads nothing in the
// Go heap. An entry is retired in two steps: leave makes live even and then
// waits until busy is 0. The handler raises busy and then checks live again. So
// when leave returns, no handler maps anything at the region's addresses, which
// may then be reused.
//
// If the kernel cannot map the zeros, because memory is not overcommitted or
// the process has no mappings left, the signal goes to the runtime's handler.
// The process then ends as it would without the trap.

// maxRegions is the maximum number of regions. A process cannot have more
// mappings unless vm.max_map_count has been raised from 65530.
const maxRegions = 1 << 16

// table is the data of the handler. It has no pointers, so the garbage
// collector does not scan this global, and its pages cost nothing until they
// are used.
type table struct {
	next     uintptr // the handler for all other signals
	pageMask uintptr
	used     atomic.Uint32 // entries below this index are, or were, in use
	_        [cacheLine - 2*unsafe.Sizeof(uintptr(0)) - 4]byte
	entries  [maxRegions]entry
}

// entry is a region in the table. It has a cache line to itself, as each call
// loads its state.
type entry struct {
	lo, hi uintptr       // bounds in whole pages
	live   atomic.Uint32 // odd while the entry is in use; different for each use
	busy   atomic.Uint32 // number of handlers that use the entry
	state  atomic.Uint32
	_      [cacheLine - 2*unsafe.Sizeof(uintptr(0)) - 12]byte
}

const cacheLine = 64

// siginfo is the beginning of the kernel's siginfo_t for SIGBUS.
type siginfo struct {
	signo, errno, code int32
	addr               uintptr
}

// Constants for the handler. The zeros are writable whatever the region's
// protection was: parts of some regions are writable, and a write to a lost
// region must not raise another signal.
const (
	sigBus    = uintptr(unix.SIGBUS)
	busAdrErr = 2 // BUS_ADRERR: not from kill(2), not a hardware error
	zeroProt  = unix.PROT_READ | unix.PROT_WRITE
	zeroFlags = unix.MAP_PRIVATE | unix.MAP_ANON | unix.MAP_FIXED | unix.MAP_NORESERVE
)

var (
	regions table

	// mu guards the table, except for the words that the handler changes.
	mu        sync.Mutex
	free      []*entry // retired entries below regions.used
	installed uintptr  // the trap's handler, once it has been installed
)

// handlerPC returns the handler's address. It is written in assembly, as Go
// code would get the address of a wrapper.
func handlerPC() uintptr

var turnedOff = sync.OnceValue(func() bool { return os.Getenv("SHAREDSEG_TRAP") == "off" })

// enter adds a region to the table. It returns nil if the region cannot be
// trapped.
func enter(lo, hi uintptr) *entry {
	if turnedOff() {
		return nil
	}
	mu.Lock()
	defer mu.Unlock()
	if !install() {
		return nil
	}
	page := ^regions.pageMask + 1
	hi = (hi + page - 1) & regions.pageMask
	if lo&^regions.pageMask != 0 || lo >= hi {
		return nil
	}
	e := newEntry()
	if e == nil {
		return nil
	}
	e.state.Store(0)
	e.lo, e.hi = lo, hi
	e.live.Add(1)
	return e
}

// newEntry returns an entry that is not in use, or nil if there is none left.
func newEntry() *entry {
	if k := len(free); k > 0 {
		e := free[k-1]
		free = free[:k-1]
		return e
	}
	i := regions.used.Load()
	if i == maxRegions {
		return nil
	}
	regions.used.Store(i + 1)
	return &regions.entries[i]
}

// leave removes a region from the table.
func leave(e *entry) {
	mu.Lock()
	defer mu.Unlock()
	e.live.Add(1)
	for e.busy.Load() != 0 {
		runtime.Gosched()
	}
	free = append(free, e)
}

// verdict says what to do with the process's action for SIGBUS.
type verdict int

const (
	refuse verdict = iota // leave it alone: no trap
	active                // it is the trap
	put                   // install the trap in front of it
)

// judge decides by the action that is in place now, by the trap's handler (0 if
// it was never in place), and by the handler in front of which the trap was
// installed. The trap is installed only in front of the Go runtime's handler:
// the purpose of another handler is not known here.
func judge(act sigaction, trap, former uintptr) verdict {
	switch {
	case act.flags&(saSigInfo|saOnStack|saResetHand) != saSigInfo|saOnStack:
		return refuse // not as the runtime installs its handler
	case trap != 0 && act.handler == trap:
		return active
	case trap != 0 && act.handler != former:
		// The handler that replaced the trap may call it. Another trap in front
		// of that handler would make an endless loop.
		return refuse
	case isRuntimes(act.handler):
		return put
	}
	return refuse // also for SIG_DFL and SIG_IGN
}

// isRuntimes reports whether a handler is one of the Go runtime's.
func isRuntimes(handler uintptr) bool {
	f := runtime.FuncForPC(handler)
	return f != nil && f.Entry() == handler &&
		(strings.HasPrefix(f.Name(), "runtime.sigtramp") || strings.HasPrefix(f.Name(), "runtime.cgoSigtramp"))
}

// install installs the trap if it is not in place, and reports whether it is in
// place. It asks the kernel each time, as other code may have replaced the
// trap.
func install() bool {
	var act sigaction
	if rtSigaction(nil, &act) != nil {
		return false
	}
	switch judge(act, installed, regions.next) {
	case active:
		return true
	case refuse:
		return false
	}
	// Both are set before the handler can read them. A later install stores the
	// same values again.
	regions.next = act.handler
	regions.pageMask = ^uintptr(os.Getpagesize() - 1)
	// The mask and the flags stay, so that the runtime's handler has the mask
	// and the stack that it expects.
	act.handler = handlerPC()
	if rtSigaction(&act, nil) != nil {
		return false
	}
	installed = act.handler
	return true
}

// Flags of an action. They are the same on all architectures that have the
// trap.
const (
	saSigInfo   = 0x00000004
	saOnStack   = 0x08000000
	saResetHand = 0x80000000
)

// rtSigaction is rt_sigaction(2) for SIGBUS. It does not use libc, which would
// set its own restorer.
func rtSigaction(act, old *sigaction) error {
	_, _, e := unix.RawSyscall6(unix.SYS_RT_SIGACTION, sigBus, uintptr(unsafe.Pointer(act)),
		uintptr(unsafe.Pointer(old)), unsafe.Sizeof(act.mask), 0, 0)
	if e != 0 {
		return e
	}
	return nil
}

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

// The trap is a handler of SIGBUS, in assembly, in front of the Go runtime's.
// It looks for the fault's address in a table of regions. If it is there, the
// handler sets Lost in the region's state, maps zeros from the faulting page to
// the region's end and returns, and the instruction runs again. Any other
// signal goes to the runtime's handler by a jump, with registers and stack as
// they came, so that it finds what it would have found without the trap.
//
// The handler runs on any thread, with any g or none, between any two
// instructions of anybody: it calls no Go code, takes no lock, and what it
// reads is not in the Go heap. An entry is taken out of use in two steps. leave
// makes live even, and then waits until busy is 0; the handler raises busy, and
// then looks at live again. So when leave returns, no handler maps anything at
// the region's addresses, which may become somebody else's.
//
// If the kernel has no zeros to map, as where memory is not overcommitted or
// the process has no mappings left, the signal goes to the runtime's handler,
// and the process ends as it would without the trap.

// maxRegions is what a process can have mapped: vm.max_map_count is 65530,
// unless raised.
const maxRegions = 1 << 16

// table is what the handler reads. It has no pointers: it is a global that the
// garbage collector does not scan, and whose pages cost nothing before they are
// touched.
type table struct {
	next     uintptr // the handler that others' signals go to
	pageMask uintptr
	used     atomic.Uint32 // entries below are, or were, in use
	_        [cacheLine - 2*unsafe.Sizeof(uintptr(0)) - 4]byte
	entries  [maxRegions]entry
}

// entry is a region in the table, a cache line each, as its state is looked at
// in each call.
type entry struct {
	lo, hi uintptr       // whole pages
	live   atomic.Uint32 // odd while the entry is in use; each use has other values
	busy   atomic.Uint32 // handlers that are at work on it
	state  atomic.Uint32
	_      [cacheLine - 2*unsafe.Sizeof(uintptr(0)) - 12]byte
}

const cacheLine = 64

// siginfo is the beginning of the kernel's siginfo_t for SIGBUS.
type siginfo struct {
	signo, errno, code int32
	addr               uintptr
}

// What the handler compares and passes with. The zeros may be written whatever
// the region's protection was: some regions are writable in part, and a write
// to one that is lost must not be another signal.
const (
	sigBus    = uintptr(unix.SIGBUS)
	busAdrErr = 2 // BUS_ADRERR: not kill(2), not the hardware
	zeroProt  = unix.PROT_READ | unix.PROT_WRITE
	zeroFlags = unix.MAP_PRIVATE | unix.MAP_ANON | unix.MAP_FIXED | unix.MAP_NORESERVE
)

var (
	regions table

	// mu is held to change the table, but for the words that the handler
	// changes.
	mu        sync.Mutex
	free      []*entry // below regions.used
	installed uintptr  // the trap's handler, once it has been in place
)

// handlerPC is the handler's address. It is taken in assembly, as Go code would
// get a wrapper's.
func handlerPC() uintptr

var turnedOff = sync.OnceValue(func() bool { return os.Getenv("SHAREDSEG_TRAP") == "off" })

// enter enters a region in the table. It returns nil if the region cannot be
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

// newEntry returns an entry that is not in use, or nil if there is none.
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

// leave takes a region out of the table.
func leave(e *entry) {
	mu.Lock()
	defer mu.Unlock()
	e.live.Add(1)
	for e.busy.Load() != 0 {
		runtime.Gosched()
	}
	free = append(free, e)
}

// verdict is what is to be done with the process's action for SIGBUS.
type verdict int

const (
	refuse verdict = iota // leave it alone: no trap
	active                // it is the trap
	put                   // put the trap in front of it
)

// judge decides, from the action that is in place now, the trap's handler, or 0
// if it never was in place, and the one that the trap was put in front of. It
// is the Go runtime's own handler only: whoever installs another one has plans
// for SIGBUS that are not known here.
func judge(act sigaction, trap, former uintptr) verdict {
	switch {
	case act.flags&(saSigInfo|saOnStack|saResetHand) != saSigInfo|saOnStack:
		return refuse // not as the runtime installs its handler
	case trap != 0 && act.handler == trap:
		return active
	case trap != 0 && act.handler != former:
		// Who replaced the trap may call it: in front of it again, it would be
		// a circle.
		return refuse
	case isRuntimes(act.handler):
		return put
	}
	return refuse // SIG_DFL and SIG_IGN included
}

// isRuntimes reports whether a handler is the Go runtime's.
func isRuntimes(handler uintptr) bool {
	f := runtime.FuncForPC(handler)
	return f != nil && f.Entry() == handler &&
		(strings.HasPrefix(f.Name(), "runtime.sigtramp") || strings.HasPrefix(f.Name(), "runtime.cgoSigtramp"))
}

// install puts the trap in place, or finds that it is, and reports whether it
// is. It asks the kernel each time, as others may have replaced it.
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
	// They are set before the handler can read them, and do not change: the
	// next time, next is the same.
	regions.next = act.handler
	regions.pageMask = ^uintptr(os.Getpagesize() - 1)
	// The rest stays, so that the runtime's handler has the mask and the stack
	// that it expects.
	act.handler = handlerPC()
	if rtSigaction(&act, nil) != nil {
		return false
	}
	installed = act.handler
	return true
}

// Flags of an action, the same on all platforms that are here.
const (
	saSigInfo   = 0x00000004
	saOnStack   = 0x08000000
	saResetHand = 0x80000000
)

// rtSigaction is rt_sigaction(2) for SIGBUS, without libc, which would put a
// restorer of its own.
func rtSigaction(act, old *sigaction) error {
	_, _, e := unix.RawSyscall6(unix.SYS_RT_SIGACTION, sigBus, uintptr(unsafe.Pointer(act)),
		uintptr(unsafe.Pointer(old)), unsafe.Sizeof(act.mask), 0, 0)
	if e != 0 {
		return e
	}
	return nil
}

//go:build linux && !sharedseg_portable

package park

import (
	"runtime"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The operations are not FUTEX_PRIVATE_FLAG ones: the kernel then finds the word by its file and offset, so
// that processes that map it at different addresses meet (futex(2)).
const (
	futexWait = 0
	futexWake = 1
)

// Wait sleeps while the word is old, until a Wake, for at most limit. It blocks its thread.
func Wait(word *atomic.Uint32, old uint32, limit time.Duration) {
	ts := unix.NsecToTimespec(max(limit, 0).Nanoseconds())
	unix.Syscall6(unix.SYS_FUTEX, uintptr(unsafe.Pointer(word)), futexWait, uintptr(old), uintptr(unsafe.Pointer(&ts)), 0, 0)
	runtime.KeepAlive(word)
}

// Wake wakes up to n sleepers on word, in all processes. It does not block.
func Wake(word *atomic.Uint32, n int) {
	unix.RawSyscall6(unix.SYS_FUTEX, uintptr(unsafe.Pointer(word)), futexWake, uintptr(n), 0, 0, 0)
	runtime.KeepAlive(word)
}

//go:build linux && !sharedseg_portable

package park

import (
	"os"
	"runtime"
	"sync/atomic"
	"time"
	"unsafe"

	"github.com/sharedseg/sharedseg/internal/kernel"
	"golang.org/x/sys/unix"
)

// The operations do not have FUTEX_PRIVATE_FLAG. The kernel then identifies the
// word by its file and offset, so they work between processes that map it at
// different addresses (futex(2)).
const (
	futexWait = 0
	futexWake = 1

	all = 1<<31 - 1
)

// Queue is a place to sleep where one sleeper is woken at a time. Its methods
// may be called concurrently.
type Queue struct{ futex }

// NewQueue returns the queue of threads that sleep on word. part identifies the
// word within its family.
func NewQueue(word *atomic.Uint32, _ *kernel.Family, part string) *Queue { return &Queue{futex{word}} }

// Wake wakes one sleeper of any process. It does not block.
func (q *Queue) Wake() { q.wake(1) }

// KickAtEnd calls Kick when the process with that ID, in this process's PID
// namespace, has exited, and repeats it from time to time until stop is called.
// It does nothing if there is no such process, or if the kernel (before Linux
// 5.10) does not support it. It uses a file descriptor until stop is called.
func (q *Queue) KickAtEnd(pid uint32) (stop func()) {
	if int(pid) == os.Getpid() {
		return func() {}
	}
	fd, err := unix.PidfdOpen(int(int32(pid)), unix.PIDFD_NONBLOCK)
	if err != nil {
		return func() {}
	}
	process := os.NewFile(uintptr(fd), "pidfd")
	stopped := make(chan struct{})
	go func() {
		conn, err := process.SyscallConn()
		if err != nil {
			return
		}
		// This wait does not block a thread.
		err = conn.Read(func(fd uintptr) bool {
			n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 0)
			return n > 0 || err != nil && err != unix.EINTR
		})
		// A Kick has no effect on threads that are about to sleep, so repeat
		// it. The pauses grow, because the word may have another owner by then,
		// which is alive.
		for pause := time.Millisecond; err == nil; pause *= 2 {
			q.Kick()
			select {
			case <-stopped:
				return
			case <-time.After(pause):
			}
		}
	}()
	return func() {
		close(stopped)
		process.Close()
	}
}

type futex struct{ word *atomic.Uint32 }

// Wait sleeps while the word is old, until it is woken, for at most limit. It
// blocks its thread.
func (f futex) Wait(old uint32, limit time.Duration) {
	ts := unix.NsecToTimespec(max(limit, 0).Nanoseconds())
	unix.Syscall6(unix.SYS_FUTEX, uintptr(unsafe.Pointer(f.word)), futexWait, uintptr(old), uintptr(unsafe.Pointer(&ts)), 0, 0)
	runtime.KeepAlive(f.word)
}

func (f futex) wake(n int) {
	unix.RawSyscall6(unix.SYS_FUTEX, uintptr(unsafe.Pointer(f.word)), futexWake, uintptr(n), 0, 0, 0)
	runtime.KeepAlive(f.word)
}

// Kick wakes all sleepers, those of this handle among them.
func (f futex) Kick() { f.wake(all) }

// Close does nothing.
func (f futex) Close() {}

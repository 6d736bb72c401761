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

// The operations are not FUTEX_PRIVATE_FLAG ones: the kernel then finds the
// word by its file and offset, so that processes that map it at different
// addresses meet (futex(2)).
const (
	futexWait = 0
	futexWake = 1

	all = 1<<31 - 1
)

// Queue is a place to sleep where one sleeper is woken at a time. Its methods
// may be called concurrently.
type Queue struct{ futex }

// NewQueue returns the queue of those who sleep on word. part tells the words
// of a family apart.
func NewQueue(word *atomic.Uint32, _ *kernel.Family, part string) *Queue { return &Queue{futex{word}} }

// Wake wakes one sleeper, of whichever process. It does not block.
func (q *Queue) Wake() { q.wake(1) }

// KickAtEnd kicks when the process of that ID, in this process's PID namespace,
// has ended, and then now and again until stop is called. There may be none, or
// the kernel (before Linux 5.10) may not tell; then it does nothing. Until stop
// it holds a descriptor.
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
		// A goroutine that waits so blocks no thread.
		err = conn.Read(func(fd uintptr) bool {
			n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 0)
			return n > 0 || err != nil && err != unix.EINTR
		})
		// A kick is lost on those who are about to sleep. They grow rare, as
		// the owner may be another, who lives.
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

//go:build linux && !sharedseg_portable

package park

import (
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"

	"github.com/sharedseg/sharedseg/internal/kernel"
	"golang.org/x/sys/unix"
)

// Broadcast is a word on which all sleepers are woken. Its methods may be
// called concurrently.
type Broadcast struct{ futex }

// NewBroadcast returns the broadcast to threads that sleep on word.
func NewBroadcast(word *atomic.Uint32, _ *kernel.Family) *Broadcast { return &Broadcast{futex{word}} }

// Wake wakes all sleepers of all processes. It does not block.
func (b *Broadcast) Wake(old uint32) { b.wake(all) }

// Changed does nothing, because Wake wakes all sleepers, whatever they saw.
func (b *Broadcast) Changed(old uint32) {}

// Spot is where one thread sleeps on the word of a Broadcast. The zero Spot is
// ready for Prepare.
type Spot struct {
	word *atomic.Uint32
	old  uint32
}

// Prepare makes the next Sleep on s end when b's word is not old. It reports
// whether the word is still old.
func (s *Spot) Prepare(b *Broadcast, old uint32) bool {
	s.word, s.old = b.word, old
	return true // the kernel compares the word before it puts the thread to sleep
}

// Close frees what Prepare created. No thread may sleep on s.
func (s *Spot) Close() { s.word = nil }

// waitv is struct futex_waitv of futex_waitv(2).
type waitv struct {
	val, addr       uint64
	flags, reserved uint32
}

const (
	futexPrivate = 0x80 // FUTEX_PRIVATE_FLAG, FUTEX2_PRIVATE
	futex32      = 0x02 // FUTEX_32, FUTEX2_SIZE_U32

	maxWaitv = 128 // FUTEX_WAITV_MAX

	lastPause = time.Millisecond
)

// Words returns the number of Spots that a Sleeper can sleep on at once. It is
// 1 if the kernel (before Linux 5.16), or a filter of its system calls, lacks
// futex_waitv.
func Words() int { return words() }

var words = sync.OnceValue(func() int {
	word := new(uint32)
	v := waitv{val: 1, addr: address(unsafe.Pointer(word)), flags: futex32 | futexPrivate}
	// The word is not 1, so this does not sleep.
	_, _, err := unix.Syscall6(unix.SYS_FUTEX_WAITV, uintptr(unsafe.Pointer(&v)), 1, 0, 0, unix.CLOCK_MONOTONIC, 0)
	runtime.KeepAlive(word)
	if err == unix.EAGAIN {
		return maxWaitv - 1
	}
	return 1
})

func address(p unsafe.Pointer) uint64 { return uint64(uintptr(p)) }

// Sleeper lets a thread sleep on several Spots. Kick may be called concurrently
// with Sleep, but only one goroutine at a time may call Sleep.
//
// A Sleeper for one Spot uses a plain futex, for kernels without futex_waitv.
// It can miss a Kick that comes just before it sleeps, so callers that depend
// on Kick must repeat it.
type Sleeper struct {
	kicked atomic.Uint32 // 1 after a Kick; a word to sleep on
	single bool
	word   atomic.Pointer[atomic.Uint32] // on which a single Sleeper sleeps
	vector []waitv
	until  struct{ sec, nsec int64 } // struct __kernel_timespec
	limit  unix.Timespec
	failed bool // whether the last Sleep failed, at once
}

// NewSleeper returns a Sleeper for at most words Spots at once.
func NewSleeper(words int) *Sleeper { return &Sleeper{single: words == 1} }

// Sleep sleeps until one of the words differs from what its Spot was prepared
// for, or is woken, or until Kick, for at most limit. It reports whether it
// reached limit. It blocks its thread. If the memory of a word has vanished, it
// returns at once.
func (s *Sleeper) Sleep(on []*Spot, limit time.Duration) (expired bool) {
	limit = max(limit, 0)
	var err syscall.Errno
	if s.single {
		err = s.sleepOne(on[0], limit)
	} else {
		err = s.sleepAny(on, limit)
	}
	s.kicked.Store(0)
	switch err {
	case 0, unix.EAGAIN, unix.EINTR:
		s.failed = false
	case unix.ETIMEDOUT:
		s.failed = false
		return true
	default:
		// Callers usually find out why when they access their words. A caller
		// that does not access the word that vanished must not spin.
		if s.failed {
			time.Sleep(min(limit, lastPause))
		}
		s.failed = true
	}
	return false
}

func (s *Sleeper) sleepOne(on *Spot, limit time.Duration) syscall.Errno {
	s.word.Store(on.word)
	defer s.word.Store(nil)
	if s.kicked.Load() != 0 {
		return 0
	}
	s.limit = unix.NsecToTimespec(limit.Nanoseconds())
	_, _, err := unix.Syscall6(unix.SYS_FUTEX, uintptr(unsafe.Pointer(on.word)), futexWait, uintptr(on.old),
		uintptr(unsafe.Pointer(&s.limit)), 0, 0)
	return err
}

func (s *Sleeper) sleepAny(on []*Spot, limit time.Duration) syscall.Errno {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err != nil {
		return unix.EINVAL
	}
	until := now.Nano() + limit.Nanoseconds()
	if until < 0 { // it overflowed
		until = 1<<63 - 1
	}
	s.until.sec, s.until.nsec = until/1e9, until%1e9
	s.vector = s.vector[:0]
	for _, spot := range on {
		s.vector = append(s.vector, waitv{val: uint64(spot.old), addr: address(unsafe.Pointer(spot.word)), flags: futex32})
	}
	s.vector = append(s.vector, waitv{addr: address(unsafe.Pointer(&s.kicked)), flags: futex32 | futexPrivate})
	_, _, err := unix.Syscall6(unix.SYS_FUTEX_WAITV, uintptr(unsafe.Pointer(unsafe.SliceData(s.vector))), uintptr(len(s.vector)), 0,
		uintptr(unsafe.Pointer(&s.until)), unix.CLOCK_MONOTONIC, 0)
	runtime.KeepAlive(on)
	runtime.KeepAlive(s)
	return err
}

// Kick ends the current Sleep, or the next one if no thread sleeps.
func (s *Sleeper) Kick() {
	if s.single {
		s.kicked.Store(1)
		if word := s.word.Load(); word != nil {
			futex{word}.wake(all)
		}
		return
	}
	if s.kicked.Swap(1) == 0 { // otherwise another Kick has woken it, or will
		unix.RawSyscall6(unix.SYS_FUTEX, uintptr(unsafe.Pointer(&s.kicked)), futexWake|futexPrivate, 1, 0, 0, 0)
		runtime.KeepAlive(s)
	}
}

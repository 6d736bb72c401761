//go:build windows

package park

import (
	"runtime"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"

	"github.com/sharedseg/sharedseg/internal/kernel"
	"github.com/sharedseg/sharedseg/internal/layout"
	"golang.org/x/sys/windows"
)

// WaitOnAddress does not work across processes, so threads wait on named events
// of the mapping's family. A word without a family is polled.

// Queue is a place to sleep where one sleeper is woken at a time. Its methods
// may be called concurrently.
//
// All sleepers wait on one auto-reset event. If it is set while no thread
// sleeps, it stays set, so no wake-up is lost between loading the word and the
// sleep. They also wait on an event of the handle, for Kick. If the word is a
// mutex's, they also wait on the kernel mutex that its owner holds while it is
// alive, and that the kernel releases when the owner exits.
type Queue struct {
	word   *atomic.Uint32
	family *kernel.Family
	part   string
	once   sync.Once
	usable atomic.Bool
	woken  windows.Handle
	kick   windows.Handle
}

// NewQueue returns the queue of threads that sleep on word. part identifies the
// word within its family.
func NewQueue(word *atomic.Uint32, family *kernel.Family, part string) *Queue {
	return &Queue{word: word, family: family, part: part}
}

// ready creates the events in its first call, and reports whether they exist.
func (q *Queue) ready() bool {
	q.once.Do(func() {
		if q.family == nil {
			return
		}
		var err error
		if q.kick, err = windows.CreateEvent(nil, 0, 0, nil); err != nil {
			return
		}
		q.woken, _, err = q.family.Event(q.part, false)
		q.usable.Store(err == nil)
	})
	return q.usable.Load()
}

// Wait sleeps while the word is old, for at most limit. It ends when it is
// woken and, if the word is a mutex's, when the handle that old names is gone.
// It blocks its thread.
func (q *Queue) Wait(old uint32, limit time.Duration) {
	if !q.ready() {
		pollWord(q.word, old, limit)
		return
	}
	if q.word.Load() != old {
		return
	}
	if q.part != MutexPart {
		wait(limit, q.woken, q.kick)
		return
	}
	part := kernel.MemberPart(layout.Owner(old).Slot())
	owner, err := q.family.OpenMutex(part)
	if err != nil {
		wait(limit, q.woken, q.kick)
		return
	}
	defer windows.CloseHandle(owner)
	// If the wait makes this thread the owner of that mutex, this thread must
	// release it.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if wait(limit, q.woken, q.kick, owner) == 2 {
		if dying, _ := q.family.Release(owner, part); dying {
			wait(min(limit, time.Millisecond), q.woken, q.kick)
		}
	}
}

// Wake wakes one sleeper of any process. It does not block.
func (q *Queue) Wake() {
	if q.ready() {
		windows.SetEvent(q.woken)
	}
}

// KickAtEnd does nothing, because Wait itself ends when the owner exits.
func (q *Queue) KickAtEnd(uint32) (stop func()) { return func() {} }

// Kick wakes one of the threads that sleep through this handle.
func (q *Queue) Kick() {
	if q.usable.Load() {
		windows.SetEvent(q.kick)
	}
}

// Close frees the events.
func (q *Queue) Close() {
	q.once.Do(func() {})
	q.usable.Store(false)
	for _, h := range []*windows.Handle{&q.woken, &q.kick} {
		if *h != 0 {
			windows.CloseHandle(*h)
			*h = 0
		}
	}
}

var procWait = windows.NewLazySystemDLL("kernel32.dll").NewProc("WaitForMultipleObjects")

// wait waits until one of the objects is signalled, and returns its index. It
// returns -1 after limit.
func wait(limit time.Duration, objects ...windows.Handle) int {
	ms := uint32(min(max(limit+time.Millisecond-1, 0)/time.Millisecond, 1<<30))
	// windows.WaitForMultipleObjects does not keep its slice in place when the
	// stack moves.
	e, _, _ := procWait.Call(uintptr(len(objects)), uintptr(unsafe.Pointer(&objects[0])), 0, uintptr(ms))
	for i := range objects {
		if e == uintptr(windows.WAIT_OBJECT_0+i) || e == uintptr(windows.WAIT_ABANDONED+i) {
			return i
		}
	}
	return -1
}

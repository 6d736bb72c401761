//go:build windows

package park

import (
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"

	"github.com/sharedseg/sharedseg/internal/kernel"
	"github.com/sharedseg/sharedseg/internal/layout"
	"golang.org/x/sys/windows"
)

// WaitOnAddress does not cross processes, so processes wait on named events of the mapping's family. Each handle also
// has an event of its own, with which it ends its own waits. A word without a family is looked at now and then.

// Queue is a place to sleep where one sleeper is woken at a time. Its methods may be called concurrently.
//
// All sleepers wait on one event that resets itself: set while nobody sleeps it stays set, so no wake-up is lost
// between a look at the word and the sleep. They also wait on the mutex that the owner of the mutex word is
// alive by, which the kernel lets go of when the owner ends.
type Queue struct {
	sleeper
	unlocked windows.Handle
}

// NewQueue returns the queue of those who sleep on word.
func NewQueue(word *atomic.Uint32, family *kernel.Family) *Queue {
	return &Queue{sleeper: sleeper{word: word, family: family}}
}

func (q *Queue) ready() bool {
	return q.sleeper.ready(func() (err error) {
		q.unlocked, _, err = q.family.Event("unlocked", false)
		return err
	})
}

// Wait sleeps while the word is old, until it is woken or the handle that old names ends, for at most limit. It
// blocks its thread.
func (q *Queue) Wait(old uint32, limit time.Duration) {
	if !q.ready() {
		pollWord(q.word, old, limit)
		return
	}
	if q.word.Load() != old {
		return
	}
	part := kernel.MemberPart(layout.Owner(old).Slot())
	owner, err := q.family.OpenMutex(part)
	if err != nil {
		wait(limit, q.unlocked, q.kick)
		return
	}
	defer windows.CloseHandle(owner)
	// If the wait makes this thread the owner of that mutex, the same thread must let it go.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if wait(limit, q.unlocked, q.kick, owner) == 2 {
		if dying, _ := q.family.Release(owner, part); dying {
			wait(min(limit, time.Millisecond), q.unlocked, q.kick)
		}
	}
}

// Wake wakes one sleeper, of whichever process. It does not block.
func (q *Queue) Wake() {
	if q.ready() {
		windows.SetEvent(q.unlocked)
	}
}

// KickAtEnd does nothing: Wait itself ends with the owner.
func (q *Queue) KickAtEnd(uint32) (stop func()) { return func() {} }

// Close frees the events.
func (q *Queue) Close() { q.close(&q.unlocked) }

// Crowd is a place to sleep where all are woken. Its methods may be called concurrently.
//
// Those who sleep because the word is v wait on an event that is for v alone and is never reset: whoever changes
// the word from v sets it if there is one. So no wake-up is lost between a look at the word and the sleep, and
// nobody can be kept from it by others who wait again already.
type Crowd struct{ sleeper }

// NewCrowd returns the crowd of those who sleep on word.
func NewCrowd(word *atomic.Uint32, family *kernel.Family) *Crowd {
	return &Crowd{sleeper{word: word, family: family}}
}

func newsPart(v uint32) string { return "news" + strconv.FormatUint(uint64(v), 10) }

func (c *Crowd) ready() bool { return c.sleeper.ready(func() error { return nil }) }

// Wait sleeps while the word is old, until it is woken, for at most limit. It blocks its thread.
func (c *Crowd) Wait(old uint32, limit time.Duration) {
	if c.ready() {
		changed, _, err := c.family.Event(newsPart(old), true)
		if err == nil {
			if c.word.Load() == old {
				wait(limit, changed, c.kick)
			}
			windows.CloseHandle(changed)
			return
		}
	}
	pollWord(c.word, old, limit)
}

// Wake wakes all who sleep because the word was old. It does not block.
func (c *Crowd) Wake(old uint32) {
	if c.family != nil {
		c.family.Set(newsPart(old))
	}
}

// Close frees the events.
func (c *Crowd) Close() { c.close() }

// sleeper is what Queue and Crowd have in common.
type sleeper struct {
	word   *atomic.Uint32
	family *kernel.Family
	once   sync.Once
	usable atomic.Bool
	kick   windows.Handle // wakes those who sleep through this handle
}

// ready makes the events, the others with more, at the first call, and reports whether there are any.
func (s *sleeper) ready(more func() error) bool {
	s.once.Do(func() {
		if s.family == nil {
			return
		}
		var err error
		if s.kick, err = windows.CreateEvent(nil, 0, 0, nil); err != nil {
			return
		}
		s.usable.Store(more() == nil)
	})
	return s.usable.Load()
}

// Kick wakes one of those who sleep through this handle.
func (s *sleeper) Kick() {
	if s.usable.Load() {
		windows.SetEvent(s.kick)
	}
}

func (s *sleeper) close(others ...*windows.Handle) {
	s.once.Do(func() {})
	s.usable.Store(false)
	for _, h := range append(others, &s.kick) {
		if *h != 0 {
			windows.CloseHandle(*h)
			*h = 0
		}
	}
}

var procWait = windows.NewLazySystemDLL("kernel32.dll").NewProc("WaitForMultipleObjects")

// wait waits until one of the objects is signalled and returns its index, -1 after limit.
func wait(limit time.Duration, objects ...windows.Handle) int {
	ms := uint32(min(max(limit+time.Millisecond-1, 0)/time.Millisecond, 1<<30))
	// Not windows.WaitForMultipleObjects: it does not keep its slice in place when the stack moves.
	e, _, _ := procWait.Call(uintptr(len(objects)), uintptr(unsafe.Pointer(&objects[0])), 0, uintptr(ms))
	for i := range objects {
		if e == uintptr(windows.WAIT_OBJECT_0+i) || e == uintptr(windows.WAIT_ABANDONED+i) {
			return i
		}
	}
	return -1
}

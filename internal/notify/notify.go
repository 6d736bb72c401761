// Package notify waits for words in shared memory to change, on behalf of any
// number of goroutines and handles of this process, with a bounded number of
// threads.
//
// Each word has a flag beside it that tells publishers, in all processes,
// whether any thread is parked on the word. A publication without waiters
// therefore makes no system call. A waiter loads the word, sets the flag,
// checks for what it waits for, and parks while the word is unchanged. It does
// this in the same order each time. A publisher clears the flag, publishes,
// loads the flag again, and wakes all waiters if the flag was set either time.
// So no flag is missed: if it is cleared before the publication, the waiter
// that set it sees the change or is woken after it; if it is set later, it
// stays set for the next publisher. Since each publisher clears the flag, a
// waiter that died causes at most one needless wake-up.
//
// Which thread parks for which goroutine is decided within each process: see
// set.
package notify

import (
	"io/fs"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sharedseg/sharedseg/internal/park"
	"github.com/sharedseg/sharedseg/internal/step"
)

// Source is what a Notifier waits for.
type Source struct {
	// Word changes with each event, after the event has become visible. Threads
	// park on it.
	Word *atomic.Uint32
	// Flag is not 0 if a thread is parked, or may be. It is nil if this process
	// must not write it: the Notifier then polls, and cannot publish.
	Flag *atomic.Uint32
	// OnDemand says that publishers need not change Word unless they find Flag
	// set after the event has become visible. Flag must not be nil then.
	OnDemand bool
	// Sleep is the broadcast to threads that sleep on Word.
	Sleep *park.Broadcast
	// Use calls f, which uses Word and Flag, while their memory is mapped. If
	// Use returns an error, because the memory vanished or the handle is
	// closed, all waits end with that error. Use may be called concurrently. It
	// refers to whatever has the memory, which is therefore reachable while
	// Word and Flag are used. A clean-up of that may unmap the memory.
	Use func(f func() error) error
	// Count, if not nil, is called once by each Wait that does not find at once
	// what it waits for.
	Count func()
}

// Notifier notifies the goroutines of this process of the events of one Source.
// Its methods may be called concurrently.
type Notifier struct {
	src Source
	set *set

	policy spinPolicy
	waits  atomic.Int64 // number of Waits under way
	ended  atomic.Bool  // whether failed is set

	mu          sync.Mutex
	subscribers atomic.Int32  // changes under mu
	changed     chan struct{} // closed at the next change; nil without subscribers
	failed      error         // the error with which all waits end
	solo        *park.Sleeper // of a waiter that parks for itself
	owner       owner         // watches the word for the subscribers; nil if there is none

	// Used by the owner only.
	seen  uint32 // the word at its last look
	moved bool   // whether that look found a change
	spot  park.Spot

	arm, rearm, poll func() error // for Use
}

// An owner watches the words of Notifiers for their subscribers. Each Notifier
// has at most one owner.
type owner interface {
	kick() // makes it check whether its Notifiers still have subscribers
}

// New returns a Notifier of s.
func New(s Source) *Notifier { return newIn(&process, s) }

func newIn(set *set, s Source) *Notifier { return &Notifier{src: s, set: set} }

// Disarm clears the flag before a publication, and reports whether it was set.
func (n *Notifier) Disarm() (armed bool) { return n.src.Flag.Load() != 0 && n.src.Flag.Swap(0) != 0 }

// Notify wakes the waiters of all processes after a publication, if Disarm
// found the flag set or it is set again. old is the word before the
// publication. There must be an atomic read-modify-write operation, such as an
// unlock, between the change of the word and Notify, so that Notify loads the
// flag after the change.
func (n *Notifier) Notify(old uint32, armed bool) {
	if armed || n.src.Flag.Load() != 0 {
		n.wake(old)
	}
}

func (n *Notifier) wake(old uint32) {
	step.At(step.WatchersWaking)
	n.src.Sleep.Wake(old)
	step.At(step.WatchersWoken)
}

// Changed must follow each change of the word by publishers that do not exclude
// each other, even if they notify no waiter. One of them may find the flag of
// waiters that saw the value that another has changed. old is the word before
// the change.
func (n *Notifier) Changed(old uint32) { n.src.Sleep.Changed(old) }

// Close ends all waits with fs.ErrClosed. When it returns, only Disarm and
// Notify still use the word and the flag. Neither ready nor a function within
// Use may call it.
func (n *Notifier) Close() {
	n.fail(fs.ErrClosed)
	for pause := 10 * time.Microsecond; n.busy(); pause = min(2*pause, time.Millisecond) {
		time.Sleep(pause)
	}
}

// busy reports whether a wait or an owner still uses the word, and kicks them.
func (n *Notifier) busy() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.solo != nil {
		n.solo.Kick()
	}
	if n.owner != nil {
		n.owner.kick()
	}
	return n.owner != nil || n.waits.Load() != 0
}

// fail ends all waits with err, unless an earlier call has ended them.
func (n *Notifier) fail(err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.failed == nil {
		n.failed = err
		n.ended.Store(true)
		n.broadcast()
	}
}

// tell tells the subscribers about a change.
func (n *Notifier) tell() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.broadcast()
}

func (n *Notifier) broadcast() {
	if n.changed != nil {
		close(n.changed)
		n.changed = nil
	}
}

// err returns the error with which waits end, nil if they do not end.
func (n *Notifier) err() error {
	if !n.ended.Load() {
		return nil
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.failed
}

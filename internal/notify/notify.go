// Package notify waits for words in shared memory to change, on behalf of any
// number of goroutines and handles of this process, with a bounded number of
// threads.
//
// A word has a flag beside it that tells those who change it, in all processes,
// whether anyone is parked on it, so that a publication without waiters makes
// no system call. A waiter loads the word, sets the flag, looks whether it is
// there what it waits for, and parks while the word is unchanged: in this
// order, each time. A publisher clears the flag, then publishes, then looks at
// the flag again, and wakes everyone if it was set either time. So a flag that
// is set is never lost: cleared before the publication, its owner sees the
// change or is woken after it; set later, it stays for the next publisher. That
// a flag is cleared once keeps a waiter that died from costing more than one
// wake-up.
//
// Who parks for whom is the matter of one process: see set.
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
	// Word changes with each event, not before the event can be seen. Threads
	// park on it.
	Word *atomic.Uint32
	// Flag is not 0 if somebody is parked, or may be. It is nil if this process
	// may not write it: the Notifier then polls, and cannot publish.
	Flag *atomic.Uint32
	// Sleep is the broadcast to those who sleep on Word.
	Sleep *park.Broadcast
	// Use calls f, which uses Word and Flag, while their memory is there. If it
	// returns an error, as the memory vanished or the handle is closed, all
	// waits end with that error. It may be called concurrently. What it refers
	// to is reachable as long as Word and Flag are used, so the memory can be
	// freed by a clean-up of that.
	Use func(f func() error) error
	// Count is called once by each Wait that does not find at once what it
	// waits for; it may be nil.
	Count func()
}

// Notifier tells the goroutines of this process of the events of one Source.
// Its methods may be called concurrently.
type Notifier struct {
	src Source
	set *set

	policy spinPolicy
	waits  atomic.Int64 // under way
	ended  atomic.Bool  // failed is set

	mu          sync.Mutex
	subscribers atomic.Int32  // changes under mu
	changed     chan struct{} // closed at the next change; nil if nobody asked for it
	failed      error         // why all waits end
	solo        *park.Sleeper // of a waiter that parks for itself
	owner       owner         // who looks at the word for the subscribers; nil if nobody does

	// The owner's.
	seen  uint32 // the word at its last look
	moved bool   // that look found a change
	spot  park.Spot

	arm, rearm, poll func() error // for Use
}

// An owner looks at the words of Notifiers for their subscribers, one owner at
// each.
type owner interface {
	kick() // makes it look whether a Notifier still has subscribers
}

// New returns a Notifier of s.
func New(s Source) *Notifier { return newIn(&process, s) }

func newIn(set *set, s Source) *Notifier { return &Notifier{src: s, set: set} }

// Disarm clears the flag before a publication, and reports whether it was set.
func (n *Notifier) Disarm() (armed bool) { return n.src.Flag.Load() != 0 && n.src.Flag.Swap(0) != 0 }

// Notify wakes the waiters of all processes after a publication, before which
// the word was old, if Disarm found the flag set or it is set again. An atomic
// read-modify-write operation, as an unlock is one, must stand between the
// change of the word and Notify, to keep the look at the flag behind it.
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

// Close ends all waits with fs.ErrClosed. It returns when nothing of the
// Notifier uses the word or the flag any more, but for Disarm and Notify. It
// must not be called by ready or within Use.
func (n *Notifier) Close() {
	n.fail(fs.ErrClosed)
	for pause := 10 * time.Microsecond; n.busy(); pause = min(2*pause, time.Millisecond) {
		time.Sleep(pause)
	}
}

// busy reports whether somebody uses the word, and asks them to end that.
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

// fail ends all waits with err, and is the last to do so.
func (n *Notifier) fail(err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.failed == nil {
		n.failed = err
		n.ended.Store(true)
		n.broadcast()
	}
}

// tell tells the subscribers of a change.
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

// err is why waits end; nil if they do not.
func (n *Notifier) err() error {
	if !n.ended.Load() {
		return nil
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.failed
}

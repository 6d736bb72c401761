// Package ring implements the protocol of a queue: a ring of slots, each with
// one state word that says which message it holds and which handle owns it.
//
// Messages have tickets 1, 2, 3 …. Ticket t is in slot t modulo the number of
// slots. tail is the last ticket that was sent. All tickets up to head are
// done. A ticket between them is free, taken, or done before an older one, as
// the state of its slot says. Taking, returning and completing a message are
// one compare-and-swap of that state each. The state contains the ticket, so
// none of them succeeds in a slot that has been reused. A process that dies
// leaves one of these states behind: a message that was not sent, whose ticket
// the next sender uses again, or a message that is taken by a handle that is
// not open any more, from which any other handle can take it.
//
// cursor is where receivers start to look, so that they need not pass over all
// messages that are taken. It is a hint. Its upper half counts the messages
// that were returned, so that a receiver cannot move it past a returned message
// that it has not seen.
//
// docs/models/queue.pml is the model of this package.
package ring

import (
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/sharedseg/sharedseg/internal/fence"
	"github.com/sharedseg/sharedseg/internal/layout"
	"github.com/sharedseg/sharedseg/internal/step"
)

// DeepEvery is how often a receiver that finds free messages also looks for
// older ones of dead takers.
const DeepEvery = 5 * time.Millisecond

// maxTries bounds loops that only the progress of other processes, or a peer
// that writes nonsense, can prolong.
const maxTries = 10_000

// ErrShut is returned when the queue accepts no more messages.
var ErrShut = errors.New("the queue is shut")

// Ring is one handle's view of a queue. Its methods may be called concurrently,
// but Reserve, Post, Send and Shut only with the senders' mutex held. It trusts
// nothing that it reads.
type Ring struct {
	slots              layout.Slots
	tail, head, cursor *atomic.Uint64
	depth              uint64
	in                 layout.Modulus // depth
	self               layout.Ident
	alive              func(ident uint32) bool
	key                uint64 // for package fence

	deepened atomic.Int64 // time since begun when a receiver of the handle last looked deep
	advanced atomic.Int64 // time since begun when a sender that waits for room last called Advance

	// Copies of words that the other side writes with each message. The words
	// themselves are in its cache, so they are loaded only when the copies do
	// not suffice.
	headSeen uint64        // the senders' copy, guarded by their mutex
	tailSeen atomic.Uint64 // the receivers' copy
}

var begun = time.Now()

// New returns the ring of a queue that is mapped at mem. self is the identity
// of this handle. alive reports whether the handle with an identity is open.
func New(mem []byte, g *layout.Geometry, self layout.Ident, alive func(ident uint32) bool, key uint64) *Ring {
	page := layout.NewWaitPage(mem, g)
	r := &Ring{
		slots: layout.NewSlots(mem, g),
		tail:  page.Word(layout.TailWord), head: page.Word(layout.HeadWord), cursor: page.Word(layout.CursorWord),
		depth: uint64(g.Slots), in: layout.NewModulus(g.Slots), self: self, alive: alive, key: key,
	}
	r.deepened.Store(-1)
	return r
}

// Message is a message that this handle has taken.
type Message struct {
	Slot      layout.Slot
	Recovered bool // it was taken over from a taker that died
	ticket    uint64
	state     layout.MessageState
}

// Attempt returns how often the message was taken, 1 for the first time.
func (m *Message) Attempt() int { return m.state.Attempt() }

func (r *Ring) slot(ticket uint64) layout.Slot { return r.slots.Slot(r.in.Of(ticket)) }

// Reserve returns the ticket and the slot of the next message. full reports
// whether the queue has no room for one.
func (r *Ring) Reserve() (ticket uint64, slot layout.Slot, full bool, err error) {
	tail := r.tail.Load()
	if tail&layout.ShutBit != 0 {
		return 0, slot, false, ErrShut
	}
	if tail-r.headSeen >= r.depth {
		r.headSeen = r.head.Load()
	}
	if tail-r.headSeen >= r.depth {
		r.Advance()
		r.headSeen = r.head.Load()
		switch n := tail - r.headSeen; {
		case n > r.depth:
			return 0, slot, false, errBounds
		case n == r.depth:
			return 0, slot, true, nil
		}
	}
	return tail + 1, r.slot(tail + 1), false, nil
}

// Post completes the slot of a ticket, into which the caller has put a message
// of n bytes. It is not sent yet: if the caller dies or gives up, the next
// sender uses the ticket again.
func (r *Ring) Post(ticket uint64, slot layout.Slot, n int) {
	fence.Release(r.key)
	slot.Post(layout.NewMessageState(ticket, 0, 0), n)
	step.At(step.MessagePosted)
}

// Send sends the message of a ticket after Post. The caller then unlocks the
// mutex, which makes the message visible before the caller checks for waiters.
func (r *Ring) Send(ticket uint64) {
	layout.Publish(r.tail, ticket)
	step.At(step.MessageSent)
}

// Shut makes all later calls of Reserve return ErrShut.
func (r *Ring) Shut() {
	r.tail.Or(layout.ShutBit)
	step.At(step.QueueShut)
}

// advanceEvery is how often a sender that waits for room calls Advance, in case
// a receiver died before it did. This is rare, because reading the states takes
// their cache lines away from the receivers' processors.
const advanceEvery = time.Millisecond

// Room reports whether a sender that waits for room should try again. It helps
// to make room.
func (r *Ring) Room() bool {
	if !r.full() {
		return true
	}
	now := int64(time.Since(begun))
	if now-r.advanced.Load() < int64(advanceEvery) {
		return false
	}
	r.advanced.Store(now)
	r.Advance()
	return !r.full()
}

func (r *Ring) full() bool {
	tail := r.tail.Load()
	return tail&layout.ShutBit == 0 && tail-r.head.Load() == r.depth
}

// Take takes the first free message, if there is one, starting at the cursor.
// If deep is set, and every DeepEvery in any case, it starts at the oldest
// message and also takes messages of dead takers.
func (r *Ring) Take(deep bool) (m Message, ok bool, err error) {
	cursor, head := r.cursor.Load(), r.head.Load()
	tail := r.tailSeen.Load()
	if tail-head-1 >= r.depth {
		tail = r.lookAtTail()
	}
	if tail-head > r.depth {
		if head, tail, err = r.bounds(); err != nil {
			return m, false, err
		}
	}
	// The first look is deep, so that a handle that replaces one that died gets
	// the messages of that one first.
	deep = deep || r.deepened.Load() < 0
	t := head + 1
	if from := uint64(uint32(cursor) - uint32(head)); from-2 < r.depth { // from is 2 to depth+1
		t = head + from
		if now := int64(time.Since(begun)); now-r.deepened.Load() > int64(DeepEvery) {
			deep = true
		}
	}
	var known living
	if deep {
		r.deepened.Store(int64(time.Since(begun)))
		t = head + 1
	}
	guess := !deep
	for tries := 0; ; {
		if t > tail {
			// A slot after the last message may have the state of one that its
			// sender has not sent yet, or never will.
			if tail = r.lookAtTail(); t > tail || tail-head > r.depth {
				break
			}
		}
		slot := r.slot(t)
		// Guess that the message is free and was never taken. Then the
		// processor fetches the cache line once, for writing.
		s := layout.NewMessageState(t, 0, 0)
		if !guess {
			s = layout.MessageState(slot.State().Load())
			if !s.Holds(t) || s.Taker() != 0 && !(deep && r.dead(s.Taker(), &known)) {
				t++
				guess = !deep
				continue
			}
		}
		step.At(step.MessageTaking)
		taken := s.By(r.self)
		if !slot.State().CompareAndSwap(uint64(s), uint64(taken)) {
			if tries++; tries == maxTries {
				return m, false, errStates
			}
			guess = false
			continue
		}
		step.At(step.MessageTaken)
		if !deep && t > head+1 {
			r.cursor.CompareAndSwap(cursor, cursor&^(1<<32-1)|(t+1)&(1<<32-1))
			step.At(step.CursorMoved)
		}
		fence.Acquire(r.key)
		return Message{slot, s.Taker() != 0, t, taken}, true, nil
	}
	return m, false, nil
}

func (r *Ring) lookAtTail() uint64 {
	tail := r.tail.Load() &^ layout.ShutBit
	layout.Publish(&r.tailSeen, tail)
	return tail
}

// living has some handles that were found alive during one look.
type living [16]layout.Ident

// dead reports whether the taker of a message is not open any more.
func (r *Ring) dead(taker layout.Ident, known *living) bool {
	place := &known[taker.Slot()%len(known)]
	if taker == layout.DoneIdent || taker == r.self || taker == *place {
		return false
	}
	if !r.alive(uint32(taker)) {
		return true
	}
	*place = taker
	return false
}

// bounds returns head and tail as they were at one moment.
func (r *Ring) bounds() (head, tail uint64, err error) {
	for range maxTries {
		head, tail = r.head.Load(), r.tail.Load()&^layout.ShutBit
		if tail-head <= r.depth {
			return head, tail, nil
		}
		if r.head.Load() == head {
			break
		}
	}
	return 0, 0, errBounds
}

var (
	errBounds = fmt.Errorf("%w: the numbers of the first and the last message contradict each other", layout.ErrCorrupt)
	errStates = fmt.Errorf("%w: the states of messages keep changing", layout.ErrCorrupt)
)

// Done completes a message. done is false if this handle no longer has the
// message. moved reports whether the queue has more room than before.
func (r *Ring) Done(m *Message) (done, moved bool) {
	fence.Release(r.key)
	if !m.Slot.State().CompareAndSwap(uint64(m.state), uint64(m.state.Done())) {
		return false, false
	}
	step.At(step.MessageDone)
	return true, r.advance(m.ticket)
}

// Advance moves head past messages that are done, and reports whether it moved.
func (r *Ring) Advance() (moved bool) { return r.advance(1<<64 - 1) }

// advance is Advance up to the ticket last. Done does not look beyond its own
// ticket: if later ones are done already, the next Done moves head past them,
// or the next call that finds the queue full or empty.
func (r *Ring) advance(last uint64) (moved bool) {
	for range r.depth + 1 {
		head := r.head.Load()
		if head >= last {
			break
		}
		s := layout.MessageState(r.slot(head + 1).State().Load())
		if !s.Holds(head+1) || s.Taker() != layout.DoneIdent {
			break
		}
		step.At(step.HeadMoving)
		if r.head.CompareAndSwap(head, head+1) {
			moved = true
			step.At(step.HeadMoved)
		}
	}
	return moved
}

// Return returns a message to the queue. It reports false if this handle no
// longer has the message.
func (r *Ring) Return(m *Message) bool {
	fence.Release(r.key)
	if !m.Slot.State().CompareAndSwap(uint64(m.state), uint64(m.state.Freed())) {
		return false
	}
	step.At(step.MessageFreed)
	r.lower(m.ticket)
	return true
}

// lower moves the cursor back to a ticket that was freed.
func (r *Ring) lower(ticket uint64) {
	for range maxTries { // if all fail, a deep look finds the message later
		cursor := r.cursor.Load()
		low := uint32(cursor)
		if int32(uint32(ticket)-low) < 0 {
			low = uint32(ticket)
		}
		if r.cursor.CompareAndSwap(cursor, (cursor>>32+1)<<32|uint64(low)) {
			step.At(step.CursorLowered)
			return
		}
	}
}

// GiveBack frees the messages for whose taker mine reports true, and returns
// their number.
func (r *Ring) GiveBack(mine func(layout.Ident) bool) (n int) {
	head, tail, err := r.bounds()
	if err != nil {
		return 0
	}
	for t := head + 1; t <= tail; t++ {
		state := r.slot(t).State()
		s := layout.MessageState(state.Load())
		if s.Holds(t) && mine(s.Taker()) && state.CompareAndSwap(uint64(s), uint64(s.Freed())) {
			step.At(step.MessageFreed)
			r.lower(t)
			n++
		}
	}
	return n
}

// Idle reports whether all messages that were sent are done.
func (r *Ring) Idle() bool { return r.tail.Load() == r.head.Load() }

// Ended reports whether the queue is shut and all messages are done.
func (r *Ring) Ended() bool {
	tail := r.tail.Load()
	return tail&layout.ShutBit != 0 && r.head.Load() == tail&^layout.ShutBit
}

// Len returns the number of messages that are not done.
func (r *Ring) Len() (int, error) {
	r.Advance()
	head, tail, err := r.bounds()
	return int(tail - head), err
}

// Oldest returns the taker of the oldest message that is not done, 0 if it is
// free or if all messages are done.
func (r *Ring) Oldest() layout.Ident {
	head := r.head.Load()
	if s := layout.MessageState(r.slot(head + 1).State().Load()); s.Holds(head+1) && s.Taker() != layout.DoneIdent {
		return s.Taker()
	}
	return 0
}

// Package ring is the protocol of a queue: a ring of slots, of which each has
// one word that says whose message it holds.
//
// Messages have tickets 1, 2, 3 …, and ticket t lies in slot t modulo the
// number of slots. tail is the last ticket that was sent. All tickets up to
// head are done. Between them a message is free, taken, or done before an older
// one, as its slot says. A take, a give-back and a completion are one
// compare-and-swap of that word each, which carries the ticket, so that none
// succeeds in a slot that was used again. What a process that dies leaves is
// always one of these states: a message that was not sent, whose ticket the
// next sender uses again, or one that is taken by a handle that is not open any
// more, which any other may take from it.
//
// cursor is where receivers begin to look, so that they need not pass over all
// that is taken. It is a hint. Its upper half counts the messages that were
// given back, so that no receiver moves it past one that it cannot have seen.
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

// DeepEvery is how often a receiver that finds messages looks whether there is
// an older one of a dead taker.
const DeepEvery = 5 * time.Millisecond

// maxTries bounds loops that only others who make progress, or a peer that
// writes nonsense, can prolong.
const maxTries = 10_000

// ErrShut means that nothing is sent any more.
var ErrShut = errors.New("the queue is shut")

// Ring is a queue as one handle sees it. Its methods may be called
// concurrently, Reserve, Send and Shut under the producers' mutex. All it reads
// is untrusted.
type Ring struct {
	slots              layout.Slots
	tail, head, cursor *atomic.Uint64
	depth              uint64
	in                 layout.Modulus // depth
	self               layout.Ident
	alive              func(ident uint32) bool
	key                uint64 // for package fence

	deepened atomic.Int64 // when a receiver of the handle last looked deep, since begun
	advanced atomic.Int64 // when a sender that waits for room last called Advance, likewise

	// What the other side publishes with each message is in its cache, and is
	// looked at again only when what was seen of it does not do any more.
	headSeen uint64        // by senders, under the producers' mutex
	tailSeen atomic.Uint64 // by receivers
}

var begun = time.Now()

// New returns the ring of a queue that is mapped to mem. alive reports whether
// the handle of an identity is open, and self is that of this handle.
func New(mem []byte, g *layout.Geometry, self layout.Ident, alive func(ident uint32) bool, key uint64) *Ring {
	page := layout.NewWaitPage(mem, g)
	return &Ring{
		slots: layout.NewSlots(mem, g),
		tail:  page.Word(layout.TailWord), head: page.Word(layout.HeadWord), cursor: page.Word(layout.CursorWord),
		depth: uint64(g.Slots), in: layout.NewModulus(g.Slots), self: self, alive: alive, key: key,
	}
}

// Message is a message that this handle took.
type Message struct {
	Slot      layout.Slot
	Recovered bool // from a taker that died
	ticket    uint64
	state     layout.MessageState
}

// Attempt is how often the message was taken, 1 if this is the first time.
func (m *Message) Attempt() int { return m.state.Attempt() }

func (r *Ring) slot(ticket uint64) layout.Slot { return r.slots.Slot(r.in.Of(ticket)) }

// Reserve returns the ticket and the slot of the next message, or that there is
// no room for one.
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

// Send sends the message of n bytes that was put into the slot of a ticket. The
// unlock that follows makes it visible before the look whether somebody waits.
func (r *Ring) Send(ticket uint64, slot layout.Slot, n int) {
	fence.Release(r.key)
	slot.Post(layout.NewMessageState(ticket, 0, 0), n)
	step.At(step.MessagePosted)
	layout.Publish(r.tail, ticket)
	step.At(step.MessageSent)
}

// Shut has Reserve return ErrShut from now on.
func (r *Ring) Shut() {
	r.tail.Or(layout.ShutBit)
	step.At(step.QueueShut)
}

// advanceEvery is how often a sender that waits for room looks whether a
// receiver has died before it made some. Such a look takes the states away from
// the processors of the receivers, so it is rare.
const advanceEvery = time.Millisecond

// Room reports whether a sender that waits for room has reason to look again.
// It helps to make some.
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

// Take takes the first message that is free, if there is one. It begins at the
// cursor. If deep is set, and every DeepEvery in any case, it begins at the
// oldest message, and takes one of a dead taker as well.
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
			if last := r.lookAtTail(); last == tail || last-head > r.depth {
				break
			} else {
				tail = last
			}
		}
		slot := r.slot(t)
		s := layout.NewMessageState(t, 0, 0) // most are: so the processor fetches the state once, to change it
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

// living is what Alive said of some handles in the course of one look.
type living [16]layout.Ident

// dead reports whether the handle that has a message is not open any more.
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

// bounds are head and tail of the same moment.
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
	errStates = fmt.Errorf("%w: the state of a message changes without an end", layout.ErrCorrupt)
)

// Done says that a message is dealt with. It reports false if this handle does
// not have it any more, and whether there is more room than before.
func (r *Ring) Done(m *Message) (done, moved bool) {
	fence.Release(r.key)
	if !m.Slot.State().CompareAndSwap(uint64(m.state), uint64(m.state.Done())) {
		return false, false
	}
	step.At(step.MessageDone)
	return true, r.advance(m.ticket)
}

// Advance moves head over what is done, and reports whether it did.
func (r *Ring) Advance() (moved bool) { return r.advance(1<<64 - 1) }

// advance is Advance up to a ticket. Done does not look beyond its own: where a
// later one is done already, the next Done finds that, or whoever finds the
// queue full or empty.
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

// Return gives a message back. It reports false if this handle does not have it
// any more.
func (r *Ring) Return(m *Message) bool {
	fence.Release(r.key)
	if !m.Slot.State().CompareAndSwap(uint64(m.state), uint64(m.state.Freed())) {
		return false
	}
	step.At(step.MessageFreed)
	r.lower(m.ticket)
	return true
}

// lower has receivers look at a ticket that was freed.
func (r *Ring) lower(ticket uint64) {
	for range maxTries { // without it the message is found all the same, but later
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

// GiveBack frees the messages whose taker is one of those that mine is true of,
// and returns how many there were.
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

// Idle reports whether there is nothing to wait for but what is yet to be sent:
// no message is there that is not done.
func (r *Ring) Idle() bool { return r.tail.Load() == r.head.Load() }

// Ended reports whether all that was ever sent is done, and nothing more comes.
func (r *Ring) Ended() bool {
	tail := r.tail.Load()
	return tail&layout.ShutBit != 0 && r.head.Load() == tail&^layout.ShutBit
}

// Len is the number of messages that are not done.
func (r *Ring) Len() (int, error) {
	r.Advance()
	head, tail, err := r.bounds()
	return int(tail - head), err
}

// Oldest is the taker of the oldest message that is not done, 0 if there is
// none.
func (r *Ring) Oldest() layout.Ident {
	head := r.head.Load()
	if s := layout.MessageState(r.slot(head + 1).State().Load()); s.Holds(head+1) && s.Taker() != layout.DoneIdent {
		return s.Taker()
	}
	return 0
}

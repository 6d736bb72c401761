package layout

import (
	"sync/atomic"
	"unsafe"

	"github.com/sharedseg/sharedseg/internal/fence"
)

// The event counts of a queue, and its words in the wait page, by number.
const (
	MessageEvent = 0 // there is a message for somebody
	RoomEvent    = 1 // there is room for a message

	TailWord   = 0 // the ticket of the last message that was sent, and ShutBit
	HeadWord   = 1 // all tickets up to this one are done
	CursorWord = 2 // a hint where the search for a free message may begin
)

// ShutBit in the tail word says that nothing is sent any more.
const ShutBit = 1 << 63

// DoneIdent stands for the taker in the state of a message that is done. It is
// no handle's, as its generation is 0.
const DoneIdent Ident = 1

const (
	attemptBits = 8
	ticketBits  = 64 - attemptBits - (slotBits + genBits)
	ticketMask  = 1<<ticketBits - 1

	maxAttempt = 1<<attemptBits - 1
)

// MessageState is the word of a slot of a queue: the low bits of a ticket, the
// taker of its message, 0 if it is free, and how often it was taken.
type MessageState uint64

// NewMessageState returns the state of a ticket.
func NewMessageState(ticket uint64, taker Ident, attempt int) MessageState {
	return MessageState(ticket<<(64-ticketBits) | uint64(taker&IdentMask)<<attemptBits | uint64(min(attempt, maxAttempt)))
}

// Holds reports whether the state is of that ticket.
func (s MessageState) Holds(ticket uint64) bool {
	return uint64(s)>>(64-ticketBits) == ticket&ticketMask
}

// Taker is who has the message, 0 if nobody, or DoneIdent.
func (s MessageState) Taker() Ident { return Ident(s>>attemptBits) & IdentMask }

// Attempt is how often the message was taken. It stays at 255.
func (s MessageState) Attempt() int { return int(s & maxAttempt) }

// By is the state after its message was taken once more.
func (s MessageState) By(taker Ident) MessageState {
	return s.with(taker) + min(1, maxAttempt-s&maxAttempt)
}

// Freed is the state after its message was given back.
func (s MessageState) Freed() MessageState { return s.with(0) }

// Done is the state after its message was dealt with.
func (s MessageState) Done() MessageState { return s.with(DoneIdent) }

func (s MessageState) with(taker Ident) MessageState {
	return s&^(IdentMask<<attemptBits) | MessageState(taker)<<attemptBits
}

// State is the state of the message in a slot. It is untrusted.
func (s Slot) State() *atomic.Uint64 { return (*atomic.Uint64)(s.header) }

// Post gives a slot the length of its message, 0 <= n <= capacity, and then its
// state, which is seen after the message and the length.
func (s Slot) Post(state MessageState, n int) {
	*s.length() = uint64(n)
	fence.Publish((*uint64)(s.header), uint64(state))
}

// Publish is fence.Publish of a word.
func Publish(word *atomic.Uint64, v uint64) { fence.Publish((*uint64)(unsafe.Pointer(word)), v) }

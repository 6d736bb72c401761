package layout

import (
	"sync/atomic"
	"unsafe"

	"github.com/sharedseg/sharedseg/internal/fence"
)

// The numbers of a queue's event counts and of its words in the wait page.
const (
	MessageEvent = 0 // a message can be received
	RoomEvent    = 1 // a message can be sent

	TailWord   = 0 // ticket of the last message sent, and ShutBit
	HeadWord   = 1 // all tickets up to this one are done
	CursorWord = 2 // a hint where to begin the search for a free message
)

// ShutBit in the tail word says that no more messages are sent.
const ShutBit = 1 << 63

// DoneIdent is the taker in the state of a message that is done. No handle has
// this identity, as its generation is 0.
const DoneIdent Ident = 1

const (
	attemptBits = 8
	ticketBits  = 64 - attemptBits - (slotBits + genBits)
	ticketMask  = 1<<ticketBits - 1

	maxAttempt = 1<<attemptBits - 1
)

// MessageState is the state word of a queue's slot: the low bits of a ticket,
// the taker of its message (0 if the message is free), and how often the
// message was taken.
type MessageState uint64

// NewMessageState returns the state of a ticket. An attempt beyond 255 counts
// as 255.
func NewMessageState(ticket uint64, taker Ident, attempt int) MessageState {
	return MessageState(ticket<<(64-ticketBits) | uint64(taker&IdentMask)<<attemptBits | uint64(min(attempt, maxAttempt)))
}

// Holds reports whether the state is that of the given ticket.
func (s MessageState) Holds(ticket uint64) bool {
	return uint64(s)>>(64-ticketBits) == ticket&ticketMask
}

// Taker returns the handle that has the message, 0 if it is free, or DoneIdent.
func (s MessageState) Taker() Ident { return Ident(s>>attemptBits) & IdentMask }

// Attempt returns how often the message was taken. It stops at 255.
func (s MessageState) Attempt() int { return int(s & maxAttempt) }

// By returns the state after taker has taken the message.
func (s MessageState) By(taker Ident) MessageState {
	return s.with(taker) + min(1, maxAttempt-s&maxAttempt)
}

// Freed returns the state after the message was returned.
func (s MessageState) Freed() MessageState { return s.with(0) }

// Done returns the state after the message was processed.
func (s MessageState) Done() MessageState { return s.with(DoneIdent) }

func (s MessageState) with(taker Ident) MessageState {
	return s&^(IdentMask<<attemptBits) | MessageState(taker)<<attemptBits
}

// State returns the state of the message in a slot. Its value is untrusted.
func (s Slot) State() *atomic.Uint64 { return (*atomic.Uint64)(s.header) }

// Post stores the length of a slot's message, 0 <= n <= capacity, and then its
// state. Other processes see the state after the message and the length.
func (s Slot) Post(state MessageState, n int) {
	*s.length() = uint64(n)
	fence.Publish((*uint64)(s.header), uint64(state))
}

// Publish stores v in word by fence.Publish.
func Publish(word *atomic.Uint64, v uint64) { fence.Publish((*uint64)(unsafe.Pointer(word)), v) }

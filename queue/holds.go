package queue

import (
	"sync/atomic"

	"github.com/sharedseg/sharedseg/internal/member"
)

// holds counts what of a handle's memory is in the user's hands, where memory
// cannot be taken away: the messages that it received and the slot that it was
// lent. There the handle leaves when the last is given back. Elsewhere it
// leaves at once.
type holds struct {
	member *member.Member
	n      atomic.Int64 // and 1 for the handle until it is closed
}

func newHolds(m *member.Member) *holds {
	h := &holds{member: m}
	h.n.Store(1)
	return h
}

// add counts one more. It is called within Use.
func (h *holds) add() {
	if member.Pinning {
		h.n.Add(1)
	}
}

// drop counts one less.
func (h *holds) drop() {
	if member.Pinning {
		h.leave()
	}
}

// leave is for the handle, once, and for each that is dropped.
func (h *holds) leave() error {
	if h.n.Add(-1) > 0 {
		return nil
	}
	return h.member.Leave(false)
}

// discard closes a handle that was dropped without Close, and frees one that
// was closed. Memory that is in the user's hands stays where it is.
func (h *holds) discard() {
	if h.n.Load() <= 1 {
		h.member.Discard()
	}
}

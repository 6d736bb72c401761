package queue

import (
	"sync/atomic"

	"github.com/sharedseg/sharedseg/internal/member"
)

// holds counts the parts of a handle's memory that its user can still access,
// on platforms where mapped memory cannot be replaced: the messages that it
// received and the slot that it borrowed. There, a handle that is closed leaves
// the mapping when the last of them is given back. Elsewhere it leaves at once.
type holds struct {
	member *member.Member
	n      atomic.Int64 // plus 1 for the handle until it is closed
}

func newHolds(m *member.Member) *holds {
	h := &holds{member: m}
	h.n.Store(1)
	return h
}

// add adds one. It is called within Use.
func (h *holds) add() {
	if member.Pinning {
		h.n.Add(1)
	}
}

// drop removes one.
func (h *holds) drop() {
	if member.Pinning {
		h.leave()
	}
}

// leave is called once for the handle and once for each drop. The last call
// leaves the mapping.
func (h *holds) leave() error {
	if h.n.Add(-1) > 0 {
		return nil
	}
	return h.member.Leave(false)
}

// discard closes a handle that became unreachable without Close, and frees one
// that was closed. It keeps memory that the user can still access.
func (h *holds) discard() {
	if n := h.n.Load(); n == 0 || n == 1 && !h.member.Closed() {
		h.member.Discard()
	}
}

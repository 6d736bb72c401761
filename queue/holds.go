package queue

import (
	"io/fs"
	"sync"

	"github.com/sharedseg/sharedseg/internal/member"
)

// holds counts the parts of a handle's memory that its user may access in
// place: the slot of a loan, and the messages whose Bytes were asked for. If
// member.Pinning, it counts all messages that the handle received. The count
// does not depend on the shared memory, where peers can write.
//
// Where mapped memory cannot be replaced, a handle that is closed leaves the
// mapping when the last part is given back. Elsewhere it leaves at once, and
// the user sees zeros. The addresses of a handle that becomes unreachable are
// released only if the count is 0.
type holds struct {
	member *member.Member
	mu     sync.Mutex
	n      int
	closed bool
}

// A hold is whether a part is counted. holds guards it.
type hold bool

// add counts a part, unless it is counted. It is called within Use. It returns
// fs.ErrClosed if the handle may be about to unmap the memory.
func (h *holds) add(part *hold) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case bool(*part):
	case member.Pinning && h.closed:
		return fs.ErrClosed
	default:
		*part = true
		h.n++
	}
	return nil
}

// drop no longer counts a part, if it is counted. If that was the last part of
// a closed handle that has not left the mapping, it leaves now.
func (h *holds) drop(part *hold) error {
	h.mu.Lock()
	last := false
	if *part {
		*part = false
		h.n--
		last = member.Pinning && h.closed && h.n == 0
	}
	h.mu.Unlock()
	if !last {
		return nil
	}
	return h.member.Leave(false)
}

// close leaves the mapping, at once or when the last part is given back.
func (h *holds) close() error {
	h.mu.Lock()
	h.closed = true
	later := member.Pinning && h.n > 0
	h.mu.Unlock()
	if later {
		return nil
	}
	return h.member.Leave(false)
}

// discard closes a handle that became unreachable without Close, and frees one
// that was closed.
func (h *holds) discard() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.n > 0 {
		h.member.Abandon()
	} else {
		h.member.Discard()
	}
}

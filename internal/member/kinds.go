package member

import (
	"encoding/binary"
	"fmt"
	"math"

	"github.com/sharedseg/sharedseg/internal/layout"
	"github.com/sharedseg/sharedseg/internal/mapping"
)

// Queue describes a queue.
type Queue struct {
	Sent     uint64 // messages sent since its creation
	Messages int    // messages sent that are not done
	Takers   []int  // process IDs of the receivers that have one of these; hints
	Orphans  int    // messages taken by receivers that died
	Shut     bool
}

// maxMessages is the number of a queue's oldest messages whose takers are
// checked.
const maxMessages = 1024

// Users describes the users of a lock except its mutex's owner. Handles that
// died do not count.
type Users struct {
	Readers int   // of an RWMutex
	Used    int64 // permits of a Semaphore
	Waiting int   // for a Cond
	PIDs    []int // process IDs of the handles that these three count; hints
	Set     bool  // an Event
	Waited  bool  // a waiter for a Semaphore or an Event is parked, or may be; false if it polls
}

// asked is an object and what is known about its holders.
type asked struct {
	obj     *mapping.Object
	holders []Holder
	table   []byte // copy of the member table
}

// alive reports whether the handle with an identity is open, and returns its
// process ID.
func (a *asked) alive(id layout.Ident) (pid int, alive bool) {
	for _, h := range a.holders {
		if h.Slot == id.Slot() && (id.Slot()+1)*8 <= len(a.table) {
			return h.PID, layout.NewIdent(h.Slot, layout.GenerationIn(a.table, h.Slot)) == id
		}
	}
	return 0, false
}

// waitPage returns a copy of the wait page. It returns an error if the object
// has become too short for one.
func (a *asked) waitPage(g *layout.Geometry) (layout.WaitPage, error) {
	words, wordsLen, rows, rowsLen := g.WaitPageParts()
	read := func(off, n int64) ([]byte, error) {
		b := make([]byte, n)
		got, err := a.obj.ReadAt(b, off)
		if err == nil && got < len(b) {
			err = fmt.Errorf("%w: the wait page is truncated", layout.ErrCorrupt)
		}
		return b, err
	}
	w, err := read(words, wordsLen)
	if err != nil {
		return layout.WaitPage{}, err
	}
	var r []byte
	if rowsLen > 0 {
		r, err = read(rows, rowsLen)
	}
	return layout.CopiedWaitPage(w, r), err
}

// queue describes a queue. The queue's words may change while they are read one
// after the other, so the result has only counts that can be true at one time.
func (a *asked) queue(g *layout.Geometry) (q Queue, err error) {
	page, err := a.waitPage(g)
	if err != nil {
		return q, err
	}
	tail, head := page.Word(layout.TailWord).Load(), page.Word(layout.HeadWord).Load()
	q.Sent, q.Shut = tail&^layout.ShutBit, tail&layout.ShutBit != 0
	first := head + 1
	if q.Sent-head > uint64(g.Slots) { // it moved while it was read, or it is invalid
		first = q.Sent + 1 - min(q.Sent, uint64(g.Slots))
	}
	for t := first; t-first < maxMessages && t <= q.Sent && t >= first; t++ {
		state, err := a.message(g, t)
		if err != nil {
			return q, err
		}
		if !state.Holds(t) || state.Taker() == layout.DoneIdent {
			continue
		}
		q.Messages++
		if state.Taker() == 0 {
			continue
		}
		if pid, alive := a.alive(state.Taker()); alive {
			q.Takers = append(q.Takers, pid)
			continue
		}
		// The taker may have been opened after the holders were read.
		if died, err := a.died(state.Taker()); err != nil {
			return q, err
		} else if again, err := a.message(g, t); err != nil {
			return q, err
		} else if died && again == state {
			q.Orphans++
		}
	}
	if q.Sent >= first && q.Sent-first >= maxMessages {
		q.Messages += int(q.Sent - first + 1 - maxMessages)
	}
	return q, nil
}

// message returns the state word of a ticket's slot.
func (a *asked) message(g *layout.Geometry, ticket uint64) (layout.MessageState, error) {
	var b [8]byte
	_, err := a.obj.ReadAt(b[:], g.SlotOffset(ticket))
	return layout.MessageState(binary.NativeEndian.Uint64(b[:])), err
}

// died reports whether the handle with an identity is not open.
func (a *asked) died(id layout.Ident) (bool, error) {
	held, err := a.obj.Held(id.Slot())
	if err != nil || !held {
		return !held, err
	}
	generation, _ := layout.MemberWords(id.Slot())
	current, err := readWord(a.obj, generation)
	return layout.NewIdent(id.Slot(), current) != id, err
}

// users adds up what the handles of a lock have stored in their rows.
func (a *asked) users(g *layout.Geometry) (u Users, err error) {
	page, err := a.waitPage(g)
	if err != nil {
		return u, err
	}
	changes := page.Event(layout.TellEvent)
	switch g.Kind {
	case layout.KindEvent:
		u.Set, u.Waited = changes.Seq.Load()&1 != 0, changes.Flag.Load() != 0
	case layout.KindSemaphore:
		u.Waited = changes.Flag.Load() != 0
	}
	if !g.HasRows() {
		return u, nil
	}
	held := map[int]int{} // process IDs by member slot
	for _, h := range a.holders {
		held[h.Slot] = h.PID
	}
	for slot := range page.UsedRows() {
		row := page.Row(slot).Load()
		if g.Kind == layout.KindRWMutex {
			if pid, ok := held[slot]; ok && row != 0 {
				u.Readers = int(min(uint64(u.Readers)+min(row, math.MaxInt32), math.MaxInt32))
				u.PIDs = append(u.PIDs, pid)
			}
			continue
		}
		holding := layout.Holding(row)
		pid, alive := a.alive(holding.Holder())
		if !alive {
			continue
		}
		n := int64(holding.N())
		if g.Kind == layout.KindSemaphore {
			u.Used += n
		} else {
			n = int64(holding.Waiting())
			u.Waiting += int(n)
		}
		if n > 0 {
			u.PIDs = append(u.PIDs, pid)
		}
	}
	return u, nil
}

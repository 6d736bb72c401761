package member

import (
	"encoding/binary"
	"fmt"
	"math"

	"github.com/sharedseg/sharedseg/internal/layout"
	"github.com/sharedseg/sharedseg/internal/mapping"
)

// Queue is what a queue has.
type Queue struct {
	Sent     uint64 // messages so far
	Messages int    // of these, those that are not done
	Takers   []int  // process IDs of the receivers that have one of them: hints
	Orphans  int    // messages that a receiver has had that died
	Shut     bool
}

// maxMessages is how many of a queue's oldest messages are asked after their
// takers.
const maxMessages = 1024

// Users are those that a lock has beside the owner of its mutex. What is of a
// handle that died does not count.
type Users struct {
	Readers int   // of an RWMutex
	Used    int64 // permits of a Semaphore
	Waiting int   // for a Cond
	Set     bool  // an Event
}

// asked is an object, and what has been found out about those who have it open.
type asked struct {
	obj     *mapping.Object
	holders []Holder
	table   []byte // copy of the member table
}

// alive reports whether the handle of an identity is open, and its process ID.
func (a *asked) alive(id layout.Ident) (pid int, alive bool) {
	for _, h := range a.holders {
		if h.Slot == id.Slot() && (id.Slot()+1)*8 <= len(a.table) {
			return h.PID, layout.NewIdent(h.Slot, layout.GenerationIn(a.table, h.Slot)) == id
		}
	}
	return 0, false
}

// waitPage is a copy of the wait page. It is not usable if the object has
// become too short for one.
func (a *asked) waitPage(g *layout.Geometry) (layout.WaitPage, error) {
	words, wordsLen, rows, rowsLen := g.WaitPageParts()
	read := func(off, n int64) ([]byte, error) {
		b := make([]byte, n)
		got, err := a.obj.ReadAt(b, off)
		if err == nil && got < len(b) {
			err = fmt.Errorf("%w: the wait page is cut off", layout.ErrCorrupt)
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

// queue is what a queue has. Its words change one after the other while it
// looks, so it counts what can be true of them at one time.
func (a *asked) queue(g *layout.Geometry) (q Queue, err error) {
	page, err := a.waitPage(g)
	if err != nil {
		return q, err
	}
	tail, head := page.Word(layout.TailWord).Load(), page.Word(layout.HeadWord).Load()
	q.Sent, q.Shut = tail&^layout.ShutBit, tail&layout.ShutBit != 0
	first := head + 1
	if q.Sent-head > uint64(g.Slots) { // it moved while it was read, or is nonsense
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
		// It may have come after the question who is there.
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

// message is the state of the slot of a ticket.
func (a *asked) message(g *layout.Geometry, ticket uint64) (layout.MessageState, error) {
	var b [8]byte
	_, err := a.obj.ReadAt(b[:], g.SlotOffset(ticket))
	return layout.MessageState(binary.NativeEndian.Uint64(b[:])), err
}

// died reports whether the handle of an identity is not open.
func (a *asked) died(id layout.Ident) (bool, error) {
	held, err := a.obj.Held(id.Slot())
	if err != nil || !held {
		return !held, err
	}
	generation, _ := layout.MemberWords(id.Slot())
	current, err := readWord(a.obj, generation)
	return layout.NewIdent(id.Slot(), current) != id, err
}

// users adds up what the handles of a lock have noted in their rows.
func (a *asked) users(g *layout.Geometry) (u Users, err error) {
	page, err := a.waitPage(g)
	if err != nil {
		return u, err
	}
	if g.Kind == layout.KindEvent {
		u.Set = page.Event(layout.TellEvent).Seq.Load()&1 != 0
		return u, nil
	}
	if !g.HasRows() {
		return u, nil
	}
	held := map[int]bool{}
	for _, h := range a.holders {
		held[h.Slot] = true
	}
	for slot := range page.UsedRows() {
		row := page.Row(slot).Load()
		if g.Kind == layout.KindRWMutex {
			if held[slot] {
				u.Readers = int(min(uint64(u.Readers)+min(row, math.MaxInt32), math.MaxInt32))
			}
			continue
		}
		holding := layout.Holding(row)
		if _, alive := a.alive(holding.Holder()); !alive {
			continue
		}
		if g.Kind == layout.KindSemaphore {
			u.Used += int64(holding.N())
		} else {
			u.Waiting += int(holding.Waiting())
		}
	}
	return u, nil
}

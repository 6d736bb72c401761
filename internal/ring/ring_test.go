package ring

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"
	"unsafe"

	"github.com/sharedseg/sharedseg/internal/layout"
)

const capacity = 64

// memory returns zeroed private memory for a queue.
func memory(t testing.TB, depth int) ([]byte, *layout.Geometry) {
	t.Helper()
	g := &layout.Geometry{Kind: layout.KindQueue, Slots: depth, Capacity: capacity}
	if err := g.Place(4096); err != nil {
		t.Fatal(err)
	}
	words := make([]uint64, g.Size()/8)
	return unsafe.Slice((*byte)(unsafe.Pointer(&words[0])), g.Size()), g
}

// members is the set of open handles.
type members struct {
	mu   sync.Mutex
	live map[uint32]bool
	next uint32 // generation
}

func (m *members) alive(ident uint32) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.live[ident]
}

func (m *members) open(slot int) layout.Ident {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.next++
	ident := layout.NewIdent(slot, m.next)
	m.live[uint32(ident)] = true
	return ident
}

func (m *members) kill(ident layout.Ident) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.live, uint32(ident))
}

type value [capacity / 8]uint64

func newValue(n uint64) (v value) {
	for i := range v {
		v[i] = n * uint64(i+1)
	}
	return v
}

// world is a queue with its users, and what they have done so far.
type world struct {
	t       testing.TB
	mem     []byte
	g       *layout.Geometry
	members members
	senders sync.Mutex // the lock of the senders

	sent     atomic.Uint64 // number of messages sent; each contains its number
	received []atomic.Int32
	holder   []atomic.Uint32 // the handle that has each message
	done     []atomic.Bool
	closing  sync.Map // handles that are returning their messages
}

func (w *world) isClosing(ident uint32) bool {
	_, closing := w.closing.Load(ident)
	return closing
}

func (w *world) ring(self layout.Ident) *Ring {
	return New(w.mem, w.g, self, w.members.alive, 1)
}

// send sends messages. It gives up on some halfway, like a sender that dies. A
// sender needs no identity.
func (w *world) send(messages uint64) {
	r := w.ring(0)
	for {
		w.senders.Lock()
		ticket, slot, full, err := r.Reserve()
		switch {
		case errors.Is(err, ErrShut):
			w.senders.Unlock()
			return
		case err != nil:
			w.t.Error(err)
			w.senders.Unlock()
			return
		case full:
			w.senders.Unlock()
			time.Sleep(time.Microsecond)
			continue
		case w.sent.Load() == messages:
			r.Shut()
			w.senders.Unlock()
			return
		}
		n := w.sent.Load() + 1
		if ticket != n {
			w.t.Errorf("ticket %d for message %d", ticket, n)
		}
		v := newValue(n)
		layout.Put(slot, &v)
		switch rand.IntN(8) {
		case 0: // die while the value is written
			v = newValue(0)
			layout.Put(slot, &v)
		case 1: // die before the tail moves
			r.Post(ticket, slot, capacity)
		default:
			w.sent.Store(n)
			r.Post(ticket, slot, capacity)
			r.Send(ticket)
		}
		w.senders.Unlock()
	}
}

// receive runs one receiver after another in a member slot. Some are killed,
// and the others closed.
func (w *world) receive(slot int) {
	for ended := false; !ended; {
		self := w.members.open(slot)
		r := w.ring(self)
		ended = w.live(r, self)
		if rand.IntN(2) == 0 { // close it
			w.closing.Store(uint32(self), true)
			r.GiveBack(func(taker layout.Ident) bool { return taker == self })
		}
		w.members.kill(self)
	}
}

// live receives until the handle should die or the queue has ended.
func (w *world) live(r *Ring, self layout.Ident) (ended bool) {
	var held []Message
	for {
		m, ok, err := r.Take(rand.IntN(4) == 0)
		if !ok && err == nil {
			r.Advance()
			m, ok, err = r.Take(true)
		}
		if err != nil {
			w.t.Error(err)
			return true
		}
		if !ok && r.Ended() {
			return true
		}
		if ok {
			w.took(&m, self)
			held = append(held, m)
		} else {
			time.Sleep(time.Microsecond)
		}
		for len(held) > 0 && rand.IntN(2) == 0 {
			i := rand.IntN(len(held))
			m := held[i]
			held = slices.Delete(held, i, i+1)
			if rand.IntN(5) == 0 {
				w.holder[m.ticket].Store(0)
				if !r.Return(&m) {
					w.t.Errorf("message %d could not be returned", m.ticket)
				}
				continue
			}
			if w.done[m.ticket].Swap(true) {
				w.t.Errorf("message %d is done twice", m.ticket)
			}
			if done, _ := r.Done(&m); !done {
				w.t.Errorf("message %d could not be done", m.ticket)
			}
		}
		if len(held) > 3 || rand.IntN(200) == 0 {
			return false
		}
	}
}

// took checks a message that was taken.
func (w *world) took(m *Message, self layout.Ident) {
	var v value
	layout.Get(m.Slot, &v)
	if v != newValue(m.ticket) {
		w.t.Errorf("message %d is %v", m.ticket, v)
	}
	if w.done[m.ticket].Load() {
		w.t.Errorf("message %d was delivered after it was done", m.ticket)
	}
	if n := w.received[m.ticket].Add(1); m.Attempt() != min(int(n), 255) {
		w.t.Errorf("message %d was received %d times, its attempt is %d", m.ticket, n, m.Attempt())
	}
	if before := w.holder[m.ticket].Swap(uint32(self)); before != 0 && w.members.alive(before) && !w.isClosing(before) {
		w.t.Errorf("message %d has two live receivers", m.ticket)
	}
}

// With senders and receivers that die at random, no message is lost, none is
// delivered to two live receivers, and none is delivered after it is done.
func TestRandom(t *testing.T) {
	messages := uint64(20_000)
	if testing.Short() {
		messages = 2_000
	}
	for _, depth := range []int{1, 2, 3, 16} {
		t.Run(fmt.Sprint("depth=", depth), func(t *testing.T) {
			w := &world{t: t, members: members{live: map[uint32]bool{}}}
			w.mem, w.g = memory(t, depth)
			w.received = make([]atomic.Int32, messages+1)
			w.holder = make([]atomic.Uint32, messages+1)
			w.done = make([]atomic.Bool, messages+1)
			var wg sync.WaitGroup
			for range 2 {
				wg.Go(func() { w.send(messages) })
			}
			for slot := range 3 {
				wg.Go(func() { w.receive(slot) })
			}
			wg.Wait()
			for n := uint64(1); n <= messages; n++ {
				if !w.done[n].Load() {
					t.Fatalf("message %d was not done", n)
				}
			}
			if n, err := w.ring(0).Len(); n != 0 || err != nil {
				t.Errorf("Len = %d, %v", n, err)
			}
		})
	}
}

// A message whose sender died before it moved the tail is not taken, even by a
// receiver whose copy of the tail is old.
func TestTakeUnsent(t *testing.T) {
	mem, g := memory(t, 8)
	all := members{live: map[uint32]bool{}}
	a, b := all.open(0), all.open(1)
	ra, rb := New(mem, g, a, all.alive, 1), New(mem, g, b, all.alive, 1)
	for _, r := range []*Ring{rb, ra} {
		r.deepened.Store(int64(time.Since(begun)))
		ticket, slot, full, err := ra.Reserve()
		if full || err != nil {
			t.Fatal(full, err)
		}
		ra.Post(ticket, slot, 0)
		ra.Send(ticket)
		if m, ok, err := r.Take(false); !ok || m.ticket != ticket || err != nil {
			t.Fatalf("took %d, %v, %v; want %d", m.ticket, ok, err, ticket)
		}
	}
	ticket, slot, full, err := ra.Reserve()
	if full || err != nil {
		t.Fatal(full, err)
	}
	slot.Post(layout.NewMessageState(ticket, 0, 0), 0)
	for _, r := range []*Ring{rb, ra} {
		if m, ok, err := r.Take(false); ok || err != nil {
			t.Errorf("took %d, %v, which was not sent", m.ticket, err)
		}
	}
}

// The first message that a handle takes is the oldest one of the dead, even in
// a process that has just begun.
func TestFirstTake(t *testing.T) {
	mem, g := memory(t, 8)
	all := members{live: map[uint32]bool{}}
	a := all.open(0)
	ra := New(mem, g, a, all.alive, 1)
	for range 2 {
		ticket, slot, full, err := ra.Reserve()
		if full || err != nil {
			t.Fatal(full, err)
		}
		ra.Post(ticket, slot, 0)
		ra.Send(ticket)
	}
	ra.Take(false)
	ra.lower(2) // as any other take would have moved the cursor
	all.kill(a)
	begun = time.Now()
	rb := New(mem, g, all.open(1), all.alive, 1)
	if m, ok, err := rb.Take(false); !ok || m.ticket != 1 || !m.Recovered || err != nil {
		t.Errorf("took %d, %v, %v; want 1", m.ticket, ok, err)
	}
}

// Receivers take free messages in order, those that were returned first.
func TestTakeOrder(t *testing.T) {
	mem, g := memory(t, 8)
	all := members{live: map[uint32]bool{}}
	a, b := all.open(0), all.open(1)
	ra, rb := New(mem, g, a, all.alive, 1), New(mem, g, b, all.alive, 1)
	send := func() {
		ticket, slot, full, err := ra.Reserve()
		if full || err != nil {
			t.Fatal(full, err)
		}
		ra.Post(ticket, slot, 0)
		ra.Send(ticket)
	}
	take := func(r *Ring, deep bool, want uint64, attempt int) Message {
		t.Helper()
		m, ok, err := r.Take(deep)
		if ok != (want != 0) || err != nil || ok && (m.ticket != want || m.Attempt() != attempt) {
			t.Fatalf("took %d, attempt %d, %v, %v; want %d, attempt %d", m.ticket, m.Attempt(), ok, err, want, attempt)
		}
		return m
	}
	for range 8 {
		send()
	}
	if _, _, full, _ := ra.Reserve(); !full {
		t.Error("the queue is not full")
	}
	first, second := take(ra, false, 1, 1), take(rb, false, 2, 1)
	third := take(ra, false, 3, 1)
	if !rb.Return(&second) || rb.Return(&second) {
		t.Error("Return does not succeed exactly once")
	}
	second = take(ra, false, 2, 2)
	take(rb, false, 4, 1)
	all.kill(b)
	ra.deepened.Store(int64(time.Since(begun)))
	take(ra, false, 5, 1)
	if m := take(ra, true, 4, 2); !m.Recovered {
		t.Error("the message of a dead taker is not marked as recovered")
	}
	if ra.Oldest() != a {
		t.Errorf("Oldest = %x", ra.Oldest())
	}
	for i, m := range []*Message{&third, &second, &first} {
		if done, moved := ra.Done(m); !done || moved != (i == 2) {
			t.Errorf("Done = %v, %v", done, moved)
		}
	}
	if n, err := ra.Len(); n != 5 || err != nil {
		t.Errorf("Len = %d, %v", n, err)
	}
	if n := ra.GiveBack(func(taker layout.Ident) bool { return taker == a }); n != 2 {
		t.Errorf("GiveBack freed %d messages", n)
	}
	take(ra, false, 4, 3)
	take(ra, false, 5, 2)
	take(ra, false, 6, 1)
}

// FuzzRing writes arbitrary values to the words of a ring between calls. Every
// call must return, and must access nothing but the queue. Without such writes,
// messages are received in the order in which they were sent.
func FuzzRing(f *testing.F) {
	f.Add(uint8(2), []byte{0, 0, 1, 3, 1, 4, 1, 3})
	for word := range 8 {
		f.Add(uint8(3), []byte{0, 0, 1, 16 + byte(word), 255, 255, 255, 255, 255, 255, 255, 255, 1, 2, 3, 4, 5, 6, 7, 8})
		f.Add(uint8(1), []byte{0, 16 + byte(word), 1, 0, 0, 0, 0, 0, 0, 128, 1, 2, 3, 4, 5, 6, 7, 8})
	}
	f.Fuzz(func(t *testing.T, depth uint8, script []byte) {
		mem, g := memory(t, 1+int(depth%8))
		ident := [2]layout.Ident{layout.NewIdent(1, 1), layout.NewIdent(2, 1)}
		alive := func(ident uint32) bool { return ident%2 == 1 }
		rings := [2]*Ring{New(mem, g, ident[0], alive, 1), New(mem, g, ident[1], alive, 1)}
		page := layout.NewWaitPage(mem, g)
		words := []*atomic.Uint64{page.Word(layout.TailWord), page.Word(layout.HeadWord), page.Word(layout.CursorWord)}
		for i := range g.Slots {
			slot := rings[0].slots.Slot(uint64(i))
			words = append(words, slot.State())
		}
		next := func() (b byte) {
			if len(script) > 0 {
				b, script = script[0], script[1:]
			}
			return b
		}
		var held []Message
		patched, shut := false, false
		sent, oldest := uint64(0), uint64(0)
		for len(script) > 0 {
			op := next()
			r := rings[op>>3&1]
			switch {
			case op >= 16:
				var v [8]byte
				for i := range v {
					v[i] = next()
				}
				words[int(op)%len(words)].Store(binary.LittleEndian.Uint64(v[:]))
				patched = true
			case op&7 == 0:
				ticket, slot, full, err := r.Reserve()
				if !patched && (err != nil) != shut {
					t.Fatal("Reserve:", err)
				}
				if err == nil && !full {
					if sent++; !patched && ticket != sent {
						t.Fatalf("ticket %d, want %d", ticket, sent)
					}
					v := newValue(ticket)
					layout.Put(slot, &v)
					r.Post(ticket, slot, capacity)
					r.Send(ticket)
				}
			case op&7 == 1, op&7 == 2:
				m, ok, err := r.Take(op&7 == 2)
				if err != nil && (!patched || !errors.Is(err, layout.ErrCorrupt)) {
					t.Fatal("Take:", err)
				}
				if !ok {
					break
				}
				if b, err := r.slots.Value(m.Slot); err == nil && len(b) > capacity || err != nil && !patched {
					t.Fatalf("%d bytes, %v", len(b), err)
				}
				if !patched && m.Attempt() == 1 {
					if m.ticket <= oldest {
						t.Fatalf("message %d after %d", m.ticket, oldest)
					}
					oldest = m.ticket
				}
				held = append(held, m)
			case op&7 == 3, op&7 == 4:
				if len(held) == 0 {
					break
				}
				m := held[0]
				held = held[1:]
				if op&7 == 3 {
					r.Done(&m)
				} else {
					r.Return(&m)
				}
			case op&7 == 5:
				r.Advance()
				r.Room()
				r.Ended()
				r.Idle()
				r.Oldest()
				if n, err := r.Len(); n < 0 || n > g.Slots || err != nil && !patched {
					t.Fatalf("Len = %d, %v", n, err)
				}
			case op&7 == 6:
				r.GiveBack(func(taker layout.Ident) bool { return taker == r.self })
			case op&7 == 7 && op < 8:
				r.Shut()
				shut = true
			}
		}
	})
}

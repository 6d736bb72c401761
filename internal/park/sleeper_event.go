//go:build windows

package park

import (
	"strconv"
	"sync/atomic"
	"time"

	"github.com/sharedseg/sharedseg/internal/kernel"
	"golang.org/x/sys/windows"
)

// Broadcast is a word on which all sleepers are woken. Its methods may be
// called concurrently.
//
// Threads that sleep while the word is v wait on a named event for v, which is
// never reset. A process that changes the word from v sets that event if it
// exists. So no wake-up is lost between loading the word and the sleep, and
// threads that already sleep again cannot take a wake-up from others.
type Broadcast struct {
	word   *atomic.Uint32
	family *kernel.Family
}

// NewBroadcast returns the broadcast to threads that sleep on word.
func NewBroadcast(word *atomic.Uint32, family *kernel.Family) *Broadcast {
	return &Broadcast{word, family}
}

func versionPart(v uint32) string { return "version" + strconv.FormatUint(uint64(v), 10) }

// Wake wakes all threads that sleep because the word was old. It does not
// block.
func (b *Broadcast) Wake(old uint32) {
	if b.family != nil {
		b.family.Set(versionPart(old))
	}
}

// Changed wakes all threads that sleep because the word was old, as no later
// Wake reaches them.
func (b *Broadcast) Changed(old uint32) { b.Wake(old) }

// Spot is where one thread sleeps on the word of a Broadcast. The zero Spot is
// ready for Prepare.
type Spot struct {
	changed windows.Handle // the event for old; 0 without one
	old     uint32
}

// Prepare makes the next Sleep on s end when b's word is not old. It reports
// whether the word is still old.
func (s *Spot) Prepare(b *Broadcast, old uint32) bool {
	if s.changed == 0 || s.old != old {
		s.Close()
		if s.old = old; b.family != nil {
			s.changed, _, _ = b.family.Event(versionPart(old), true)
		}
	}
	return b.word.Load() == old
}

// Close frees what Prepare created. No thread may sleep on s.
func (s *Spot) Close() {
	if s.changed != 0 {
		windows.CloseHandle(s.changed)
		s.changed = 0
	}
}

const maxObjects = 64 // MAXIMUM_WAIT_OBJECTS

// Words returns the number of Spots that a Sleeper can sleep on at once.
func Words() int { return maxObjects - 1 }

// Sleeper lets a thread sleep on several Spots. Kick may be called concurrently
// with Sleep, but only one goroutine at a time may call Sleep.
type Sleeper struct {
	kick    windows.Handle // 0 if it could not be created
	objects []windows.Handle
	spots   []*Spot // the Spot of each object
}

// NewSleeper returns a Sleeper for at most words Spots at once. It has a handle
// that is never closed.
func NewSleeper(words int) *Sleeper {
	s := new(Sleeper)
	s.kick, _ = windows.CreateEvent(nil, 0, 0, nil)
	return s
}

// Sleep sleeps until one of the words differs from what its Spot was prepared
// for, or is woken, or until Kick, for at most limit. It reports whether it
// reached limit. It blocks its thread. If an event for a word or for Kick is
// missing, it returns soon.
func (s *Sleeper) Sleep(on []*Spot, limit time.Duration) (expired bool) {
	s.objects, s.spots = s.objects[:0], s.spots[:0]
	for _, spot := range on {
		if spot.changed != 0 {
			s.objects, s.spots = append(s.objects, spot.changed), append(s.spots, spot)
		}
	}
	whole := len(s.objects) == len(on) && s.kick != 0
	if s.kick != 0 {
		s.objects = append(s.objects, s.kick)
	}
	if !whole {
		limit = min(limit, lastPause)
	}
	if len(s.objects) == 0 {
		time.Sleep(limit)
		return false
	}
	i := wait(limit, s.objects...)
	if i >= 0 && i < len(s.spots) {
		s.spots[i].Close() // an event that a peer set for no reason must not end every later Sleep
	}
	clear(s.spots)
	return i < 0 && whole
}

// Kick ends the current Sleep, or the next one if no thread sleeps.
func (s *Sleeper) Kick() {
	if s.kick != 0 {
		windows.SetEvent(s.kick)
	}
}

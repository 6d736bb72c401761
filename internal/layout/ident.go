package layout

import (
	"sync/atomic"

	"github.com/sharedseg/sharedseg/internal/step"
)

// The mutex word has the owner's identity in its low bits, 0 if the mutex is
// free, and two flags.
const (
	WaitersBit      = 1 << 31 // a waiter is parked on the word, or may be
	InconsistentBit = 1 << 30 // an owner died, and no repair has succeeded since
	IdentMask       = 1<<(slotBits+genBits) - 1
)

// Ident identifies the owner of a mutex: a member slot and the slot's
// generation. A valid Ident is never 0.
type Ident uint32

const (
	slotBits = 10
	genBits  = 20
	genMask  = 1<<genBits - 1
)

// NewIdent returns the identity of a member slot in a generation, of which only
// the low 20 bits count.
func NewIdent(slot int, generation uint32) Ident {
	return Ident(generation&genMask<<slotBits | uint32(slot)&(Members-1))
}

// Slot returns the member slot, 0 <= Slot < Members.
func (i Ident) Slot() int { return int(i & (Members - 1)) }

// Generation returns the slot's generation, which has at most 20 bits.
func (i Ident) Generation() uint32 { return uint32(i) >> slotBits & genMask }

// Owner returns the identity in a mutex word, 0 if the mutex is free.
func Owner(word uint32) Ident { return Ident(word & IdentMask) }

// NextGeneration returns the generation after g: 1 to 2^20-1, then 1 again.
// Generation 0 is never used, so an Ident is never 0.
func NextGeneration(g uint32) uint32 {
	if g = (g + 1) & genMask; g == 0 {
		g = 1
	}
	return g
}

// MutexWord is the mutex word as one handle sees it. Its methods are the fast
// paths of Lock and Unlock, for when no other handle wants the mutex.
type MutexWord struct {
	Word *atomic.Uint32
	Self uint32 // the handle's identity
}

// TryLock takes the mutex if the word is 0: free, consistent, and without
// waiters. It reports whether it did.
func (w MutexWord) TryLock() bool {
	if !w.Word.CompareAndSwap(0, w.Self) {
		return false
	}
	step.At(step.LockTaken)
	return true
}

// TryUnlock frees the mutex if the handle owns it and the word has no flag. It
// reports whether it did.
func (w MutexWord) TryUnlock() bool {
	step.At(step.Unlocking)
	if !w.Word.CompareAndSwap(w.Self, 0) {
		return false
	}
	step.At(step.Unlocked)
	return true
}

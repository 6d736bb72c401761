package ipcsync

import (
	"sync/atomic"

	"github.com/sharedseg/sharedseg/internal/fence"
	"github.com/sharedseg/sharedseg/internal/layout"
)

// Counters are the two words in shared memory that a [SeqLock] works on: the
// version that is being written, or was last, and the version that is complete.
// Both are 0 at first. They must be aligned to 8 bytes, also on 32-bit
// machines, should have a cache line of their own, and belong to no Go
// variable: to the race detector and the compiler's eyes their use is a data
// race.
type Counters [2]uint64

const (
	begin = 0
	end   = 1
)

// SeqLock publishes versions 1, 2, 3 … of a value that is too large to be
// stored at one stroke, from one writer at a time to any number of readers, in
// memory that several processes share. Readers store nothing, so they never
// delay each other or a writer, and need no more than read access.
//
// The value lives in a ring of slots, which are the caller's: version v in slot
// v modulo the number of slots. A writer fills another slot than the current
// one, so a writer that dies half-way leaves the current version whole, and the
// next writer just uses the same slot again: nothing needs to be repaired.
//
//	version, slot := l.WriteBegin()        // holding the lock that excludes other writers
//	… fill slots[slot] …
//	l.WriteEnd(version)
//
//	for {
//		version, slot := l.ReadBegin()
//		… copy slots[slot]; no decision may be based on it yet …
//		if !l.ReadRetry(version) {
//			break
//		}
//	}
//
// With n slots a reader is disturbed only if n-1 versions are written while it
// copies. The methods may be called concurrently, except those that write: one
// WriteBegin with its WriteEnd at a time may run among all processes, as under
// a [Mutex].
//
// It is the sequence lock of Lameter ("Effective synchronization on Linux/NUMA
// systems", 2005) with the fences of Boehm ("Can seqlocks get along with
// programming language memory models?", MSPC 2012), over a ring of slots as in
// a multi-version register.
type SeqLock struct {
	c     *Counters
	slots uint64
	in    layout.Modulus // slots
	large bool           // copies may pass by the order of plain stores
}

// NewSeqLock returns the sequence lock of c over the given number of slots, at
// least 2 and the same in all processes, of values of up to size bytes. Any
// number of SeqLocks may refer to the same Counters.
func NewSeqLock(c *Counters, slots, size int) SeqLock {
	if slots < 2 {
		panic("ipcsync: a SeqLock needs at least 2 slots")
	}
	return SeqLock{c, uint64(slots), layout.NewModulus(slots), size >= fence.StreamingSize}
}

// Version returns the number of the last complete version, 0 if there is none.
func (l *SeqLock) Version() uint64 { return atomic.LoadUint64(&l.c[end]) }

// Slot returns the slot of a version: the version modulo the number of slots,
// for versions below 2^63. For others it is still a slot.
func (l *SeqLock) Slot(version uint64) uint64 { return l.in.Of(version) }

// WriteBegin announces the next version, and returns it with the slot to write
// it to. If the writer gives up, or dies, the next WriteBegin returns the same
// version.
func (l *SeqLock) WriteBegin() (version, slot uint64) {
	version, slot = l.WriteNext()
	l.WriteAnnounce(version)
	return version, slot
}

// WriteNext returns the version that WriteBegin would announce, and its slot.
// WriteNext and WriteAnnounce are WriteBegin in two steps, for slots that
// themselves say which version they hold: between the two a writer has the slot
// say that it holds none. A writer may also step over slots: it announces a
// later version than WriteNext returned, one that has another slot than the
// current version. So versions grow, but may skip numbers.
func (l *SeqLock) WriteNext() (version, slot uint64) {
	// What was announced is not taken back, as a reader goes by that: begin
	// does not decrease. 0 is not reached but by a peer that writes nonsense.
	version = max(l.Version()+1, l.Announced(), 1)
	return version, l.Slot(version)
}

// Announced returns the version that was announced last. If it is not the
// current one, then a writer is writing it, gave up, or died.
func (l *SeqLock) Announced() uint64 { return atomic.LoadUint64(&l.c[begin]) }

// WriteAnnounce announces the version that WriteNext returned, or a later one.
// Its slot may be written from then on.
func (l *SeqLock) WriteAnnounce(version uint64) {
	if l.large {
		atomic.StoreUint64(&l.c[begin], version)
	} else {
		fence.Publish(&l.c[begin], version)
	}
	fence.StoreStore()
}

// WriteAnnounceFull is WriteAnnounce for a slot that is written in any way: its
// barrier also keeps stores that are not in the order of the others, as the
// non-temporal ones of large copies, behind the announcement.
func (l *SeqLock) WriteAnnounceFull(version uint64) {
	atomic.StoreUint64(&l.c[begin], version)
	fence.StoreStore()
}

// WriteEnd makes a version the current one. It is seen by all readers that
// start afterwards.
func (l *SeqLock) WriteEnd(version uint64) { fence.Publish(&l.c[end], version) }

// ReadBegin returns the current version and its slot. Version 0 has no value:
// its slot has never been written.
func (l *SeqLock) ReadBegin() (version, slot uint64) {
	version = l.Version()
	return version, l.Slot(version)
}

// ReadRetry reports whether a copy that was made since the ReadBegin of a
// version may be torn, because a writer has come round to its slot. It has not
// if the version is still the current one, however far writers that stepped
// over slots have gone.
func (l *SeqLock) ReadRetry(version uint64) bool {
	fence.LoadLoad()
	return atomic.LoadUint64(&l.c[begin])-version >= l.slots && l.Version() != version
}

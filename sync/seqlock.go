package ipcsync

import (
	"sync/atomic"

	"github.com/sharedseg/sharedseg/internal/fence"
	"github.com/sharedseg/sharedseg/internal/layout"
)

// Counters are the two words in shared memory that a [SeqLock] uses: the
// version that was announced last, and the version that was completed last.
// Both are 0 at first. They must be aligned to 8 bytes, even on 32-bit
// machines, and should have a cache line of their own. They should not be in a
// Go variable: to the race detector and the compiler, their use is a data race.
type Counters [2]uint64

const (
	begin = 0
	end   = 1
)

// SeqLock publishes versions 1, 2, 3 … of a value that is too large for one
// atomic store, from one writer at a time to any number of readers, in memory
// that several processes share. Readers store nothing. So they never delay each
// other or a writer, and need only read access.
//
// The caller provides a ring of slots for the values. Version v is in slot v
// modulo the number of slots. A writer fills a slot other than the current one.
// If it dies halfway, the current version is intact and the next writer uses
// the same slot again, so nothing needs to be repaired.
//
//	version, slot := l.WriteBegin() // with a lock held that excludes other writers
//	… fill slots[slot] …
//	l.WriteEnd(version)
//
//	for {
//		version, slot := l.ReadBegin()
//		… copy slots[slot], but do not act on the copy yet …
//		if !l.ReadRetry(version) {
//			break
//		}
//	}
//
// With n slots, a reader must retry only if n-1 versions are written while it
// copies. The methods may be called concurrently, except for writing: among all
// processes, only one WriteBegin with its WriteEnd may run at a time, for
// example under a [Mutex].
//
// SeqLock is the sequence lock of Lameter ("Effective synchronization on
// Linux/NUMA systems", 2005) with the fences of Boehm ("Can seqlocks get along
// with programming language memory models?", MSPC 2012), over a ring of slots
// as in a multi-version register.
type SeqLock struct {
	c     *Counters
	slots uint64
	in    layout.Modulus // modulo slots
	large bool           // copies may use stores that are not ordered with others
}

// NewSeqLock returns a sequence lock that uses c, with the given number of
// slots, for values of up to size bytes. The number of slots must be the same
// in all processes. NewSeqLock panics if it is less than 2. Any number of
// SeqLocks may use the same Counters.
func NewSeqLock(c *Counters, slots, size int) SeqLock {
	if slots < 2 {
		panic("ipcsync: a SeqLock needs at least 2 slots")
	}
	return SeqLock{c, uint64(slots), layout.NewModulus(slots), size >= fence.StreamingSize}
}

// Version returns the number of the last complete version, 0 if there is none.
func (l *SeqLock) Version() uint64 { return atomic.LoadUint64(&l.c[end]) }

// Slot returns the slot of a version: the version modulo the number of slots,
// for versions below 2^63. For other versions it returns some valid slot.
func (l *SeqLock) Slot(version uint64) uint64 { return l.in.Of(version) }

// WriteBegin announces the next version, and returns it with the slot to write
// it to. If the writer gives up or dies, the next WriteBegin returns the same
// version.
func (l *SeqLock) WriteBegin() (version, slot uint64) {
	version, slot = l.WriteNext()
	l.WriteAnnounce(version)
	return version, slot
}

// WriteNext returns the version that WriteBegin would announce, and its slot.
// WriteNext and WriteAnnounce are WriteBegin in two steps. They are for slots
// that record which version they hold: between the two calls the writer marks
// the slot as empty. A writer may also skip slots: it announces a later version
// than WriteNext returned, whose slot is not that of the current version. So
// versions increase, but may skip numbers.
func (l *SeqLock) WriteNext() (version, slot uint64) {
	// Readers rely on begin, so it must not decrease. Only a peer that writes
	// nonsense makes the sum 0.
	version = max(l.Version()+1, l.Announced(), 1)
	return version, l.Slot(version)
}

// Announced returns the version that was announced last. If it is not the
// current one, a writer is writing it, gave up, or died.
func (l *SeqLock) Announced() uint64 { return atomic.LoadUint64(&l.c[begin]) }

// WriteAnnounce announces the version that WriteNext returned, or a later one.
// Its slot may be written afterwards.
func (l *SeqLock) WriteAnnounce(version uint64) {
	if l.large {
		atomic.StoreUint64(&l.c[begin], version)
	} else {
		fence.Publish(&l.c[begin], version)
	}
	fence.StoreStore()
}

// WriteAnnounceFull is WriteAnnounce for slots that may be written with any
// kind of store. Its barrier also orders the announcement before weakly ordered
// stores, such as the non-temporal stores of large copies.
func (l *SeqLock) WriteAnnounceFull(version uint64) {
	atomic.StoreUint64(&l.c[begin], version)
	fence.StoreStore()
}

// WriteEnd makes a version the current one. All readers that start afterwards
// see it.
func (l *SeqLock) WriteEnd(version uint64) { fence.Publish(&l.c[end], version) }

// ReadBegin returns the current version and its slot. Version 0 has no value:
// no version was written yet.
func (l *SeqLock) ReadBegin() (version, slot uint64) {
	version = l.Version()
	return version, l.Slot(version)
}

// ReadRetry reports whether a copy that was made since the ReadBegin of a
// version may be torn, because a writer has reached its slot again. No writer
// has reached it while the version is the current one, even if writers skipped
// slots.
func (l *SeqLock) ReadRetry(version uint64) bool {
	fence.LoadLoad()
	return atomic.LoadUint64(&l.c[begin])-version >= l.slots && l.Version() != version
}

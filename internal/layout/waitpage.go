package layout

import (
	"iter"
	"math/bits"
	"sync/atomic"
	"unsafe"

	"github.com/sharedseg/sharedseg/internal/fence"
)

// waitWords is the wait page. Words with different writers lie on different
// cache lines of 64 bytes.
type waitWords struct {
	watchFlag atomic.Uint32 // a waiter may be parked until the next version
	_         [60]byte
	events    [Events]struct {
		seq, flag atomic.Uint32
		_         [56]byte
	}
	words [WaitWords]struct { // each kind gives them a meaning
		word atomic.Uint64
		_    [56]byte
	}
	used      atomic.Uint64           // bit i: usedWords[i] may have a bit set
	usedWords [rowWords]atomic.Uint64 // bit b of word i: member 64*i+b may use its row
}

type memberRows [Members]atomic.Uint64

const (
	waitPageSize = int(unsafe.Sizeof(waitWords{}))
	rowsSize     = int(unsafe.Sizeof(memberRows{}))
	rowWords     = Members / 64
)

const (
	// Events is the number of event counts of a wait page.
	Events = 3
	// WaitWords is the number of a wait page's words whose meaning the kind
	// gives.
	WaitWords = 8
	// RowBits is the number of bits of a row.
	RowBits = 64
)

// WaitPage is the part of a mapping that even a reader may write: a page of
// words and, for some kinds, a row for each member after it. All its values are
// untrusted.
type WaitPage struct {
	words *waitWords // nil if this process may not write it
	rows  *memberRows
}

// NewWaitPage returns the wait page of mem, a mapping of g.Size() bytes.
func NewWaitPage(mem []byte, g *Geometry) WaitPage {
	words, wordsLen, rows, rowsLen := g.WaitPageParts()
	return CopiedWaitPage(mem[words:words+wordsLen], mem[rows:rows+rowsLen])
}

// WaitPageParts returns the offsets and lengths of the wait page's words and of
// the rows, in bytes. The length of the rows is 0 if there are none. The parts
// are smaller than the whole memory pages of [Geometry.WaitPage].
func (g *Geometry) WaitPageParts() (words, wordsLen, rows, rowsLen int64) {
	if g.waitPage == 0 {
		return 0, 0, 0, 0
	}
	words, wordsLen = g.waitPage, int64(waitPageSize)
	if g.HasRows() {
		rows, rowsLen = g.waitPage+int64(g.page), int64(rowsSize)
	}
	return words, wordsLen, rows, rowsLen
}

// CopiedWaitPage returns a wait page over private copies of its parts. They
// must be aligned as Go allocates byte slices of their lengths.
func CopiedWaitPage(words, rows []byte) WaitPage {
	return WaitPage{inBytes[waitWords](words), inBytes[memberRows](rows)}
}

// inBytes returns the T at the start of b, nil if b is empty.
func inBytes[T any](b []byte) *T {
	if len(b) == 0 {
		return nil
	}
	var v T
	p := unsafe.Pointer(unsafe.SliceData(b[:unsafe.Sizeof(v)]))
	if uintptr(p)%8 != 0 {
		panic("layout: misaligned words")
	}
	return (*T)(p)
}

// Usable reports whether there is a wait page that this process may write.
func (w WaitPage) Usable() bool { return w.words != nil }

// at returns the address of the word at an offset, without touching the memory,
// which may have vanished. The compiler loads from *p for &p.field, as a check
// for nil.
func (w WaitPage) at(off uintptr) unsafe.Pointer { return unsafe.Add(unsafe.Pointer(w.words), off) }

// WatchFlag returns the flag that is not 0 if a waiter may be parked until the
// next version.
func (w WaitPage) WatchFlag() *atomic.Uint32 {
	return (*atomic.Uint32)(w.at(unsafe.Offsetof(waitWords{}.watchFlag)))
}

// Event is an event count: a sequence number that changes with each wake-up,
// and a flag that is not 0 if a waiter may be parked on it.
type Event struct{ Seq, Flag *atomic.Uint32 }

// Event returns event count i, 0 <= i < Events.
func (w WaitPage) Event(i int) Event {
	if uint(i) >= Events {
		panic("layout: event out of range")
	}
	var words waitWords
	off := unsafe.Offsetof(words.events) + uintptr(i)*unsafe.Sizeof(words.events[0])
	return Event{
		(*atomic.Uint32)(w.at(off + unsafe.Offsetof(words.events[0].seq))),
		(*atomic.Uint32)(w.at(off + unsafe.Offsetof(words.events[0].flag))),
	}
}

// Word returns word i, 0 <= i < WaitWords, whose meaning the kind gives. It has
// a cache line to itself.
func (w WaitPage) Word(i int) *atomic.Uint64 {
	if uint(i) >= WaitWords {
		panic("layout: word out of range")
	}
	var words waitWords
	return (*atomic.Uint64)(w.at(unsafe.Offsetof(words.words) + uintptr(i)*unsafe.Sizeof(words.words[0])))
}

// Row returns the word of a member slot, 0 <= slot < Members. The words are
// ordered by the slot numbers with their bits reversed, so that members that
// were opened one after the other do not share a cache line.
func (w WaitPage) Row(slot int) *atomic.Uint64 {
	if uint(slot) >= Members {
		panic("layout: row out of range")
	}
	i := uintptr(bits.Reverse16(uint16(slot)) >> (16 - slotBits))
	return (*atomic.Uint64)(unsafe.Add(unsafe.Pointer(w.rows), i*unsafe.Sizeof(w.rows[0])))
}

// UseRow records that a member is about to use its row. The caller must hold
// the registry.
func (w WaitPage) UseRow(slot int) {
	w.words.usedWords[slot/64].Or(1 << (slot % 64))
	w.words.used.Or(1 << (slot / 64))
}

// DisuseRow records that a member no longer uses its row, which must be 0. The
// caller must hold the registry.
func (w WaitPage) DisuseRow(slot int) {
	i := slot / 64
	w.words.usedWords[i].And(^(uint64(1) << (slot % 64)))
	if w.words.usedWords[i].Load() == 0 {
		w.words.used.And(^(uint64(1) << i))
	}
}

// Holding is the content of a row that names its holder: the identity in the
// low 30 bits and above them a number, whose meaning the kind gives. It is 0 if
// the number is.
type Holding uint64

// MaxHolding is the largest number in a Holding.
const MaxHolding = 1<<(64-slotBits-genBits) - 1

// NewHolding returns the Holding of a holder and a number, 0 <= n <=
// MaxHolding.
func NewHolding(holder Ident, n uint64) Holding {
	if n == 0 {
		return 0
	}
	return Holding(n<<(slotBits+genBits) | uint64(holder&IdentMask))
}

// Holder returns the identity of the holder.
func (h Holding) Holder() Ident { return Ident(h & IdentMask) }

// N returns the number, at most MaxHolding.
func (h Holding) N() uint64 { return uint64(h) >> (slotBits + genBits) }

// CondBits is how many low bits of a Holding's number count the goroutines that
// wait for a Cond. The bits above count those of them that have been granted a
// turn.
const CondBits = 17

// Waiting returns how many goroutines wait, according to a Cond's row.
func (h Holding) Waiting() uint64 { return h.N() & (1<<CondBits - 1) }

// TellEvent is the event count that wakes all waiters of a semaphore, a Cond or
// an Event. An Event is set while its sequence number is odd.
const TellEvent = 1

// PutWord stores v in a word that only the caller changes. Other processes see
// it after all earlier stores. On some architectures that is cheaper than an
// atomic store.
func PutWord(word *atomic.Uint64, v uint64) { fence.Publish((*uint64)(unsafe.Pointer(word)), v) }

// AnyRow reports whether any member uses its row.
func (w WaitPage) AnyRow() bool { return w.words.used.Load() != 0 }

// UsedRows returns an iterator over the slots of the members that may use their
// rows.
func (w WaitPage) UsedRows() iter.Seq[int] {
	return func(yield func(slot int) bool) {
		for words := w.words.used.Load() & (1<<rowWords - 1); words != 0; words &= words - 1 {
			i := bits.TrailingZeros64(words)
			for used := w.words.usedWords[i].Load(); used != 0; used &= used - 1 {
				if !yield(64*i + bits.TrailingZeros64(used)) {
					return
				}
			}
		}
	}
}

// OrRows returns all rows in use combined by OR, including those of dead
// members.
func (w WaitPage) OrRows() (or uint64) {
	for words := w.words.used.Load() & (1<<rowWords - 1); words != 0; words &= words - 1 {
		i := bits.TrailingZeros64(words)
		for used := w.words.usedWords[i].Load(); used != 0; used &= used - 1 {
			or |= w.Row(64*i + bits.TrailingZeros64(used)).Load()
		}
	}
	return or
}

// Package layout is the binary format of a mapping: every offset, every cast of
// mapped memory, and every check on bytes that another process may have
// written. docs/format.md describes the same bytes for readers of other
// languages.
//
// A mapping is one file (or section), in host byte order:
//
//	    0  static header, written once by the initialiser   readyOff is stored last
//	  128  the mutex word                                   written by whoever locks
//	  192  begin, end                                       written by the holder of the mutex
//	  256  counters                                         written by whoever waits, takes over or is disturbed
//	  320  member table, Members x {generation, PID}        written under the registry lock
//	 8512  codec ID, then type name, UTF-8                  written once
//	 wait  one page: a flag, event counts, words            written by whoever waits, and wakes
//	 rows  Members x 64 bits                                each written by its member
//	slots  Slots x (64-byte slot header + capacity, both rounded up to 64)
//
// Words with different writers lie on different cache lines. What a kind has no
// use for is not there: a mutex ends after the texts, and only segments and
// queues have slots.
package layout

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"math/rand/v2"
	"sync/atomic"
	"unsafe"

	"github.com/sharedseg/sharedseg/internal/step"
)

// Errors about the content of a mapping. The root package exports them under
// the same names.
var (
	// ErrIncompatible means that the name leads to something other than what
	// was asked for.
	ErrIncompatible = errors.New("incompatible")
	// ErrCorrupt means that the mapping holds what no correct peer writes.
	ErrCorrupt = errors.New("corrupt")
)

// Magic opens every initialised or half initialised mapping.
const Magic = "sharedsg"

// Format is the version of this layout; it is stored last and so tells that the
// mapping is ready.
const Format = 2

// minSize is what a ready mapping of any format has at least, in bytes.
const minSize = 4352

// Members is the number of handles that may hold a writable mapping at one
// time.
const Members = 1 << slotBits

// MaxSlots is the largest number of slots.
const MaxSlots = 1 << 16

// MaxText is the length of the longest codec ID, and of the longest type name,
// in bytes. The codec ID of a struct grows with its fields, about 23 bytes
// each.
const MaxText = 1 << 20

// Offsets of the header. All static fields lie below 128.
const (
	magicOff    = 0
	readyOff    = 8  // uint32: 0 until initialised, then Format
	orderOff    = 12 // uint32: byteOrder
	dirtyOff    = 16 // uint32: while ready is 0, not 0 if a dead owner is to be remembered
	flagsOff    = 20 // uint32: flagPersist | flagLockReads
	kindOff     = 24 // uint32: Kind
	slotsOff    = 28 // uint32: number of slots
	sizeOff     = 32 // uint64: bytes of the whole mapping
	capacityOff = 40 // uint64: largest encoding, bytes
	strideOff   = 48 // uint64: distance between slots, bytes
	slotAreaOff = 56 // uint64: offset of slot 0
	waitPageOff = 64 // uint64: offset of the wait page
	pageOff     = 72 // uint32: bytes of a memory page; the wait page is one
	codecLenOff = 76 // uint32: bytes of the codec ID
	typeLenOff  = 80 // uint32: bytes of the type name
	membersOff  = 84 // uint32: Members
	birthOff    = 88 // uint64: random, another for each initialisation
	rotorOff    = 96 // uint32: member slot to try first; under the registry lock
	staticSize  = 100

	MutexOff  = 128 // uint32
	BeginOff  = 192 // uint64
	EndOff    = 200 // uint64
	countOff  = 256 // Counters x uint64
	memberOff = 320 // Members x memberSize
	textOff   = memberOff + memberSize*Members

	memberSize   = 8
	holderPIDOff = 4 // uint32, in a member slot, after its generation
)

// SlotHeader is the distance from a slot's start to its value, in bytes.
const SlotHeader = 64

// Offsets of a slot's header.
const (
	slotVersionOff  = 0  // uint64: version of the value, 0 while it is written
	slotPreviousOff = 8  // uint64: the version before that
	slotLengthOff   = 16 // uint64: bytes of the value
)

const (
	byteOrder     = 0x0A0B0C0D
	flagPersist   = 1
	flagLockReads = 2
	align         = 64
)

// Lock bytes: positions, far behind any data, of the byte-range locks that
// file-backed mappings use.
const (
	RegistryByte = 1 << 62
	ReaderByte   = RegistryByte + 1
	MemberByte   = RegistryByte + 2 // + member slot

	ReaderPlace  = RegistryByte + 1<<31 // + a random number below ReaderPlaces; by which readers are counted
	ReaderPlaces = 1 << 30

	QueueByte = RegistryByte + 1<<32 // + ticket, 1 to Tickets-1, of those that wait for RegistryByte
	Tickets   = 1 << 61
)

// Counter is a kind of event that the header counts. Events are counted on
// slow paths only, by handles that may write.
type Counter int

const (
	Waits          Counter = iota // a Lock, or a wait for a version, that had to park
	TakeOvers                     // the lock of a dead owner was taken over
	DisturbedReads                // a read that had to start again
	Redeliveries                  // a message was taken from a dead taker

	Counters = 8 // places; those without a name are 0
)

// Kind is what a mapping is for.
type Kind uint32

const (
	KindSegment Kind = 1 + iota
	KindMutex
	KindQueue
	KindRWMutex
	KindSemaphore
	KindCond
	KindEvent
)

var kinds = [...]string{
	KindSegment: "segment", KindMutex: "mutex", KindQueue: "queue", KindRWMutex: "rwmutex",
	KindSemaphore: "semaphore", KindCond: "cond", KindEvent: "event",
}

func (k Kind) known() bool { return k > 0 && int64(k) < int64(len(kinds)) }

func (k Kind) String() string {
	if !k.known() {
		return fmt.Sprintf("unknown kind %d", uint32(k))
	}
	return kinds[k]
}

// Repairable reports whether a mapping of the kind guards something that may
// need a repair when an owner died, so that its death must not be forgotten.
func (k Kind) Repairable() bool { return k == KindMutex || k == KindRWMutex }

func (k Kind) waits() bool { return k != KindMutex }

func (k Kind) slotted() bool { return k == KindSegment || k == KindQueue }

// fewestSlots is the least number of slots of a slotted kind. A segment's
// current value stays while the next is written.
func (k Kind) fewestSlots() int {
	if k == KindSegment {
		return 2
	}
	return 1
}

// Geometry is the checked private copy of a mapping's static header.
type Geometry struct {
	Kind      Kind
	Persist   bool
	LockReads bool // readers take the mutex
	Slots     int
	Capacity  int64 // bytes of the largest encoding; of a semaphore, its permits
	CodecID   string
	TypeName  string

	stride   int64
	slotArea int64
	waitPage int64
	page     int
	size     int64
}

// Size is the length of the whole mapping in bytes. It may be more than a
// process of 32 bits can address.
func (g *Geometry) Size() int64 { return g.size }

// PageSize is the size of the memory pages that the mapping is made for.
func (g *Geometry) PageSize() int { return g.page }

// WaitPage is where the wait page and the rows behind it lie, in whole memory
// pages: their offset and their length in bytes. The length is 0 if there is no
// wait page.
func (g *Geometry) WaitPage() (off, n int) {
	switch {
	case g.waitPage == 0:
		return 0, 0
	case g.HasRows():
		return int(g.waitPage), g.page + int(roundUp(uint64(rowsSize), uint64(g.page)))
	}
	return int(g.waitPage), g.page
}

// HasRows reports whether members have rows.
func (g *Geometry) HasRows() bool {
	switch g.Kind {
	case KindSegment:
		return g.Slots <= RowBits
	case KindRWMutex, KindSemaphore, KindCond:
		return true
	}
	return false
}

// RowsNameHolders reports whether a row says whose it is, see [Holding]. What a
// dead holder left in such a row is for the others to take back, so nobody
// clears it to claim the member slot.
func (k Kind) RowsNameHolders() bool { return k == KindSemaphore || k == KindCond }

// Place computes the offsets of a geometry whose other fields are set, for
// memory pages of the given size. It returns fs.ErrInvalid for a geometry that
// no mapping can have.
func (g *Geometry) Place(page int) error {
	if len(g.CodecID) > MaxText || len(g.TypeName) > MaxText {
		return fmt.Errorf("%w: the codec ID has %d bytes, the type name %d; the limit of both is %d",
			fs.ErrInvalid, len(g.CodecID), len(g.TypeName), MaxText)
	}
	at := uint64(textOff + len(g.CodecID) + len(g.TypeName))
	g.page = page
	if g.Kind.waits() {
		g.waitPage = int64(roundUp(at, uint64(page)))
		_, n := g.WaitPage()
		at = uint64(g.waitPage) + uint64(n)
	}
	if g.Kind.slotted() {
		g.slotArea = int64(at)
		stride := SlotHeader + roundUp(uint64(g.Capacity), align)
		if g.Slots > MaxSlots || g.Capacity < 0 || stride > (math.MaxInt64/2-at)/uint64(g.Slots) {
			return fmt.Errorf("%w: %d slots of %d bytes are more than any machine can address", fs.ErrInvalid, g.Slots, g.Capacity)
		}
		g.stride = int64(stride)
		at += stride * uint64(g.Slots)
	}
	g.size = int64(roundUp(at, uint64(page)))
	return nil
}

func roundUp(n, to uint64) uint64 { return (n + to - 1) / to * to }

// Mark is what a mapping begins with from the first moment that it is longer
// than nothing, so that a file with another beginning is known for a
// stranger's. It says that the mapping is not ready, and if it is dirty, that
// an owner died and what the mutex guards has not been repaired since.
func Mark(dirty bool) []byte {
	b := make([]byte, kindOff)
	copy(b, Magic)
	binary.NativeEndian.PutUint32(b[orderOff:], byteOrder)
	if dirty {
		binary.NativeEndian.PutUint32(b[dirtyOff:], 1)
	}
	return b
}

// DirtySize is how much of a mapping's beginning Dirty wants to see.
const DirtySize = MutexOff + 4

// Dirty reports whether a mapping that begins with head, and that nobody is
// attached to, must not be begun anew as if nothing had been: an owner died, or
// closed its handle, with the mutex held, and what the mutex guards has not
// been repaired since. The mark says so until the mapping is ready, then the
// mutex word does. These two, and the kind, are at the same place in every
// format since 2.
func Dirty(head []byte) bool {
	u32 := func(off int) uint32 { return binary.NativeEndian.Uint32(head[off:]) }
	if !IsMarked(head) || len(head) < kindOff {
		return false
	}
	if u32(readyOff) == 0 {
		return u32(dirtyOff) != 0
	}
	return len(head) >= DirtySize && Kind(u32(kindOff)).Repairable() && u32(MutexOff)&^WaitersBit != 0
}

// WasKind is the kind of the mapping that begins with head, which Dirty says is
// dirty; 0 if it cannot be told any more.
func WasKind(head []byte) Kind {
	if len(head) < DirtySize || binary.NativeEndian.Uint32(head[readyOff:]) == 0 {
		return 0
	}
	return Kind(binary.NativeEndian.Uint32(head[kindOff:]))
}

// IsMarked reports that a file that begins with b is one of ours, initialised
// or not.
func IsMarked(b []byte) bool { return len(b) >= len(Magic) && string(b[:len(Magic)]) == Magic }

// Init writes the header into mem, which is all zero except for Mark, and the
// mutex word if Mark is dirty. Then it marks mem ready.
func (g *Geometry) Init(mem []byte) {
	put := func(off int, v int) { binary.NativeEndian.PutUint32(mem[off:], uint32(v)) }
	put64 := func(off int, v int64) { binary.NativeEndian.PutUint64(mem[off:], uint64(v)) }
	flags := 0
	if g.Persist {
		flags |= flagPersist
	}
	if g.LockReads {
		flags |= flagLockReads
	}
	put(kindOff, int(g.Kind))
	put(flagsOff, flags)
	put(membersOff, Members)
	put64(birthOff, int64(rand.Uint64()))
	put(slotsOff, g.Slots)
	put64(sizeOff, g.size)
	put64(capacityOff, g.Capacity)
	put64(strideOff, g.stride)
	put64(slotAreaOff, g.slotArea)
	put64(waitPageOff, g.waitPage)
	put(pageOff, g.page)
	put(codecLenOff, len(g.CodecID))
	put(typeLenOff, len(g.TypeName))
	copy(mem[textOff:], g.CodecID)
	copy(mem[textOff+len(g.CodecID):], g.TypeName)
	if word32(mem, dirtyOff).Load() != 0 {
		word32(mem, MutexOff).Store(InconsistentBit)
	}
	step.At(step.HeaderWritten)
	word32(mem, readyOff).Store(Format)
}

// Ready reports whether the file's beginning tells of a finished
// initialisation. Nil bytes, a file cut short by the death of its initialiser
// and a foreign file are told apart: the last is ErrIncompatible.
func Ready(head []byte) (bool, error) {
	if len(head) == 0 {
		return false, nil
	}
	if !IsMarked(head) {
		return false, fmt.Errorf("%w: it exists and is not a sharedseg mapping (it does not begin with %q)", ErrIncompatible, Magic)
	}
	if len(head) < minSize {
		return false, nil
	}
	format := binary.NativeEndian.Uint32(head[readyOff:])
	return format != 0 && (format != Format || len(head) >= textOff), nil
}

// Persists reports whether the mapping that begins with head says that it
// outlives its handles.
func Persists(head []byte) bool {
	return len(head) >= minSize && binary.NativeEndian.Uint32(head[flagsOff:])&flagPersist != 0
}

// HeadSize is how much of a mapping's beginning Ready and HeadLen want to see,
// and enough for Read in most cases.
const HeadSize = textOff + 1024

// HeadLen is how much of a ready mapping's beginning Read wants to see. The
// result is at most 2 MiB and some.
func HeadLen(head []byte) int {
	n := textOff
	for _, off := range []int{codecLenOff, typeLenOff} {
		n += int(min(binary.NativeEndian.Uint32(head[off:]), MaxText))
	}
	return n
}

// Read checks the header in head, a private copy of the first bytes of a ready
// mapping that is size bytes long.
func Read(head []byte, size int64) (*Geometry, error) {
	u32 := func(off int) uint32 { return binary.NativeEndian.Uint32(head[off:]) }
	u64 := func(off int) uint64 { return binary.NativeEndian.Uint64(head[off:]) }
	corrupt := func(what string, v uint64) error {
		return fmt.Errorf("%w: header: %s is %d", ErrCorrupt, what, v)
	}
	if len(head) < minSize {
		return nil, corrupt("length", uint64(len(head)))
	}
	if f := u32(readyOff); f != Format {
		return nil, fmt.Errorf("%w: written by format %d, this program knows format %d: close all its users, or remove it with Remove",
			ErrIncompatible, f, Format)
	}
	if len(head) < textOff {
		return nil, corrupt("length", uint64(len(head)))
	}
	if o := u32(orderOff); o != byteOrder {
		return nil, fmt.Errorf("%w: written in another byte order (mark %#x)", ErrIncompatible, o)
	}
	g := &Geometry{
		Kind:      Kind(u32(kindOff)),
		Persist:   u32(flagsOff)&flagPersist != 0,
		LockReads: u32(flagsOff)&flagLockReads != 0,
	}
	if !g.Kind.known() {
		return nil, corrupt("kind", uint64(g.Kind))
	}
	if m := u32(membersOff); m != Members {
		return nil, corrupt("number of members", uint64(m))
	}
	codecLen, typeLen := u32(codecLenOff), u32(typeLenOff)
	if codecLen > MaxText || typeLen > MaxText || textOff+int(codecLen)+int(typeLen) > len(head) {
		return nil, corrupt("length of the texts", uint64(codecLen)+uint64(typeLen))
	}
	g.CodecID = string(head[textOff : textOff+codecLen])
	g.TypeName = string(head[textOff+codecLen : textOff+codecLen+typeLen])

	page := u32(pageOff)
	if page < 1<<10 || page > 1<<24 || page&(page-1) != 0 {
		return nil, corrupt("page size", uint64(page))
	}
	slots, capacity := u32(slotsOff), u64(capacityOff)
	if g.Kind.slotted() && int(slots) < g.Kind.fewestSlots() || slots > MaxSlots || !g.Kind.slotted() && slots != 0 {
		return nil, corrupt("number of slots", uint64(slots))
	}
	if capacity > math.MaxInt64/4 {
		return nil, corrupt("capacity", capacity)
	}
	g.Slots, g.Capacity = int(slots), int64(capacity)
	// Everything else follows from what has been read, so it must be what Place
	// says.
	if err := g.Place(int(page)); err != nil {
		return nil, fmt.Errorf("%w: header: %d slots of %d bytes", ErrCorrupt, g.Slots, g.Capacity)
	}
	for _, f := range []struct {
		what       string
		have, want uint64
	}{
		{"stride", u64(strideOff), uint64(g.stride)},
		{"slot area", u64(slotAreaOff), uint64(g.slotArea)},
		{"wait page", u64(waitPageOff), uint64(g.waitPage)},
	} {
		if f.have != f.want {
			return nil, corrupt(f.what, f.have)
		}
	}
	if s := u64(sizeOff); s != uint64(g.size) || size != g.size {
		return nil, fmt.Errorf("%w: header: size is %d, the mapping has %d bytes, %d are needed", ErrCorrupt, s, size, g.size)
	}
	return g, nil
}

// SameHeader reports whether a and b, private copies of a mapping's beginning,
// agree in what its initialiser writes. If they are ready, they are of the same
// initialisation.
func SameHeader(a, b []byte) bool {
	staticA, textsA := written(a)
	staticB, textsB := written(b)
	return bytes.Equal(staticA, staticB) && bytes.Equal(textsA, textsB)
}

// written is what of head its initialiser wrote, and nobody else writes.
func written(head []byte) (static, texts []byte) {
	if len(head) < textOff {
		return head[:min(len(head), rotorOff)], nil
	}
	return head[:rotorOff], head[textOff:min(len(head), HeadLen(head))]
}

// Version reads the current version from a private copy of the mapping's
// beginning.
func Version(head []byte) uint64 { return binary.NativeEndian.Uint64(head[EndOff:]) }

// Counts reads the counters from a private copy of the mapping's beginning.
func Counts(head []byte) (counts [Counters]uint64) {
	for c := range counts {
		counts[c] = binary.NativeEndian.Uint64(head[countOff+8*c:])
	}
	return counts
}

// MemberTable is where the member table lies: its offset and its length in
// bytes.
func MemberTable() (off, n int) { return memberOff, memberSize * Members }

// MemberWords is where the two words of a member slot lie, 0 <= slot < Members.
func MemberWords(slot int) (generation, holderPID int) {
	return memberAt(slot), memberAt(slot) + holderPIDOff
}

// GenerationIn reads from a private copy of the member table what
// [Words.Generation] is in the mapping.
func GenerationIn(table []byte, slot int) uint32 {
	return binary.NativeEndian.Uint32(table[memberSize*slot:])
}

// HolderPID reads from a private copy of the member table what
// [Words.HolderPID] is in the mapping.
func HolderPID(table []byte, slot int) uint32 {
	return binary.NativeEndian.Uint32(table[memberSize*slot+holderPIDOff:])
}

// Words gives access to the words of a mapped header.
type Words struct{ mem []byte }

// NewWords returns the words of mem, which must be at least as long as the
// header of a mutex.
func NewWords(mem []byte) Words { return Words{mem[:textOff:textOff]} }

// Mutex is the mutex word.
func (w Words) Mutex() *atomic.Uint32 { return word32(w.mem, MutexOff) }

// Rotor is the member slot to try first. Its value is untrusted.
func (w Words) Rotor() *atomic.Uint32 { return word32(w.mem, rotorOff) }

// Generation is the generation of a member slot, 0 <= slot < Members. Its value
// is untrusted.
func (w Words) Generation(slot int) *atomic.Uint32 { return word32(w.mem, memberAt(slot)) }

// HolderPID is the process ID of the holder of a member slot, 0 <= slot <
// Members, as the holder's own PID namespace numbers it, and untrusted. It
// stays after the holder is gone, so it means something only while the slot is
// held. It is a hint when to ask whether the holder lives, and for tools, never
// the answer.
func (w Words) HolderPID(slot int) *atomic.Uint32 { return word32(w.mem, memberAt(slot)+holderPIDOff) }

func memberAt(slot int) int {
	if uint(slot) >= Members {
		panic("layout: member slot out of range")
	}
	return memberOff + memberSize*slot
}

// Versions is the pair begin, end.
func (w Words) Versions() *[2]uint64 {
	b := w.mem[BeginOff : BeginOff+16]
	return (*[2]uint64)(unsafe.Pointer(unsafe.SliceData(b)))
}

// Counter is the number of events of a kind, 0 <= c < Counters. Its value is
// untrusted.
func (w Words) Counter(c Counter) *atomic.Uint64 {
	if uint(c) >= Counters {
		panic("layout: counter out of range")
	}
	return word64(w.mem, int(countOff+8*c))
}

// LowHalf is the half of a mapped 64-bit word that changes with every
// increment.
func LowHalf(p *uint64) *atomic.Uint32 {
	halves := (*[2]atomic.Uint32)(unsafe.Pointer(p))
	if bigEndian {
		return &halves[1]
	}
	return &halves[0]
}

var bigEndian = binary.NativeEndian.Uint16([]byte{0, 1}) == 1

func word32(mem []byte, off int) *atomic.Uint32 {
	b := mem[off : off+4]
	p := unsafe.Pointer(unsafe.SliceData(b))
	if uintptr(p)%4 != 0 {
		panic("layout: misaligned word")
	}
	return (*atomic.Uint32)(p)
}

func word64(mem []byte, off int) *atomic.Uint64 {
	b := mem[off : off+8]
	p := unsafe.Pointer(unsafe.SliceData(b))
	if uintptr(p)%8 != 0 {
		panic("layout: misaligned word")
	}
	return (*atomic.Uint64)(p)
}

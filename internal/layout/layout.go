// Package layout defines the binary format of a mapping: every offset, every
// cast of mapped memory, and every check of bytes that another process may have
// written.
//
// A mapping is one file (or section), in host byte order:
//
//	    0  static header, written once by the initialiser   readyOff is stored last
//	  128  the mutex word                                   written by each handle that locks
//	  192  begin, end                                       written by the owner of the mutex
//	  256  counters                                         written by each handle that has something to count
//	  320  member table, Members x {generation, PID}        written under the registry lock
//	 8512  codec ID, then type name, UTF-8                  written once
//	 wait  one page: a flag, event counts, words            written by waiters, and by those that wake them
//	 rows  Members x 64 bits                                each written by its member
//	slots  Slots x (64-byte slot header + capacity, both rounded up to 64)
//
// A kind has only the parts that it uses: a mutex ends after the texts, and
// only segments and queues have slots.
//
// Invariants: words with different writers lie on different cache lines. The
// header is checked once, in a private copy, and the resulting [Geometry] is
// never read from the mapping again. Every other word is untrusted: its user
// checks each value after one load. No value in the mapping, however wrong,
// leads to an access outside of it.
//
// docs/format.md describes the same bytes for programs in other languages.
// docs/design.md, "Untrusted memory", says what the checks are worth.
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
	// ErrIncompatible is returned when the name refers to something other than
	// what was asked for.
	ErrIncompatible = errors.New("incompatible")
	// ErrCorrupt is returned when the mapping has content that no correct peer
	// writes.
	ErrCorrupt = errors.New("corrupt")
)

// Magic is at the start of every mapping, initialised or not.
const Magic = "sharedsg"

// Format is the version of this layout. Storing it marks the mapping as ready,
// so it is stored last.
const Format = 2

// minSize is the minimum size of a ready mapping of any format, in bytes.
const minSize = 4352

// Members is the maximum number of writable handles of a mapping at one time.
const Members = 1 << slotBits

// MaxSlots is the maximum number of slots.
const MaxSlots = 1 << 16

// MaxText is the maximum length of a codec ID and of a type name, in bytes. The
// codec ID of a struct grows with its fields, by about 23 bytes for each.
const MaxText = 1 << 20

// Offsets of the header. All static fields lie below 128.
const (
	magicOff    = 0
	readyOff    = 8  // uint32: 0 until initialised, then Format
	orderOff    = 12 // uint32: byteOrder
	dirtyOff    = 16 // uint32: while ready is 0, not 0 if an owner died
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
	birthOff    = 88 // uint64: random, different for each initialisation
	rotorOff    = 96 // uint32: member slot to try first; under the registry lock
	staticSize  = 100

	MutexOff  = 128 // uint32
	BeginOff  = 192 // uint64
	EndOff    = 200 // uint64
	countOff  = 256 // Counters x uint64
	memberOff = 320 // Members x memberSize
	textOff   = memberOff + memberSize*Members

	memberSize   = 8
	holderPIDOff = 4 // uint32, in an entry of the member table, after the generation
)

// SlotHeader is the distance from a slot's start to its value, in bytes.
const SlotHeader = 64

// Offsets in a slot's header.
const (
	slotVersionOff  = 0  // uint64: version of the value, 0 while it is being written
	slotPreviousOff = 8  // uint64: version that was current before it
	slotLengthOff   = 16 // uint64: bytes of the value
)

const (
	byteOrder     = 0x0A0B0C0D
	flagPersist   = 1
	flagLockReads = 2
	align         = 64
)

// Lock bytes: positions of the byte-range locks that file-backed mappings use,
// far beyond any data.
const (
	RegistryByte = 1 << 62
	ReaderByte   = RegistryByte + 1
	MemberByte   = RegistryByte + 2 // + member slot

	// plus a random number below ReaderPlaces; used to count readers
	ReaderPlace  = RegistryByte + 1<<31
	ReaderPlaces = 1 << 30

	// plus the ticket, 1 to Tickets-1, of a handle that waits for RegistryByte
	QueueByte = RegistryByte + 1<<32
	Tickets   = 1 << 61
)

// Counter is a kind of event that the header counts. Only handles that may
// write count, and only on slow paths.
type Counter int

const (
	Waits          Counter = iota // a wait parked: for a lock, a version, a message
	TakeOvers                     // the lock was taken over from a dead owner
	DisturbedReads                // a read had to start again
	Redeliveries                  // a message was taken from a dead taker

	Counters = 8 // number of places; those without a name are 0
)

// Kind is the kind of object that a mapping is.
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

// Noun returns the name of the kind with its article, for messages.
func (k Kind) Noun() string {
	if k == KindRWMutex || k == KindEvent || !k.known() {
		return "an " + k.String()
	}
	return "a " + k.String()
}

// Repairable reports whether a mapping of the kind guards data that may need a
// repair after an owner's death. Such a death must not be forgotten.
func (k Kind) Repairable() bool { return k == KindMutex || k == KindRWMutex }

func (k Kind) waits() bool { return k != KindMutex }

func (k Kind) slotted() bool { return k == KindSegment || k == KindQueue }

// fewestSlots returns the minimum number of slots of a slotted kind. A segment
// has at least 2, as its current value stays in place while the next is
// written.
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
	Capacity  int64 // largest encoding in bytes; of a semaphore, its permits
	CodecID   string
	TypeName  string

	stride   int64
	slotArea int64
	waitPage int64
	page     int
	size     int64
}

// Size returns the length of the whole mapping in bytes. It may be more than a
// 32-bit process can address.
func (g *Geometry) Size() int64 { return g.size }

// PageSize returns the size of memory pages that the mapping was made for.
func (g *Geometry) PageSize() int { return g.page }

// WaitPage returns the offset and length, in bytes, of the wait page and the
// rows that follow it. Both are multiples of the page size. The length is 0
// without a wait page.
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

// RowsNameHolders reports whether a row contains its holder's identity, see
// [Holding]. What a dead holder left in such a row is taken back by the other
// members, so the next holder of the member slot does not clear it.
func (k Kind) RowsNameHolders() bool { return k == KindSemaphore || k == KindCond }

// Place computes the offsets of a geometry whose other fields are set, for
// memory pages of the given size. It returns an error wrapping fs.ErrInvalid
// for a geometry that no mapping can have.
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

// Mark returns the first bytes of a mapping that is not ready. A file has them
// from the moment that it is not empty, so a file that begins otherwise is
// known to belong to another program. A dirty mark says that an owner died, and
// that what the mutex guards has not been repaired since.
func Mark(dirty bool) []byte {
	b := make([]byte, kindOff)
	copy(b, Magic)
	binary.NativeEndian.PutUint32(b[orderOff:], byteOrder)
	if dirty {
		binary.NativeEndian.PutUint32(b[dirtyOff:], 1)
	}
	return b
}

// DirtySize is how many of a mapping's first bytes Dirty needs.
const DirtySize = MutexOff + 4

// Dirty reports whether the mapping that begins with head must not be
// initialised as if it were new. That is so if an owner died, or closed its
// handle, while it held the mutex, and what the mutex guards has not been
// repaired since. No handle may be attached to the mapping.
//
// Until the mapping is ready the mark tells, then the mutex word does. Both,
// and the kind, are at the same offsets in every format since 2.
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

// WasKind returns the kind of the dirty mapping that begins with head. It
// returns 0 if the kind is unknown.
func WasKind(head []byte) Kind {
	if len(head) < DirtySize || binary.NativeEndian.Uint32(head[readyOff:]) == 0 {
		return 0
	}
	return Kind(binary.NativeEndian.Uint32(head[kindOff:]))
}

// IsMarked reports whether a file that begins with b is a mapping of this
// module, initialised or not.
func IsMarked(b []byte) bool { return len(b) >= len(Magic) && string(b[:len(Magic)]) == Magic }

// Init writes the header into mem, which is zero except for its mark. If the
// mark is dirty, Init also makes the mutex inconsistent. It marks mem as ready
// last.
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

// Ready reports whether head is the beginning of a mapping whose initialisation
// finished. It returns false and no error if head is empty, or if its
// initialiser died. It returns ErrIncompatible for the file of another program.
func Ready(head []byte) (bool, error) {
	if len(head) == 0 {
		return false, nil
	}
	if !IsMarked(head) {
		return false, fmt.Errorf("%w: the file is not a sharedseg mapping (it does not begin with %q)", ErrIncompatible, Magic)
	}
	if len(head) < minSize {
		return false, nil
	}
	format := binary.NativeEndian.Uint32(head[readyOff:])
	return format != 0 && (format != Format || len(head) >= textOff), nil
}

// Persists reports whether the mapping that begins with head outlives its
// handles.
func Persists(head []byte) bool {
	return len(head) >= minSize && binary.NativeEndian.Uint32(head[flagsOff:])&flagPersist != 0
}

// HeadSize is how many of a mapping's first bytes Ready and HeadLen need. It is
// enough for Read in most cases.
const HeadSize = textOff + 1024

// HeadLen returns how many of a ready mapping's first bytes Read needs. It is
// at most textOff + 2*MaxText.
func HeadLen(head []byte) int {
	n := textOff
	for _, off := range []int{codecLenOff, typeLenOff} {
		n += int(min(binary.NativeEndian.Uint32(head[off:]), MaxText))
	}
	return n
}

// Read checks the header in head, a private copy of the first bytes of a ready
// mapping that is size bytes long. It returns an error wrapping ErrIncompatible
// for another format or byte order, and one wrapping ErrCorrupt for a header
// that no correct peer writes.
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
	// All other fields follow from those read so far, so they must have the
	// values that Place computes.
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

// SameHeader reports whether a and b, private copies of a mapping's first
// bytes, agree in what the initialiser writes. If both are ready and agree,
// they are of the same initialisation.
func SameHeader(a, b []byte) bool {
	staticA, textsA := written(a)
	staticB, textsB := written(b)
	return bytes.Equal(staticA, staticB) && bytes.Equal(textsA, textsB)
}

// written returns the parts of head that only the initialiser writes.
func written(head []byte) (static, texts []byte) {
	if len(head) < textOff {
		return head[:min(len(head), rotorOff)], nil
	}
	return head[:rotorOff], head[textOff:min(len(head), HeadLen(head))]
}

// Version returns the current version in head, a private copy of the mapping's
// first bytes.
func Version(head []byte) uint64 { return binary.NativeEndian.Uint64(head[EndOff:]) }

// Counts returns the counters in head, a private copy of the mapping's first
// bytes.
func Counts(head []byte) (counts [Counters]uint64) {
	for c := range counts {
		counts[c] = binary.NativeEndian.Uint64(head[countOff+8*c:])
	}
	return counts
}

// MemberTable returns the member table's offset and length in bytes.
func MemberTable() (off, n int) { return memberOff, memberSize * Members }

// MemberWords returns the offsets of a member slot's two words, 0 <= slot <
// Members.
func MemberWords(slot int) (generation, holderPID int) {
	return memberAt(slot), memberAt(slot) + holderPIDOff
}

// GenerationIn returns the generation of a member slot in table, a private copy
// of the member table. See [Words.Generation].
func GenerationIn(table []byte, slot int) uint32 {
	return binary.NativeEndian.Uint32(table[memberSize*slot:])
}

// HolderPID returns the process ID of a member slot's holder in table, a
// private copy of the member table. See [Words.HolderPID].
func HolderPID(table []byte, slot int) uint32 {
	return binary.NativeEndian.Uint32(table[memberSize*slot+holderPIDOff:])
}

// Words gives access to the words of a mapped header.
type Words struct{ mem []byte }

// NewWords returns the words of mem, which must be at least as long as the
// header of a mutex.
func NewWords(mem []byte) Words { return Words{mem[:textOff:textOff]} }

// Mutex returns the mutex word.
func (w Words) Mutex() *atomic.Uint32 { return word32(w.mem, MutexOff) }

// Rotor returns the word with the member slot to try first. Its value is
// untrusted.
func (w Words) Rotor() *atomic.Uint32 { return word32(w.mem, rotorOff) }

// Generation returns the generation of a member slot, 0 <= slot < Members. Its
// value is untrusted.
func (w Words) Generation(slot int) *atomic.Uint32 { return word32(w.mem, memberAt(slot)) }

// HolderPID returns the process ID of a member slot's last holder, 0 <= slot <
// Members, as the holder's own PID namespace numbers it. The ID stays after the
// holder is gone, so it means something only while the slot is held. Its value
// is untrusted: it is for tools, and a hint when to ask whether the holder is
// alive, but never the answer.
func (w Words) HolderPID(slot int) *atomic.Uint32 { return word32(w.mem, memberAt(slot)+holderPIDOff) }

func memberAt(slot int) int {
	if uint(slot) >= Members {
		panic("layout: member slot out of range")
	}
	return memberOff + memberSize*slot
}

// Versions returns the pair begin, end.
func (w Words) Versions() *[2]uint64 {
	b := w.mem[BeginOff : BeginOff+16]
	return (*[2]uint64)(unsafe.Pointer(unsafe.SliceData(b)))
}

// Counter returns the number of events of a kind, 0 <= c < Counters. Its value
// is untrusted.
func (w Words) Counter(c Counter) *atomic.Uint64 {
	if uint(c) >= Counters {
		panic("layout: counter out of range")
	}
	return word64(w.mem, int(countOff+8*c))
}

// End returns the half of end that changes with every version.
func (w Words) End() *atomic.Uint32 { return LowHalf((*uint64)(unsafe.Pointer(word64(w.mem, EndOff)))) }

// LowHalf returns the half of a mapped 64-bit word that changes with every
// increment.
func LowHalf(p *uint64) *atomic.Uint32 {
	if bigEndian {
		return (*atomic.Uint32)(unsafe.Add(unsafe.Pointer(p), 4))
	}
	return (*atomic.Uint32)(unsafe.Pointer(p))
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

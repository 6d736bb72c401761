package layout

import (
	"fmt"
	"sync/atomic"
	"unsafe"

	"github.com/sharedseg/sharedseg/internal/fence"
)

// Slots is the slot area of a mapped segment. Its methods may be called
// concurrently. The memory that they return may change at any time, unless the
// sequence lock says otherwise.
type Slots struct {
	base     unsafe.Pointer // slot 0
	stride   uintptr
	capacity int
	n        uint64
}

// NewSlots returns the slot area of mem, a mapping of g.Size() bytes.
func NewSlots(mem []byte, g *Geometry) Slots {
	area := mem[g.slotArea : g.slotArea+int64(g.Slots)*g.stride]
	return Slots{unsafe.Pointer(unsafe.SliceData(area)), uintptr(g.stride), int(g.Capacity), uint64(g.Slots)}
}

// Slot returns slot i. It panics if i is out of range.
func (s *Slots) Slot(i uint64) Slot {
	if i >= s.n {
		panic("layout: slot out of range")
	}
	return Slot{unsafe.Add(s.base, uintptr(i)*s.stride)}
}

// Space returns the room for a value in a slot, capacity bytes.
func (s *Slots) Space(slot Slot) []byte { return slot.bytes(s.capacity) }

// Value returns the value in a slot, in place, with its capacity cut. It
// returns an error wrapping ErrCorrupt if the slot's length is more than the
// capacity.
func (s *Slots) Value(slot Slot) ([]byte, error) {
	n := *slot.length()
	if n > uint64(s.capacity) {
		return nil, tooLong(n, s.capacity)
	}
	return slot.bytes(int(n)), nil
}

func tooLong(n uint64, capacity int) error {
	return fmt.Errorf("%w: a slot holds %d bytes, the capacity is %d", ErrCorrupt, n, capacity)
}

// SlotOffset returns the offset of slot i modulo the number of slots, from the
// start of the mapping.
func (g *Geometry) SlotOffset(i uint64) int64 { return g.slotArea + int64(i%uint64(g.Slots))*g.stride }

// Slot is the place of one version of a value in mapped memory.
type Slot struct{ header unsafe.Pointer }

func (s Slot) length() *uint64 { return (*uint64)(unsafe.Add(s.header, slotLengthOff)) }

func (s Slot) bytes(n int) []byte {
	return unsafe.Slice((*byte)(unsafe.Add(s.header, SlotHeader)), n)
}

// Version returns the version in the slot's header: that of its value, or 0 if
// the slot has no value or is being written. It is untrusted.
func (s Slot) Version() uint64 { return atomic.LoadUint64((*uint64)(s.header)) }

// Unseal removes the version from a slot that is about to be written. It comes
// before the announcement of the new version: the store-store barrier after the
// announcement also orders it before the value. The branch of the announcement
// keeps the compiler from merging this store with that of Seal.
func (s Slot) Unseal() { fence.Publish((*uint64)(s.header), 0) }

// Previous returns the version that was current before the one in the slot. It
// is untrusted.
func (s Slot) Previous() uint64 {
	return atomic.LoadUint64((*uint64)(unsafe.Add(s.header, slotPreviousOff)))
}

// Seal stores the length of a slot's value, 0 <= n <= capacity, the version
// before it, and then its version. Other processes see the version last.
func (s Slot) Seal(version, previous uint64, n int) {
	*s.length() = uint64(n)
	*(*uint64)(unsafe.Add(s.header, slotPreviousOff)) = previous
	fence.Publish((*uint64)(s.header), version)
}

// Get copies the T in a slot to *v. T must be free of pointers, every bit
// pattern must be a valid T, and its size must be at most the capacity.
func Get[T any](s Slot, v *T) { *v = *(*T)(unsafe.Add(s.header, SlotHeader)) }

// Put copies *v to a slot. T must be as for Get. Put returns the length of the
// value, for Seal.
func Put[T any](s Slot, v *T) (n int) {
	*(*T)(unsafe.Add(s.header, SlotHeader)) = *v
	return int(unsafe.Sizeof(*v))
}

// In returns the T at the start of b, which is the room in a slot or a copy of
// it. T must be as for Get. In returns nil if b is too short or not aligned for
// a T.
func In[T any](b []byte) *T {
	p := unsafe.Pointer(unsafe.SliceData(b))
	var v T
	if len(b) < int(unsafe.Sizeof(v)) || uintptr(p)%unsafe.Alignof(v) != 0 {
		return nil
	}
	return (*T)(p)
}

// Same reports whether a and b begin at the same address.
func Same(a, b []byte) bool { return unsafe.SliceData(a) == unsafe.SliceData(b) }

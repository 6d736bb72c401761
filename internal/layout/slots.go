package layout

import (
	"fmt"
	"sync/atomic"
	"unsafe"

	"github.com/sharedseg/sharedseg/internal/fence"
)

// Slots is the slot area of a mapped segment. Its methods may be called
// concurrently; what they return changes under the reader's eyes unless the
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

// Slot is slot i.
func (s *Slots) Slot(i uint64) Slot {
	if i >= s.n {
		panic("layout: slot out of range")
	}
	return Slot{unsafe.Add(s.base, uintptr(i)*s.stride)}
}

// Space is the room for a value in a slot, capacity bytes.
func (s *Slots) Space(slot Slot) []byte { return slot.bytes(s.capacity) }

// Value is the value in a slot, in place, its capacity cut. A length beyond the
// capacity is ErrCorrupt.
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

// SlotOffset is where slot i begins in the mapping, i modulo the number of
// slots.
func (g *Geometry) SlotOffset(i uint64) int64 { return g.slotArea + int64(i%uint64(g.Slots))*g.stride }

// Slot is the place of one version of a value, in mapped memory.
type Slot struct{ header unsafe.Pointer }

func (s Slot) length() *uint64 { return (*uint64)(unsafe.Add(s.header, slotLengthOff)) }

func (s Slot) bytes(n int) []byte {
	return unsafe.Slice((*byte)(unsafe.Add(s.header, SlotHeader)), n)
}

// Version is the version that the slot's header carries: that of its value, 0
// if it never had one or is being written. It is untrusted.
func (s Slot) Version() uint64 { return atomic.LoadUint64((*uint64)(s.header)) }

// Unseal takes the version off a slot that is about to be written. It stands
// before the announcement of the new version: the store-store barrier that
// follows the announcement keeps it before the value as well, and its branch
// keeps the compiler from merging this store with Seal's.
func (s Slot) Unseal() { fence.Publish((*uint64)(s.header), 0) }

// Previous is the version that was current when the value of a slot was
// written. It is untrusted.
func (s Slot) Previous() uint64 {
	return atomic.LoadUint64((*uint64)(unsafe.Add(s.header, slotPreviousOff)))
}

// Seal gives a slot the length of its value, 0 <= n <= capacity, the version
// before it, and then its version, which is seen after all the rest.
func (s Slot) Seal(version, previous uint64, n int) {
	*s.length() = uint64(n)
	*(*uint64)(unsafe.Add(s.header, slotPreviousOff)) = previous
	fence.Publish((*uint64)(s.header), version)
}

// Get assigns the T in a slot to *v. T must be free of pointers, every bit
// pattern a valid T, and its size at most the capacity.
func Get[T any](s Slot, v *T) { *v = *(*T)(unsafe.Add(s.header, SlotHeader)) }

// Put assigns *v to the room of a slot, for the same kind of T as Get. It
// returns the length of the value, for Seal.
func Put[T any](s Slot, v *T) (n int) {
	*(*T)(unsafe.Add(s.header, SlotHeader)) = *v
	return int(unsafe.Sizeof(*v))
}

// In is the T that b, room in a slot or a copy of its size, begins with, for
// the same kind of T as Get. It is nil if b has less room, or is not aligned as
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

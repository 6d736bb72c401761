package layout

import (
	"fmt"
	"unsafe"
)

// Slots is the slot area of a mapped segment. Its methods may be called concurrently; what they return changes
// under the reader's eyes unless the sequence lock says otherwise.
type Slots struct {
	base     unsafe.Pointer // slot 0
	stride   uintptr
	capacity int
	n        uint64
}

// NewSlots returns the slot area of mem, a mapping of g.Size() bytes.
func NewSlots(mem []byte, g *Geometry) Slots {
	area := mem[g.slotArea : g.slotArea+g.Slots*g.stride]
	return Slots{unsafe.Pointer(unsafe.SliceData(area)), uintptr(g.stride), g.Capacity, uint64(g.Slots)}
}

func (s *Slots) at(i uint64) unsafe.Pointer {
	if i >= s.n {
		panic("layout: slot out of range")
	}
	return unsafe.Add(s.base, uintptr(i)*s.stride)
}

// Space is the room for a value in slot i, capacity bytes.
func (s *Slots) Space(i uint64) []byte {
	return unsafe.Slice((*byte)(unsafe.Add(s.at(i), SlotHeader)), s.capacity)
}

// SetLen stores the length of the value in slot i, 0 <= n <= capacity.
func (s *Slots) SetLen(i uint64, n int) {
	*(*uint64)(s.at(i)) = uint64(n)
}

// Value is the value in slot i, in place, its capacity cut. A length beyond the capacity is ErrCorrupt.
func (s *Slots) Value(i uint64) ([]byte, error) {
	p := s.at(i)
	n := *(*uint64)(p)
	if n > uint64(s.capacity) {
		return nil, fmt.Errorf("%w: slot %d holds %d bytes, the capacity is %d", ErrCorrupt, i, n, s.capacity)
	}
	return unsafe.Slice((*byte)(unsafe.Add(p, SlotHeader)), int(n)), nil
}

// Get assigns the T in slot i to *v. T must be free of pointers, every bit pattern a valid T, and its size at
// most the capacity.
func Get[T any](s *Slots, i uint64, v *T) { *v = *(*T)(unsafe.Add(s.at(i), SlotHeader)) }

// Put assigns *v to the room of slot i and sets its length, for the same kind of T as Get.
func Put[T any](s *Slots, i uint64, v *T) {
	p := s.at(i)
	*(*T)(unsafe.Add(p, SlotHeader)) = *v
	*(*uint64)(p) = uint64(unsafe.Sizeof(*v))
}

// Same reports whether a and b begin at the same address.
func Same(a, b []byte) bool { return unsafe.SliceData(a) == unsafe.SliceData(b) }

// Contains reports whether an address lies in mem.
func Contains(mem []byte, addr uintptr) bool {
	return addr-uintptr(unsafe.Pointer(unsafe.SliceData(mem))) < uintptr(len(mem))
}

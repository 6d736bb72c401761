package layout

import (
	"fmt"
	"sync/atomic"
	"unsafe"

	"github.com/sharedseg/sharedseg/internal/fence"
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

// Version is the version that the header of slot i carries: that of its value,
// 0 if it never had one or is being written. It is untrusted.
func (s *Slots) Version(i uint64) uint64 { return atomic.LoadUint64((*uint64)(s.at(i))) }

// Unseal takes the version off slot i, which is about to be written. It stands
// before the announcement of the new version: the store-store barrier that
// follows the announcement keeps it before the value as well.
func (s *Slots) Unseal(i uint64) {
	version := (*uint64)(s.at(i))
	fence.Publish(version, 0)
	// Seal stores to the same word. A compiler that saw nothing but plain
	// stores between the two might leave this one out.
	atomic.LoadUint64(version)
}

// Seal gives slot i the length of its value, 0 <= n <= capacity, and then its
// version, which is seen after the value and the length.
func (s *Slots) Seal(i, version uint64, n int) {
	p := s.at(i)
	*(*uint64)(unsafe.Add(p, slotLengthOff)) = uint64(n)
	fence.Publish((*uint64)(p), version)
}

// Value is the value in slot i, in place, its capacity cut. A length beyond the capacity is ErrCorrupt.
func (s *Slots) Value(i uint64) ([]byte, error) {
	p := s.at(i)
	n := *(*uint64)(unsafe.Add(p, slotLengthOff))
	if n > uint64(s.capacity) {
		return nil, fmt.Errorf("%w: slot %d holds %d bytes, the capacity is %d", ErrCorrupt, i, n, s.capacity)
	}
	return unsafe.Slice((*byte)(unsafe.Add(p, SlotHeader)), int(n)), nil
}

// Get assigns the T in slot i to *v. T must be free of pointers, every bit pattern a valid T, and its size at
// most the capacity.
func Get[T any](s *Slots, i uint64, v *T) { *v = *(*T)(unsafe.Add(s.at(i), SlotHeader)) }

// Put assigns *v to the room of slot i, for the same kind of T as Get. It
// returns the length of the value, for Seal.
func Put[T any](s *Slots, i uint64, v *T) (n int) {
	*(*T)(unsafe.Add(s.at(i), SlotHeader)) = *v
	return int(unsafe.Sizeof(*v))
}

// Same reports whether a and b begin at the same address.
func Same(a, b []byte) bool { return unsafe.SliceData(a) == unsafe.SliceData(b) }

// Contains reports whether an address lies in mem.
func Contains(mem []byte, addr uintptr) bool {
	return addr-uintptr(unsafe.Pointer(unsafe.SliceData(mem))) < uintptr(len(mem))
}

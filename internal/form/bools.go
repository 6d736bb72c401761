package form

import "encoding/binary"

// A BoolRange tells where an array, or adjacent fields, have bools. The bools
// of an array's elements are described once for all elements.
type BoolRange struct {
	Off  int         // offset of the first element in the enclosing one, in bytes
	N    int         // number of elements
	Size int         // size of an element, in bytes
	Each []BoolRange // the bools of an element; nil if the element is a bool
}

// BadBool returns the index of the first byte of p that is neither 0 nor 1
// although ranges has a bool there. It returns -1 if all are valid.
func BadBool(p []byte, ranges []BoolRange) int {
	for _, r := range ranges {
		if r.Each == nil {
			end := r.Off + r.N
			i := r.Off
			for end-i >= 8 && binary.NativeEndian.Uint64(p[i:])&^0x01010101_01010101 == 0 {
				i += 8
			}
			for ; i < end; i++ {
				if p[i] > 1 {
					return i
				}
			}
			continue
		}
		for i := range r.N {
			start := r.Off + i*r.Size
			if bad := BadBool(p[start:][:r.Size], r.Each); bad >= 0 {
				return start + bad
			}
		}
	}
	return -1
}

// CopyBools copies src to dst, the memory of a T whose bools are at ranges. If
// one of them is neither 0 nor 1, CopyBools clears dst and returns the byte's
// index and its value. Else the index is -1.
//
// The bools are checked in dst, where no other process can change them. If the
// copy ends in a fault, dst is cleared, so that it never holds a bool that was
// not checked.
func CopyBools(dst, src []byte, ranges []BoolRange) (i int, bad byte) {
	valid := false
	defer func() {
		if !valid {
			clear(dst)
		}
	}()
	copy(dst, src)
	if i = BadBool(dst, ranges); i >= 0 {
		return i, dst[i]
	}
	valid = true
	return -1, 0
}

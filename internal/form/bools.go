package form

import "encoding/binary"

// A BoolRange says where an array, or adjacent fields, have bools. What it says
// of the elements of an array, it says once.
type BoolRange struct {
	Off  int         // of the first element in the enclosing one, in bytes
	N    int         // elements
	Size int         // of an element, in bytes
	Each []BoolRange // the bools of an element; nil if the element is a bool
}

// BadBool returns the index of the first byte of p that is neither 0 nor 1
// although ranges has a bool there, or -1.
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

// CopyBools copies src to dst, the memory of a T of which ranges says where it
// has bools. If one of them is neither 0 nor 1, it returns its index and what
// it was, and dst is zero; else the index is -1. The bools are checked where
// they cannot change any more, in dst, where they do not stay unchecked if the
// copy ends in a fault.
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

package layout

import "math/bits"

// Modulus computes remainders by a fixed divisor, the number of slots.
//
// A division instruction would take as long as the rest of reading a small
// value. Modulus multiplies instead, as described by Granlund and Montgomery in
// "Division by Invariant Integers using Multiplication" (PLDI 1994), here for
// 63 bits.
type Modulus struct {
	n     uint64
	mask  uint64 // 2^63 - 1, or 0 if n is 1
	magic uint64 // 2^(63+l) / n, rounded up, where l is the bit length of n-1
	shift uint   // l - 1
}

// NewModulus returns the modulus n, which must be at least 1.
func NewModulus(n int) Modulus {
	if n == 1 {
		return Modulus{n: 1} // the mask 0 makes every remainder 0
	}
	l := uint(bits.Len64(uint64(n) - 1))
	magic, rest := bits.Div64(1<<(l-1), 0, uint64(n))
	if rest != 0 {
		magic++
	}
	return Modulus{uint64(n), 1<<63 - 1, magic, l - 1}
}

// Of returns v modulo n if v is less than 2^63. For other v the result is
// unspecified, but less than n.
func (m *Modulus) Of(v uint64) uint64 {
	v &= m.mask
	quotient, _ := bits.Mul64(v, m.magic)
	return v - quotient>>(m.shift&63)*m.n
}

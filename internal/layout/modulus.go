package layout

import "math/bits"

// Modulus divides by a number of slots.
//
// A division would take as long as the rest of a small value's reading. This is
// the multiplication of Granlund and Montgomery ("Division by Invariant
// Integers using Multiplication", PLDI 1994), for 63 bits.
type Modulus struct {
	n     uint64
	mask  uint64 // 2^63 - 1, and 0 if n is 1
	magic uint64 // 2^(63+l) / n, rounded up, where l is n-1's length in bits
	shift uint   // l - 1
}

// NewModulus returns the modulus n, at least 1.
func NewModulus(n int) Modulus {
	if n == 1 {
		return Modulus{n: 1} // all that is masked is 0
	}
	l := uint(bits.Len64(uint64(n) - 1))
	magic, rest := bits.Div64(1<<(l-1), 0, uint64(n))
	if rest != 0 {
		magic++
	}
	return Modulus{uint64(n), 1<<63 - 1, magic, l - 1}
}

// Of returns v modulo n for v below 2^63. For others it is still less than n.
func (m *Modulus) Of(v uint64) uint64 {
	v &= m.mask
	quotient, _ := bits.Mul64(v, m.magic)
	return v - quotient>>(m.shift&63)*m.n
}

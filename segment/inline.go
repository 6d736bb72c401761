package segment

import "context"

// The compiler exports the inlined body of a small function of another package
// to the programs that instantiate our types only if it was inlined somewhere
// in this package. So this is an instance of the hot paths. Without it each
// Load would make five more calls.
var _ = func(s *Segment[uint64], r *Reader[uint64], v *uint64) {
	s.Store(*v)
	s.Borrow(context.Background())
	r.Borrow(context.Background())
	s.Loan(context.Background())
	r.Load()
	r.LoadInto(v)
}

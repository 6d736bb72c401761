package segment

import "context"

// The compiler hands the bodies of small functions of other packages on to the
// programs that instantiate our types only if they were inlined somewhere here.
// So here is an instance of the hot paths, or each Load would make five calls
// more.
var _ = func(s *Segment[uint64], r *Reader[uint64], v *uint64) {
	s.Store(*v)
	s.Borrow(context.Background())
	r.Borrow(context.Background())
	s.Loan(context.Background())
	r.Load()
	r.LoadInto(v)
}

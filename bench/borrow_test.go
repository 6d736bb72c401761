package bench

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/sharedseg/sharedseg/bench/internal/harness"
	"github.com/sharedseg/sharedseg/codec"
	"github.com/sharedseg/sharedseg/internal/proctest"
	"github.com/sharedseg/sharedseg/segment"
)

// BenchmarkBorrowers stores while each of some processes has borrowed a
// different value.
func BenchmarkBorrowers(b *testing.B) {
	for _, n := range []int{0, 1, 4} {
		name := fmt.Sprintf("impl=segment/size=64B/borrowers=%d%s", n, faultKey)
		harness.Run(b, name, 64, func(b *testing.B) {
			name := proctest.Name(b)
			s := open(b, name, codec.Fixed[quote](), &segment.Options{Slots: 8})
			var borrowers []*proctest.Proc
			for i := range n {
				harness.Must(b, s.Store(quote{Seq: uint64(i)}))
				p := proctest.Start(b, "borrower", name)
				p.Expect(fmt.Sprint("borrowed ", i))
				borrowers = append(borrowers, p)
			}
			q := theQuote
			for b.Loop() {
				if err := s.Store(q); err != nil {
					b.Fatal(err)
				}
			}
			if got, err := s.Load(); err != nil || got != q {
				b.Fatalf("stored %v, loaded %v, %v", q, got, err)
			}
			for _, p := range borrowers {
				p.Wait()
			}
		})
	}
}

// borrower, with the argument NAME, borrows the value and prints its number. It
// fails if the value has changed when it is told to end.
func borrower(args []string) (err error) {
	s, err := segment.Attach(args[0], codec.Fixed[quote](), nil)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	borrowed, err := s.Borrow(context.Background())
	if err != nil {
		return err
	}
	before := *borrowed.Value()
	fmt.Println("borrowed", before.Seq)
	proctest.Await()
	after := *borrowed.Value()
	if err := borrowed.Release(); err != nil {
		return err
	}
	if after != before {
		return fmt.Errorf("borrowed %v, which became %v", before, after)
	}
	return nil
}

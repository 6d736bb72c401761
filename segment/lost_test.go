package segment

import (
	"errors"
	"io/fs"
	"testing"

	"github.com/sharedseg/sharedseg"
	"github.com/sharedseg/sharedseg/codec"
	"github.com/sharedseg/sharedseg/internal/fault"
	"github.com/sharedseg/sharedseg/internal/proctest"
)

// A handle that was closed leaves when the last Borrowed or Loan ends, also if
// its memory has vanished in the meantime.
func TestLeaveLost(t *testing.T) {
	for what, begin := range map[string]func(s *Segment[uint64]) (end func() error, err error){
		"Release": func(s *Segment[uint64]) (func() error, error) {
			b, err := s.Borrow(t.Context())
			return b.Release, err
		},
		"Publish": func(s *Segment[uint64]) (func() error, error) {
			l, err := s.Loan(t.Context())
			return func() error { _, err := l.Publish(8); return err }, err
		},
		"Discard": func(s *Segment[uint64]) (func() error, error) {
			l, err := s.Loan(t.Context())
			return func() error { return errors.Join(l.Discard(), fs.ErrClosed) }, err
		},
	} {
		t.Run(what, func(t *testing.T) {
			name := proctest.Name(t)
			s, err := Open(name, codec.Fixed[uint64](), nil)
			proctest.Must(t, err)
			proctest.Must(t, s.Store(1))
			end, err := begin(s)
			proctest.Must(t, err)
			proctest.Must(t, s.Close())
			s.state.Or(fault.Lost)
			proctest.Want(t, end(), fs.ErrClosed)
			_, err = sharedseg.Stat(name, nil)
			proctest.Want(t, err, fs.ErrNotExist)
		})
	}
}

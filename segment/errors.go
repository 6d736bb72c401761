package segment

import (
	"errors"

	"github.com/sharedseg/sharedseg/internal/layout"
	"github.com/sharedseg/sharedseg/internal/mapping"
	"github.com/sharedseg/sharedseg/internal/member"
	ipcsync "github.com/sharedseg/sharedseg/sync"
)

// What an [Error] wraps, besides fs.ErrExist, fs.ErrNotExist, fs.ErrPermission, fs.ErrInvalid, fs.ErrClosed,
// errors.ErrUnsupported, os.ErrDeadlineExceeded and the error of a context.
var (
	// ErrIncompatible: the name leads to something else than was asked for: another codec or type, another
	// geometry, a mutex, a file that is no segment.
	ErrIncompatible = layout.ErrIncompatible
	// ErrTooLarge: the value's encoding is larger than the segment's capacity. The old value stays.
	ErrTooLarge = errors.New("too large")
	// ErrCorrupt: the segment holds what no correct peer writes, or its file was truncated.
	ErrCorrupt = layout.ErrCorrupt
	// ErrOwnerDied: see the package sync. A segment's own calls never return it: a writer that dies leaves nothing
	// to repair.
	ErrOwnerDied = ipcsync.ErrOwnerDied
	// ErrNoSpace: the memory or disk behind the segment's directory is full.
	ErrNoSpace = mapping.ErrNoSpace
	// ErrTooManyMembers: 1024 handles that may write are open.
	ErrTooManyMembers = member.ErrTooManyMembers
)

// Error is the error of every function and method of this package. Test for its cause with errors.Is.
type Error struct {
	Op   string // "open", "load", "store", …
	Name string // the segment's
	Err  error
}

func (e *Error) Error() string { return "segment: " + e.Op + " " + e.Name + ": " + e.Err.Error() }

func (e *Error) Unwrap() error { return e.Err }

func wrap(op, name string, err error) error {
	if err == nil {
		return nil
	}
	return &Error{op, name, err}
}

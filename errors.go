package sharedseg

import (
	"errors"

	"github.com/sharedseg/sharedseg/internal/layout"
	"github.com/sharedseg/sharedseg/internal/mapping"
	"github.com/sharedseg/sharedseg/internal/member"
	"github.com/sharedseg/sharedseg/internal/ring"
)

// The causes that an [Error] wraps, in addition to fs.ErrExist,
// fs.ErrNotExist, fs.ErrPermission, fs.ErrInvalid, fs.ErrClosed,
// errors.ErrUnsupported, os.ErrDeadlineExceeded and the error of a context.
var (
	// ErrIncompatible is returned when the name leads to something other than
	// what was asked for: another codec or type, another geometry, another
	// kind, another version of the format, a file that is not ours, more memory
	// than this process can address.
	ErrIncompatible = layout.ErrIncompatible

	// ErrCorrupt is returned when the memory holds what no correct peer
	// writes, or when its file was truncated. A value that does not decode is
	// codec.ErrMalformed.
	ErrCorrupt = layout.ErrCorrupt

	// ErrTooLarge is returned when the encoding of a value is larger than the
	// capacity. The old value stays.
	ErrTooLarge = errors.New("too large")

	// ErrNoSpace is returned when the memory or disk behind a name is full, or
	// has less room than is asked for: nothing is taken then. The text has the
	// figures.
	ErrNoSpace = mapping.ErrNoSpace

	// ErrTooManyMembers is returned when 1024 handles that may write are open.
	ErrTooManyMembers = member.ErrTooManyMembers

	// ErrOwnerDied is returned when an owner died while it held a lock, and
	// what the lock guards has not been repaired since.
	ErrOwnerDied = errors.New("the owner of the lock died; set Options.Repair to restore what it guards")

	// ErrReentrant is returned, at once, when a call would wait for its own
	// goroutine: a Store, Update, Loan or Close of a segment's handle from
	// within the function that an Update of this handle runs, and a Lock or
	// Close of a mutex's handle from within its Repair. The call has changed
	// nothing.
	ErrReentrant = errors.New("the call would wait for itself")

	// ErrShut is returned by a send after the queue's Shut.
	ErrShut = ring.ErrShut

	// ErrNotOwner is returned by an Unlock through a handle that does not hold
	// the lock.
	ErrNotOwner = errors.New("this handle does not hold the lock")
)

// Error is the error of every function and method of this module that concerns
// a name. Test for its cause with errors.Is.
type Error struct {
	Op   string // "open", "load", "lock", …
	Name string // of the segment or lock; "" if it concerns all names
	Err  error
}

func (e *Error) Error() string {
	if e.Name == "" {
		return "sharedseg: " + e.Op + ": " + e.Err.Error()
	}
	return "sharedseg: " + e.Op + " " + e.Name + ": " + e.Err.Error()
}

func (e *Error) Unwrap() error { return e.Err }

func wrap(op, name string, err error) error {
	if err == nil {
		return nil
	}
	return &Error{op, name, err}
}

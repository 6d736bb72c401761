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
	// ErrIncompatible is returned when a name refers to something other than
	// what the caller asked for: another kind, codec, type, size or format
	// version, a file that this module did not create, or more memory than this
	// process can address.
	ErrIncompatible = layout.ErrIncompatible

	// ErrCorrupt is returned when the memory holds what no correct peer writes,
	// or when its file was truncated. A value that does not decode is reported
	// as codec.ErrMalformed instead.
	ErrCorrupt = layout.ErrCorrupt

	// ErrTooLarge is returned when the encoding of a value is larger than the
	// capacity. The old value stays.
	ErrTooLarge = errors.New("too large")

	// ErrNoSpace is returned when the memory or disk behind a name is full, or
	// has less room than requested. Nothing is allocated then. The error's text
	// has the figures.
	ErrNoSpace = mapping.ErrNoSpace

	// ErrTooManyMembers is returned when 1024 handles that can write are
	// already open.
	ErrTooManyMembers = member.ErrTooManyMembers

	// ErrOwnerDied is returned when an owner died while it held a lock, and
	// what the lock guards has not been repaired since.
	ErrOwnerDied = errors.New("the owner of the lock died; set Options.Repair to restore what it guards")

	// ErrReentrant is returned, at once, by a call that would wait for itself:
	// a function that runs with a handle's lock held calls that handle.
	// Examples are Store, Update, Loan or Close in the function that Update
	// runs, Send or Close in a queue's codec, and Lock or Close in a mutex's
	// Repair. The call changes nothing.
	ErrReentrant = errors.New("the call would wait for itself")

	// ErrShut is returned by Send after the queue's Shut.
	ErrShut = ring.ErrShut

	// ErrNotOwner is returned by Unlock, RUnlock, Release and a Cond's Wait if
	// the handle does not hold what the call would release.
	ErrNotOwner = errors.New("this handle does not hold the lock")
)

// Error is the error of every function and method of this module that concerns
// a name, except io.EOF, and the fs.ErrClosed of a queue's Delivery or Loan that
// has ended. Test for its cause with errors.Is.
type Error struct {
	Op   string // "open", "load", "lock", …
	Name string // of the segment, queue or lock; "" if the error concerns all names
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

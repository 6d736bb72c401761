// Package mapping is the seam to the platform's named shared memory. It opens
// and creates named objects, sets their size, maps them, tells whether a name
// still refers to an object, and holds the locks that the kernel drops when
// their holder dies. It knows nothing about the content of an object except the
// positions of the lock bytes.
//
// A platform has the types Object and View, a mapping of an Object, with these
// functions:
//
//	Open(p *Place, readOnly bool) (*Object, error)   an existing object, to look at it; fs.ErrNotExist
//	Enter(p, create, readOnly, limit)                the same, to attach or detach, with the registry locked;
//	                                                 if create is set, a new, empty object if there is none
//	TryEnter(p) (o, busy, err)                       an existing object with the registry locked, without waiting
//	Leavings(p, n, deadline) iter.Seq[string]        names that dead processes of this user may have left
//	Names(p *Place) ([]string, error)                the names in the place's directory
//	(*Place) Lasting() bool                          whether objects there outlive their handles
//	Path(p *Place) string                            the object's name for messages
//	AddressesLimited() bool                          whether the addresses that Retire keeps may be needed
//	Revocable                                        whether Retire may be called while calls use the view
//
//	(*Object) ReadOnly() bool                        whether it was opened read-only
//	(*Object) Current() (bool, error)                whether its name still refers to it
//	(*Object) Info() (Info, error)                   size, mode
//	(*Object) ReadAt(b, off) (int, error)
//	(*Object) Created() bool                         whether Enter created it
//	(*Object) Reset(p, mark, size) error             sets its mode, empties it, marks it, reserves size bytes
//	(*Object) Reserve(from, to) error                makes it longer, with zeros; all or nothing
//	(*Object) ReserveHoles(n, info) error            allocates what is missing of the first n bytes
//	(*Object) Map(n, writable) (*View, error)
//	(*View) Unprotect(off, n), Retire(), Unmap() error   make writable, replace with private zeros, release
//	(*View) Populate()                               makes its pages present, where the system can do that
//	(*Object) Family() *kernel.Family                the kernel objects to wait on, where memory is not enough
//	(*Object) Unlink() error                         removes the name
//	(*Object) Close() error                          drops all its locks
//
//	(*Object) LockRegistry(limit) error              excludes all others that open or close the object; shared
//	                                                 among read-only handles; os.ErrDeadlineExceeded
//	(*Object) UnlockRegistry()
//	(*Object) Hold(slot) (bool, error), Drop(slot)   a member slot, for as long as the object is open
//	(*Object) HoldReader() error, DropReader()       the place that all readers share
//	(*Object) Held(slot) (bool, error)               whether another object holds the slot
//	(*Object) Holders() ([]int, error)               the slots that other objects hold
//	(*Object) Readers() (int, error)                 how many other objects hold the readers' place; 1 for any
//	                                                 number where the system does not tell
//	(*Object) AnyHeld() (bool, error)                whether another object holds any slot or the readers' place;
//	                                                 the object that asks must hold none
//
// Invariants: locks belong to an Object, not to the process, so two Objects of
// one process exclude each other. The kernel drops the locks of a process that
// dies, at whatever point. All memory is reserved before it is used. A View
// whose memory can vanish is watched by internal/fault from before its first
// access until it is unmapped.
//
// docs/format.md describes the protocol ("Where it is", "States of a file",
// "Lock bytes", "Opening and closing", "On Windows", "On other Unixes").
// docs/design.md gives the reasons ("Who is alive", "One initialiser, and
// memory that is freed", "Close without waiting for readers").
package mapping

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
)

// ErrNoSpace is returned when the memory or disk behind a place is full. The
// root package exports it.
var ErrNoSpace = errors.New("no space for the segment")

// ErrAbsent is returned when the name does not exist, or when all users of its
// object have died. It wraps fs.ErrNotExist.
var ErrAbsent = fmt.Errorf("neither in use nor persistent: %w", fs.ErrNotExist)

// DefaultMode is the permission of a new object if its Place has none: only the
// owner has access.
const DefaultMode fs.FileMode = 0o600

// MaxName is the maximum length of a name, in bytes.
const MaxName = 200

// Place says where a named object is, and which users may open it.
type Place struct {
	Name               string
	Dir                string      // "" is the platform's shared memory; may be relative to the current directory
	Mode               fs.FileMode // 0 is DefaultMode, and refuses files of other users
	SecurityDescriptor string
	Global             bool
	// Others lets processes of root open the files of all users on Unix. It is
	// for looking at names and for sweeping, not for attaching.
	Others bool
}

// Check returns an error wrapping fs.ErrInvalid if no object can have the
// place's name, directory or mode. It makes no system call.
func (p *Place) Check() error {
	if err := CheckName(p.Name); err != nil {
		return err
	}
	if err := p.checkDir(); err != nil {
		return err
	}
	if p.Mode&^0o666 != 0 {
		return fmt.Errorf("%w: mode %v has bits other than read and write", fs.ErrInvalid, p.Mode)
	}
	if p.Mode != 0 && p.Mode&DefaultMode != DefaultMode {
		return fmt.Errorf("%w: mode %v denies its owner reading or writing", fs.ErrInvalid, p.Mode)
	}
	return nil
}

// checkDir refuses a directory that no system can have.
func (p *Place) checkDir() error {
	const longest = 1<<15 - 1 // of Windows, in characters; the limits of other systems are lower, and reported by them
	if strings.IndexByte(p.Dir, 0) >= 0 {
		return fmt.Errorf("%w: Options.Dir contains a NUL", fs.ErrInvalid)
	}
	if len(p.Dir) > longest {
		return fmt.Errorf("%w: Options.Dir has %d bytes, more than any system allows", fs.ErrInvalid, len(p.Dir))
	}
	return nil
}

// CheckName returns an error wrapping fs.ErrInvalid unless name has 1 to
// MaxName of the characters [A-Za-z0-9._-] and does not start with a dot.
func CheckName(name string) error {
	if name == "" || len(name) > MaxName {
		return fmt.Errorf("%w: a name has 1 to %d characters, this one has %d", fs.ErrInvalid, MaxName, len(name))
	}
	if name[0] == '.' {
		return fmt.Errorf("%w: a name does not start with a dot", fs.ErrInvalid)
	}
	for _, c := range name {
		if !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '.' || c == '_' || c == '-') {
			return fmt.Errorf("%w: a name consists of letters A-Z and a-z, digits, '.', '_' and '-', not %q", fs.ErrInvalid, c)
		}
	}
	return nil
}

// Info is what the platform knows about an object.
type Info struct {
	Size int64
	Held int64 // bytes of memory or disk allocated; less than Size if there are holes
	Mode fs.FileMode
	UID  int    // the owner's user ID; -1 on Windows
	ID   uint64 // the same for all Objects of one process that share memory; practically unique
}

// Package mapping is the seam to the platform's named shared memory: it opens
// and creates a named object, gives it a size, maps it, tells whether its name
// still leads to it, and keeps the locks that the kernel drops when their
// holder dies. It knows nothing of what the bytes mean but the positions of the
// lock bytes.
//
// A platform has one type, Object, with these functions:
//
//	Open(p *Place, readOnly bool) (*Object, error)   an existing object, to look at it; fs.ErrNotExist
//	Enter(p, create, readOnly, limit)                the same to attach or detach, with the registry locked; a new,
//	                                                 empty one if there is none and create says so
//	TryEnter(p) (o, busy, err)                       an existing one, with the registry locked, without a wait for it
//	Leavings(p *Place, n int) iter.Seq[string]       names that dead processes of this user may have left
//	Names(p *Place) ([]string, error)                the names where the place is
//	(*Place) Lasting() bool                          an object there outlives those who have it open
//	Path(p *Place) string                            what people call it
//	AddressesLimited() bool                          what Retire keeps, others may want
//	Revocable                                        Retire does no harm to calls that use the view
//
//	(*Object) ReadOnly() bool                        as it was opened
//	(*Object) Current() (bool, error)                its name still leads to it
//	(*Object) Info() (Info, error)                   size, mode
//	(*Object) ReadAt(b, off) (int, error)
//	(*Object) Created() bool                         by Enter
//	(*Object) Reset(p, mark, size) error             sets its mode, empties it, marks it, reserves size bytes
//	(*Object) Reserve(from, to) error                makes it longer, with zeros; all of it or nothing
//	(*Object) ReserveHoles(n, info) error            takes memory for what of the first n bytes has none
//	(*Object) Map(n, writable) (*View, error)
//	(*View) Unprotect(off, n), Retire(), Unmap() error   make writable, swap for private zeros, release
//	(*View) Populate()                               makes its pages present, where the system can be asked to
//	(*Object) Family() *kernel.Family                what processes wait on, where memory alone does not do
//	(*Object) Unlink() error                         takes the name away
//	(*Object) Close() error                          drops all its locks
//
//	(*Object) LockRegistry(limit) error              among all that open or close the object, shared
//	                                                 by read-only ones; os.ErrDeadlineExceeded
//	(*Object) UnlockRegistry()
//	(*Object) Hold(slot) (bool, error), Drop(slot)   a member slot, for as long as the object is open
//	(*Object) HoldReader() error, DropReader()       the place that all readers share
//	(*Object) Held(slot) (bool, error)               by any other object
//	(*Object) Holders() ([]int, error)               the slots that any other object holds
//	(*Object) Readers() (int, error)                 how many other objects hold the readers' place; 1 for any
//	                                                 number where the system does not tell
//	(*Object) AnyHeld() (bool, error)                any slot or the readers' place; asked by those who hold none
//
// Locks belong to the Object, not to the process: two Objects of one process
// exclude each other.
package mapping

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/sharedseg/sharedseg/internal/fault"
)

// ErrNoSpace means that the memory or disk behind the place is full. The root
// package exports it.
var ErrNoSpace = errors.New("no space for the segment")

// ErrAbsent means that nothing has the name, or nothing that its users left
// behind by dying. It is fs.ErrNotExist.
var ErrAbsent = fmt.Errorf("there is none in use, nor one that persists: %w", fs.ErrNotExist)

// DefaultMode is the permission of a new object if its Place asks for none: the
// owner only.
const DefaultMode fs.FileMode = 0o600

// MaxName is the length of the longest name, in bytes.
const MaxName = 200

// Place says where a named object is, and who may use it.
type Place struct {
	Name               string
	Dir                string      // "": the platform's shared memory; relative to the current directory, if relative
	Mode               fs.FileMode // 0: DefaultMode, and a file of another user is refused
	SecurityDescriptor string
	Global             bool
	// Others has root's processes open the files of all users on Unix. It is
	// for those that look at names and sweep, not for those that attach.
	Others bool
}

func (p *Place) mode() fs.FileMode {
	if p.Mode == 0 {
		return DefaultMode
	}
	return p.Mode
}

// Check refuses a name or a mode that no object can have, before any system
// call.
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
		return fmt.Errorf("%w: mode %v keeps its own owner from reading and writing", fs.ErrInvalid, p.Mode)
	}
	return nil
}

// checkDir refuses a directory that no system has.
func (p *Place) checkDir() error {
	const longest = 1<<15 - 1 // of Windows, in characters; others have less, and say so
	if strings.IndexByte(p.Dir, 0) >= 0 {
		return fmt.Errorf("%w: Options.Dir has a NUL in it", fs.ErrInvalid)
	}
	if len(p.Dir) > longest {
		return fmt.Errorf("%w: Options.Dir has %d bytes, more than any system allows", fs.ErrInvalid, len(p.Dir))
	}
	return nil
}

// CheckName refuses a name that is not 1 to MaxName of [A-Za-z0-9._-] or that
// starts with a dot.
func CheckName(name string) error {
	if name == "" || len(name) > MaxName {
		return fmt.Errorf("%w: a name has 1 to %d characters, this one has %d", fs.ErrInvalid, MaxName, len(name))
	}
	if name[0] == '.' {
		return fmt.Errorf("%w: a name does not start with a dot", fs.ErrInvalid)
	}
	for _, c := range []byte(name) {
		if !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '.' || c == '_' || c == '-') {
			return fmt.Errorf("%w: a name consists of letters A-Z and a-z, digits, '.', '_' and '-', not %q", fs.ErrInvalid, c)
		}
	}
	return nil
}

// Info is what the platform knows of an object.
type Info struct {
	Size int64
	Held int64 // bytes of memory or disk behind it; less than Size if it has holes
	Mode fs.FileMode
	UID  int    // of the user to whom it belongs; -1 on Windows
	ID   uint64 // the same for all Objects of one process that share memory, as good as unique
}

// View is mapped memory of an object, and what keeps the process alive if that
// memory vanishes: no mapping is without it.
type View struct {
	*fault.Region
	Mem []byte
	addresses
}

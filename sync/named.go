package ipcsync

import (
	"fmt"
	"io/fs"
	"runtime"
	"time"

	"github.com/sharedseg/sharedseg"

	"github.com/sharedseg/sharedseg/internal/layout"
	"github.com/sharedseg/sharedseg/internal/mapping"
	"github.com/sharedseg/sharedseg/internal/member"
)

// Options of a named Mutex. The zero value, and nil, are ready to use.
type Options struct {
	// Repair restores what the mutex guards after an owner died. It runs with
	// the mutex held, in the goroutine that calls Lock, and must not use the
	// mutex: Lock and Close of the handle return ErrReentrant there. nil: Lock
	// returns ErrOwnerDied.
	Repair func() error
	// Persist keeps the mutex when its last handle is closed. It counts for the
	// handle that creates the mutex. On Windows it needs Dir. It is not needed
	// for Repair: a mutex whose owner died stays in any case until what it
	// guards is repaired, although all its users are gone, or until
	// sharedseg.Remove.
	//
	// A reboot ends the platform's shared memory, and with it every mutex that
	// is there, whether it persists or not, and the knowledge that an owner
	// died. So does, on Windows, the end of the last process that has such a
	// mutex open. If what the mutex guards is to survive that, as a file does,
	// set Dir to a directory beside it; and after a power failure, which may
	// undo the last writes to any file, check it whatever Lock returns.
	Persist bool
	// Mode is the permission of the mutex's file: read and write bits, the
	// owner's among them. 0: 0600. With any other, the file may belong to
	// another user. When the mutex exists, its mode must be the same. Windows
	// has no modes.
	Mode fs.FileMode
	// Dir is the directory of the mutex's file. "": the platform's shared
	// memory.
	Dir string
	// SecurityDescriptor is the mutex's, in SDDL, on Windows, and counts for
	// the one who creates. "": only its owner has access. With one, the mutex
	// may belong to another user; those who use it need GA.
	SecurityDescriptor string
	// Global puts the mutex in the namespace of all sessions, on Windows.
	Global bool
}

// Place is where the mutex is, for sharedseg.Stat and the other functions of
// that package.
func (o *Options) Place() *sharedseg.Place {
	if o == nil {
		return nil
	}
	return &sharedseg.Place{Dir: o.Dir, Mode: o.Mode, SecurityDescriptor: o.SecurityDescriptor, Global: o.Global}
}

// OpenMutex opens the mutex of that name, and creates it if there is none. It
// does not lock it. The name has 1 to 200 of the characters A-Z, a-z, 0-9, '.',
// '_' and '-', and does not start with a dot. It shares its namespace with
// segments.
//
// Errors: fs.ErrInvalid (name or mode), fs.ErrPermission,
// errors.ErrUnsupported, os.ErrDeadlineExceeded (a process was stopped half-way
// through opening or closing the mutex), ErrIncompatible (the name leads to
// something else), ErrCorrupt, ErrNoSpace, ErrTooManyMembers.
//
// Close the handle when it is no longer used. An unreachable handle is
// eventually closed by the garbage collector, unless it holds the mutex: then
// it holds it until the process exits.
//
// If all handles of a mutex that does not persist are gone, by Close or by the
// end of their processes, the next OpenMutex creates it anew. That an owner
// died is not lost by it, except where Options.Persist says so: the first Lock
// runs Options.Repair.
func OpenMutex(name string, o *Options) (*Mutex, error) {
	mb, err := open(name, o, layout.KindMutex, 0)
	if err != nil {
		return nil, err
	}
	return named(mb, name, o.repair()), nil
}

// named returns the handle of the mutex whose word is in the header of a
// mapping. Its errors have that name, or are bare.
func named(mb *member.Member, name string, repair func() error) *Mutex {
	m := NewMutex(mb.Words.Mutex(), mb, repair)
	m.name = name
	runtime.AddCleanup(m, (*member.Member).Discard, mb)
	return m
}

// open opens the lock of that name and kind, and creates it if there is none.
func open(name string, o *Options, kind layout.Kind, permits int64) (*member.Member, error) {
	if o == nil {
		o = new(Options)
	}
	spec := &member.Spec{
		Place: mapping.Place{
			Name: name, Dir: o.Dir, Mode: o.Mode, SecurityDescriptor: o.SecurityDescriptor, Global: o.Global,
		},
		New: func(page int) (*layout.Geometry, error) {
			g := &layout.Geometry{Kind: kind, Persist: o.Persist, Capacity: permits}
			return g, g.Place(page)
		},
		Check: func(g *layout.Geometry) error {
			switch {
			case g.Kind != kind:
				return fmt.Errorf("%w: it is %s, not %s", layout.ErrIncompatible, article(g.Kind), article(kind))
			case g.Capacity != permits:
				return fmt.Errorf("%w: it has %d permits, not %d", layout.ErrIncompatible, g.Capacity, permits)
			case o.Persist && !g.Persist:
				return fmt.Errorf("%w: it does not persist", layout.ErrIncompatible)
			}
			return nil
		},
	}
	mb, err := member.Join(member.OpenOrCreate, spec)
	if err != nil {
		return nil, &sharedseg.Error{Op: "open", Name: name, Err: err}
	}
	return mb, nil
}

// article is the kind with its article.
func article(k layout.Kind) string {
	if k == layout.KindRWMutex || k == layout.KindEvent {
		return "an " + k.String()
	}
	return "a " + k.String()
}

func (o *Options) repair() func() error {
	if o == nil {
		return nil
	}
	return o.Repair
}

// Close closes the handle. Goroutines that wait in Lock return fs.ErrClosed.
// Close waits for a Repair that is running. If the handle holds the mutex, the
// next handle to lock it learns that its owner died. The error says what could
// not be cleaned up; the handle is closed all the same. A second Close returns
// nil.
//
// A Close from within Repair would wait for itself: it returns ErrReentrant,
// and the handle stays open.
func (m *Mutex) Close() (err error) {
	if m.repairs() {
		return m.wrap("close", errStopWithin)
	}
	m.close.Do(func() {
		m.Stop()
		if m.member == nil {
			return
		}
		held := m.holds()
		for looks := 0; held && looks < 20; looks++ {
			time.Sleep(50 * time.Microsecond) // a Lock that finds the handle closed has it for a moment
			held = m.holds()
		}
		err = m.wrap("close", m.member.Leave(held))
	})
	return err
}

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
	"github.com/sharedseg/sharedseg/internal/wait"
)

// Options are the options of a named mutex or another lock of this package. nil
// and the zero value are ready to use.
type Options struct {
	// Repair restores what the mutex guards after an owner died. It runs with
	// the mutex held, in the goroutine that calls Lock. It must not use the
	// mutex: Lock and Close of the handle return ErrReentrant. If Repair is
	// nil, Lock returns ErrOwnerDied instead.
	Repair func() error
	// Persist keeps the mutex after its last handle is closed. It applies to
	// the handle that creates the mutex. On Windows it needs Dir. Repair does
	// not need it: a mutex whose owner died stays, even without open handles,
	// until what it guards is repaired, or until sharedseg.Remove.
	//
	// A reboot clears the platform's shared memory. It deletes every mutex
	// there, whether it persists or not, and the record that an owner died. On
	// Windows, so does the exit of the last process that has the mutex open. If
	// what the mutex guards survives that, as a file does, set Dir to a
	// directory beside it. A power failure may undo the last writes to any
	// file, so check that file afterwards, whatever Lock returns.
	Persist bool
	// Mode is the permission of the mutex's file on Unix: read and write bits,
	// including the owner's. 0 means 0600 for a new mutex, and any mode for one
	// that exists. Otherwise a mutex that exists must have the same Mode. If
	// Mode grants access to the group or others, the file may belong to another
	// user, which is then trusted not to withhold the lock. Windows has no
	// modes.
	Mode fs.FileMode
	// Dir is the directory of the mutex's file. "" means the platform's shared
	// memory.
	Dir string
	// SecurityDescriptor is the mutex's security descriptor on Windows, in
	// SDDL. Only the handle that creates the mutex applies it. "" means that
	// only the owner has access. Otherwise the mutex may belong to another
	// user. Users of the mutex need GA.
	SecurityDescriptor string
	// Global puts the mutex in the namespace of all sessions on Windows.
	Global bool
}

// Place returns where the mutex is, for sharedseg.Stat and the other functions
// of that package.
func (o *Options) Place() *sharedseg.Place {
	if o == nil {
		return nil
	}
	return &sharedseg.Place{Dir: o.Dir, Mode: o.Mode, SecurityDescriptor: o.SecurityDescriptor, Global: o.Global}
}

// OpenMutex opens the mutex with the given name, and creates it if it does not
// exist. It does not lock the mutex. The name has 1 to 200 of the characters
// A-Z, a-z, 0-9, '.', '_' and '-', and does not start with a dot. Locks,
// segments and queues share one namespace.
//
// Errors: fs.ErrInvalid (name or mode), fs.ErrPermission,
// errors.ErrUnsupported, os.ErrDeadlineExceeded (a process was stopped halfway
// through opening or closing the mutex), ErrIncompatible (the name refers to
// something else), ErrCorrupt, ErrNoSpace, ErrTooManyMembers.
//
// Close the handle after use. An unreachable handle is eventually closed by the
// garbage collector, unless it holds the mutex: then it holds the mutex until
// the process exits.
//
// If a mutex does not persist and no handle is open, the next OpenMutex creates
// it again. The record that an owner died survives this, except as
// Options.Persist describes: the first Lock then runs Options.Repair.
func OpenMutex(name string, o *Options) (*Mutex, error) {
	mb, err := open(name, o, layout.KindMutex, 0)
	if err != nil {
		return nil, err
	}
	return named(mb, name, o.repair()), nil
}

// named returns a handle of the mutex whose word is in the header of mb's
// mapping. Its errors name it, unless name is "".
func named(mb *member.Member, name string, repair func() error) *Mutex {
	m := NewMutex(mb.Words.Mutex(), mb, repair)
	m.name = name
	runtime.AddCleanup(m, (*member.Member).Discard, mb)
	return m
}

// open opens the lock with that name and kind, and creates it if it does not
// exist.
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
				return fmt.Errorf("%w: it is %s, not %s", layout.ErrIncompatible, g.Kind.Noun(), kind.Noun())
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

func (o *Options) repair() func() error {
	if o == nil {
		return nil
	}
	return o.Repair
}

// closeLimit is how long a handle that is being closed has to hold the mutex to
// count as one that died with it. A thread that is about to release it may have
// to wait for a processor.
const closeLimit = 100 * time.Millisecond

// Close closes the handle. Goroutines that wait in Lock return fs.ErrClosed.
// Close waits for a Repair that is running. If the handle holds the mutex,
// Close takes 100 ms or more, and the next handle to lock the mutex finds that
// its owner died. The error says what could not be cleaned up. The handle is
// closed even so. A second Close returns nil.
//
// If Repair calls Close, Close returns ErrReentrant, because it would wait for
// itself, and the handle stays open.
func (m *Mutex) Close() (err error) {
	if m.repairs() {
		return m.wrap("close", errStopWithin)
	}
	m.close.Do(func() {
		m.Stop()
		if m.member == nil {
			return
		}
		// A Lock that finds the handle closed holds the mutex for a moment.
		held := m.holds()
		budget := wait.NewBudget(closeLimit)
		for pause := 10 * time.Microsecond; held && budget.Sleep(pause); pause = min(2*pause, time.Millisecond) {
			held = m.holds()
		}
		err = m.wrap("close", m.member.Leave(held))
	})
	return err
}

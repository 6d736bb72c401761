package sharedseg

import (
	"errors"
	"io/fs"
	"iter"

	"github.com/sharedseg/sharedseg/internal/layout"
	"github.com/sharedseg/sharedseg/internal/mapping"
	"github.com/sharedseg/sharedseg/internal/member"
)

// Place says where names are. nil and the zero value mean the platform's shared
// memory.
//
// On Unix, root sees the names of all users: Stat, List and Sweep do not need
// Mode for that. Remove needs it, and so does every call that attaches.
type Place struct {
	// Dir is the directory of the files. "" means the platform's shared memory.
	Dir string
	// Mode, if it grants access to the group or others, allows files of other
	// users on Unix, as Mode in the packages' options does.
	Mode fs.FileMode
	// SecurityDescriptor, if not empty, allows objects of other users on
	// Windows.
	SecurityDescriptor string
	// Global selects the namespace of all sessions on Windows.
	Global bool
}

// seen is of, for calls that only look at what other users have.
func (p *Place) seen(name string) *mapping.Place {
	place := p.of(name)
	place.Others = true
	return place
}

func (p *Place) of(name string) *mapping.Place {
	if p == nil {
		return &mapping.Place{Name: name}
	}
	return &mapping.Place{Name: name, Dir: p.Dir, Mode: p.Mode, SecurityDescriptor: p.SecurityDescriptor, Global: p.Global}
}

// Stat describes the object that a name refers to, without opening it. It takes
// no lock and writes nothing, so its users are not disturbed.
//
// Errors: fs.ErrNotExist, fs.ErrInvalid (name or directory), fs.ErrPermission,
// ErrIncompatible (the file was not created by this module), ErrCorrupt.
func Stat(name string, p *Place) (Info, error) {
	s, err := member.Stat(p.seen(name))
	if err != nil {
		return Info{Name: name}, wrap("stat", name, err)
	}
	return describe(name, s), nil
}

// List describes all existing names, live or not. It skips files that this
// module did not create and files that this user cannot read. A pair with an
// error has at least the name set, unless the directory itself cannot be read.
func List(p *Place) iter.Seq2[Info, error] {
	return func(yield func(Info, error) bool) {
		place := p.of("")
		names, err := mapping.Names(place)
		if err != nil {
			yield(Info{}, wrap("list", "", err))
			return
		}
		for _, name := range names {
			info, err := Stat(name, p)
			if err != nil && foreign(err) {
				continue
			}
			if !yield(info, err) {
				return
			}
		}
	}
}

// Remove removes a name. Open handles keep using the old object among
// themselves. The next Open of the name creates a new object. If the owner of a
// lock died, Remove also removes the record of that.
//
// Remove does not remove bare mappings, which have no mark that distinguishes
// them from other files: segment.RemoveBare does.
//
// On Windows a name exists until its last handle is closed. Until then Remove
// returns errors.ErrUnsupported.
//
// Errors: fs.ErrNotExist, fs.ErrInvalid (name), fs.ErrPermission,
// ErrIncompatible (the file was not created by this module).
func Remove(name string, p *Place) error {
	return wrap("remove", name, member.Remove(p.of(name)))
}

// Sweep removes every name that does not persist and that no handle has open,
// because all of its users died. It keeps a mutex whose owner died with the
// mutex locked, so that the next handle to lock it learns of the death. It
// skips files that this module did not create and files that this user cannot
// open.
//
// Sweep returns the names that it removed. It continues after an error. The
// errors of several names are joined, with one [Error] for each:
// fs.ErrPermission if the system does not let this user remove a file, as in a
// sticky directory.
//
// Sweep is never needed for correctness, because Open does not attach to such
// names. It releases their memory. The first handle that a process creates in
// the platform's shared memory does the same in the background, for the files
// of its own user and for at most 100 ms. The environment variable
// SHAREDSEG_SWEEP=off disables that.
func Sweep(p *Place) (removed []string, err error) { return each(p, "sweep", member.Sweep) }

// Leftovers returns the names that Sweep would remove.
func Leftovers(p *Place) (names []string, err error) { return each(p, "sweep", member.Leftover) }

// each returns the names for which f reports true.
func each(p *Place, op string, f func(*mapping.Place) (bool, error)) (names []string, err error) {
	place := p.seen("")
	all, err := mapping.Names(place)
	if err != nil {
		return nil, wrap(op, "", err)
	}
	var errs []error
	for _, name := range all {
		place.Name = name
		ok, err := f(place)
		if ok {
			names = append(names, name)
		}
		errs = append(errs, wrap(op, name, err))
	}
	return names, errors.Join(errs...)
}

// foreign reports whether err means that a file was not created by this module,
// is gone, or cannot be read by this user.
func foreign(err error) bool {
	return errors.Is(err, layout.ErrIncompatible) || errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission)
}

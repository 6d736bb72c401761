package sharedseg

import (
	"errors"
	"io/fs"
	"iter"

	"github.com/sharedseg/sharedseg/internal/layout"
	"github.com/sharedseg/sharedseg/internal/mapping"
	"github.com/sharedseg/sharedseg/internal/member"
)

// Place says where names are. nil and the zero value are the platform's shared
// memory.
//
// A process of root sees the names of all users on Unix: Stat, List and Sweep
// do not need Mode there. Remove does, and whatever attaches.
type Place struct {
	// Dir is the directory of the files. "": the platform's shared memory.
	Dir string
	// Mode, if it grants the group or others something, allows files of other
	// users on Unix, as Mode in the options of the packages does.
	Mode fs.FileMode
	// SecurityDescriptor, if there is one, allows objects of other users on
	// Windows.
	SecurityDescriptor string
	// Global is the namespace of all sessions, on Windows.
	Global bool
}

// seen is of, for those who look at what other users have.
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

// Stat describes what a name leads to, without opening it. It takes no lock and
// writes nothing, so nobody notices it.
//
// Errors: fs.ErrNotExist, fs.ErrInvalid (name or directory), fs.ErrPermission,
// ErrIncompatible (not ours), ErrCorrupt.
func Stat(name string, p *Place) (Info, error) {
	s, err := member.Stat(p.seen(name))
	if err != nil {
		return Info{Name: name}, wrap("stat", name, err)
	}
	return describe(name, s), nil
}

// List describes all names that are there, live or not. It passes over files
// that are not ours or may not be looked at. A pair with an error has at least
// the name, unless the directory itself cannot be read.
func List(p *Place) iter.Seq2[Info, error] {
	return func(yield func(Info, error) bool) {
		place := p.of("")
		names, err := mapping.Names(place)
		if err != nil {
			yield(Info{}, wrap("list", place.Dir, err))
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

// Remove takes the name away from the segment or lock that has it. Handles that
// are open go on with the old one among themselves. The next Open of the name
// creates another. It removes nothing else: segment.RemoveBare is for bare
// mappings, which have no mark that tells them from other files. That the
// owner of a lock died is forgotten.
//
// On Windows a name exists until its last handle is closed: until then Remove
// returns errors.ErrUnsupported.
//
// Errors: fs.ErrNotExist, fs.ErrInvalid (the name), fs.ErrPermission,
// ErrIncompatible (no segment and no lock).
func Remove(name string, p *Place) error {
	return wrap("remove", name, member.Remove(p.of(name)))
}

// Sweep removes the segments and locks that nobody has open and that do not
// persist: those whose users all died. It leaves a mutex whose owner died with
// it locked, as the next to lock it is to learn that. It returns the names that
// it removed, and continues after an error. An error of several names is joined
// of one [Error] for each: fs.ErrPermission if the system does not let this
// user remove the file, as in a sticky directory. It passes over files that are
// not ours or may not be opened.
//
// It is never needed for correctness, as Open does not attach to them. It
// releases their memory. The first handle that a process creates in the
// platform's shared memory does the same for files of its own user, in the
// background, for 100 ms at most. The environment variable SHAREDSEG_SWEEP=off
// turns that off.
func Sweep(p *Place) (removed []string, err error) { return each(p, "sweep", member.Sweep) }

// Leftovers returns the names that Sweep would remove.
func Leftovers(p *Place) (names []string, err error) { return each(p, "sweep", member.Leftover) }

// each returns the names for which is reports true.
func each(p *Place, op string, is func(*mapping.Place) (bool, error)) (names []string, err error) {
	place := p.seen("")
	all, err := mapping.Names(place)
	if err != nil {
		return nil, wrap(op, place.Dir, err)
	}
	for _, name := range all {
		place.Name = name
		ok, e := is(place)
		if ok {
			names = append(names, name)
		}
		err = errors.Join(err, wrap(op, name, e))
	}
	return names, err
}

// foreign reports whether err means that a file is not ours, is gone, or may
// not be looked at.
func foreign(err error) bool {
	return errors.Is(err, layout.ErrIncompatible) || errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission)
}

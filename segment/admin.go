package segment

import (
	"errors"
	"fmt"
	"io/fs"
	"iter"

	"github.com/sharedseg/sharedseg/internal/layout"
	"github.com/sharedseg/sharedseg/internal/mapping"
	"github.com/sharedseg/sharedseg/internal/member"
)

// Info describes a segment.
type Info struct {
	Name     string
	Path     string // its file
	Codec    string // the codec's ID
	Type     string // the Go type of the one who created it
	Capacity int    // bytes
	Slots    int
	Guard    Guard
	Persist  bool
	Mode     fs.FileMode
	Size     int    // bytes of memory
	Version  uint64 // number of Stores so far
	Writers  int    // open handles that may write
	Readers  bool   // whether a Reader is open
}

// Live reports whether Attach finds the segment. One that is not live was left by processes that died, and goes
// with the next Open of its name, or with Sweep.
func (i *Info) Live() bool { return i.Persist || i.Writers > 0 || i.Readers }

// Stat describes the segment of that name without opening it. Of the options only Mode and those that say where
// to look count, here and in the other functions without a codec.
//
// Errors: fs.ErrNotExist, fs.ErrInvalid (the name), fs.ErrPermission, ErrIncompatible, ErrCorrupt.
func Stat(name string, o *Options) (Info, error) {
	place := o.place(name)
	s, err := member.Stat(&place)
	if err == nil && s.Geometry.Kind != layout.KindSegment {
		err = fmt.Errorf("%w: it is a %v, not a segment", ErrIncompatible, s.Geometry.Kind)
	}
	if err != nil {
		return Info{Name: name}, wrap("stat", name, err)
	}
	g := s.Geometry
	return Info{
		Name: name, Path: s.Path, Codec: g.CodecID, Type: g.TypeName, Capacity: g.Capacity, Slots: g.Slots,
		Guard: guardOf(g), Persist: g.Persist, Mode: s.Mode, Size: g.Size(), Version: s.Version,
		Writers: s.Writers, Readers: s.Readers,
	}, nil
}

// List describes all segments that are there, live or not. It passes over files that are no segments or may not
// be looked at. A pair with an error has at least the name, unless the directory itself cannot be read.
func List(o *Options) iter.Seq2[Info, error] {
	return func(yield func(Info, error) bool) {
		place := o.place("")
		names, err := mapping.Names(&place)
		if err != nil {
			yield(Info{}, wrap("list", place.Dir, err))
			return
		}
		for _, name := range names {
			info, err := Stat(name, o)
			if err != nil && foreign(err) {
				continue
			}
			if !yield(info, err) {
				return
			}
		}
	}
}

// Remove takes the name away from the segment, mutex or bare mapping that has it. Handles that are open go on with
// the old one among themselves; the next Open of the name creates another. Options as for [Stat].
//
// On Windows a name goes with its last handle, and not before: Remove then is errors.ErrUnsupported.
//
// Errors: fs.ErrNotExist, fs.ErrInvalid (the name), fs.ErrPermission, ErrIncompatible (no regular file).
func Remove(name string, o *Options) error {
	place := o.place(name)
	return wrap("remove", name, member.Remove(&place))
}

// Sweep removes the segments and mutexes that nobody has open and that are not there to persist: those whose
// users all died. It returns their names, and goes on after an error. It is never needed for correctness, as Open
// does not attach to them, but gives their memory back. Options as for [Stat].
func Sweep(o *Options) (removed []string, err error) {
	place := o.place("")
	names, err := mapping.Names(&place)
	if err != nil {
		return nil, wrap("sweep", place.Dir, err)
	}
	for _, name := range names {
		place.Name = name
		swept, e := member.Sweep(&place)
		if swept {
			removed = append(removed, name)
		} else if e != nil && !foreign(e) {
			err = errors.Join(err, wrap("sweep", name, e))
		}
	}
	return removed, err
}

// foreign reports whether err means that a file is not ours, is gone, or may not be looked at.
func foreign(err error) bool {
	return errors.Is(err, ErrIncompatible) || errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission)
}

package member

import (
	"io/fs"

	"github.com/sharedseg/sharedseg/internal/layout"
	"github.com/sharedseg/sharedseg/internal/mapping"
)

// Status is what can be told of a mapping without attaching to it.
type Status struct {
	Geometry *layout.Geometry
	Path     string
	Mode     fs.FileMode
	Version  uint64
	Counts   [layout.Counters]uint64 // by layout.Counter
	Writers  int                     // writable handles that are open
	Holders  []Holder                // these, by member slot
	Readers  bool                    // some reader is open
}

// Holder is a writable handle that is open.
type Holder struct {
	Slot int // the member slot that it holds
	PID  int // of its process, as layout.Words.HolderPID: a hint
}

// Stat looks at a mapping. One that is not initialised is fs.ErrNotExist.
func Stat(p *mapping.Place) (*Status, error) {
	if err := p.Check(); err != nil {
		return nil, err
	}
	obj, err := mapping.Open(p, true)
	if err != nil {
		return nil, err
	}
	defer obj.Close()
	head, info, err := readHead(obj, make([]byte, layout.HeadSize))
	if err != nil {
		return nil, err
	}
	if head == nil {
		return nil, fs.ErrNotExist
	}
	g, err := layout.Read(head, info.Size)
	if err != nil {
		return nil, err
	}
	s := &Status{Geometry: g, Path: mapping.Path(p), Mode: info.Mode, Version: layout.Version(head), Counts: layout.Counts(head)}
	for slot := range layout.Members {
		held, err := obj.Held(slot)
		if err != nil {
			return nil, err
		}
		if held {
			s.Holders = append(s.Holders, Holder{Slot: slot})
		}
	}
	s.Writers = len(s.Holders)
	// Read after the question who holds a slot, so that a process ID is not
	// that of somebody before.
	off, n := layout.MemberTable()
	table := make([]byte, n)
	if n, err = obj.ReadAt(table, int64(off)); err != nil {
		return nil, err
	}
	if n == len(table) {
		for i := range s.Holders {
			s.Holders[i].PID = int(layout.HolderPID(table, s.Holders[i].Slot))
		}
	}
	s.Readers, err = obj.ReaderHeld()
	return s, err
}

// Remove takes the name away from whatever mapping it leads to. Those attached go on with it among themselves.
func Remove(p *mapping.Place) error {
	obj, err := enter(p, false, false)
	if err != nil {
		return err
	}
	defer leave(obj)
	return obj.Unlink()
}

// Sweep removes a mapping that nobody is attached to and that is not there to persist, and reports whether it
// did. A file that is not ours is fs.ErrNotExist or layout.ErrIncompatible.
func Sweep(p *mapping.Place) (bool, error) {
	if !p.Lasting() {
		return false, nil
	}
	obj, err := enter(p, false, false)
	if err != nil {
		return false, err
	}
	defer leave(obj)
	if marked, err := isMarked(obj); err != nil || !marked {
		return false, err
	}
	g, err := (&Member{obj: obj}).inspect()
	if err != nil || g != nil {
		return false, err
	}
	attached, err := obj.AnyHeld()
	if err != nil || attached {
		return false, err
	}
	return true, obj.Unlink()
}

func isMarked(obj *mapping.Object) (bool, error) {
	head := make([]byte, len(layout.Magic))
	n, err := obj.ReadAt(head, 0)
	return layout.IsMarked(head[:n]), err
}

// leave undoes enter. Closing alone would leave the lock to a child process that is about to start a program.
func leave(obj *mapping.Object) {
	obj.UnlockRegistry()
	obj.Close()
}

package member

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"time"

	"github.com/sharedseg/sharedseg/internal/layout"
	"github.com/sharedseg/sharedseg/internal/mapping"
)

// Status describes a mapping. It is read without attaching to the mapping.
type Status struct {
	Geometry *layout.Geometry
	Path     string
	Mode     fs.FileMode
	UID      int // the file owner's user ID; -1 on Windows
	Version  uint64
	Counts   [layout.Counters]uint64 // by layout.Counter
	Holders  []Holder                // open handles that may write, by member slot
	Readers  int                     // open readers, as counted by mapping.Object.Readers
	Lock     Lock
	Queue    Queue
	Users    Users
}

// Holder is an open handle that holds a member slot.
type Holder struct {
	Slot int // its member slot
	PID  int // ID of its process, see layout.Words.HolderPID; a hint
}

// Lock is the state of a mapping's mutex.
type Lock struct {
	Held    bool // by an open handle
	Died    bool // an owner died, and what the mutex guards has not been repaired since
	Waiters bool // a waiter is parked, or may be
	PID     int  // ID of the owner's process; 0 if free or not known; a hint
}

// live reports whether any handle is attached.
func (s *Status) live() bool { return len(s.Holders) > 0 || s.Readers > 0 }

// maxLooks is the maximum number of times that Stat looks at a mapping that
// keeps changing. Most mappings need one or two.
const maxLooks = 1000

// Stat describes a mapping. It returns an error matching fs.ErrNotExist if the
// mapping is not initialised.
//
// Stat takes no lock, so it delays no other process and needs only read
// permission. Its result is still true of one moment: if the mapping was
// initialised again meanwhile, or lost its name, Stat looks again.
func Stat(p *mapping.Place) (*Status, error) {
	if err := p.Check(); err != nil {
		return nil, err
	}
	for looks := 1; ; looks++ {
		s, settled, err := look(p)
		if settled || looks == maxLooks {
			return s, err
		}
		if looks > 10 {
			time.Sleep(rand.N(100 * time.Microsecond))
		}
	}
}

// look is one attempt of Stat. settled reports whether the mapping that the
// result describes was the same at the end.
func look(p *mapping.Place) (s *Status, settled bool, err error) {
	obj, err := mapping.Open(p, true)
	if err != nil {
		return nil, true, err
	}
	defer obj.Close()
	before, after := heads.Get().(*[layout.HeadSize]byte), heads.Get().(*[layout.HeadSize]byte)
	defer heads.Put(before)
	defer heads.Put(after)
	head, info, err := readBeginning(obj, before[:])
	if err != nil {
		return nil, true, err
	}
	s, err = describe(obj, mapping.Path(p), head, info)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, true, err // it did not exist when it was read
	}
	again, infoAgain, e := readBeginning(obj, after[:])
	if e != nil {
		return nil, true, e
	}
	if !layout.SameHeader(head, again) || layout.IsMarked(head) && info != infoAgain {
		return s, false, err
	}
	if err == nil && !s.live() && !s.Geometry.Persist {
		// The last handle to close it may have removed the name since obj was
		// opened.
		settled, err = obj.Current()
		return s, settled || err != nil, err
	}
	return s, true, err
}

// describe returns the status of an object whose first bytes are head.
func describe(obj *mapping.Object, path string, head []byte, info mapping.Info) (*Status, error) {
	ready, err := layout.Ready(head)
	if err != nil {
		return nil, err
	}
	if !ready {
		return nil, mapping.ErrAbsent
	}
	g, err := layout.Read(head, info.Size)
	if err != nil {
		return nil, err
	}
	s := &Status{
		Geometry: g, Path: path, Mode: info.Mode, UID: info.UID,
		Version: layout.Version(head), Counts: layout.Counts(head),
	}
	slots, err := obj.Holders()
	if err != nil {
		return nil, err
	}
	// The table is read after the slots' holders, so that it does not have the
	// process ID of an earlier holder.
	off, n := layout.MemberTable()
	table := make([]byte, n)
	if n, err = obj.ReadAt(table, int64(off)); err != nil {
		return nil, err
	}
	for _, slot := range slots {
		h := Holder{Slot: slot}
		if n == len(table) {
			h.PID = int(layout.HolderPID(table, slot))
		}
		s.Holders = append(s.Holders, h)
	}
	if s.Readers, err = obj.Readers(); err != nil {
		return nil, err
	}
	if s.Lock, err = lockState(obj); err != nil {
		return nil, err
	}
	a := &asked{obj, s.Holders, table[:n]}
	if g.Kind == layout.KindQueue {
		s.Queue, err = a.queue(g)
	} else if g.Kind != layout.KindSegment && g.Kind != layout.KindMutex {
		s.Users, err = a.users(g)
	}
	return s, err
}

// lockState returns the state of an object's mutex. If the owner is found dead,
// lockState reads the word again: another handle may have acquired the mutex
// before the owner's handle was closed. So a live owner is never reported as
// dead.
func lockState(obj *mapping.Object) (l Lock, err error) {
	for range maxLooks {
		word, err := readWord(obj, layout.MutexOff)
		if err != nil {
			return l, err
		}
		owner := layout.Owner(word)
		l = Lock{Died: word&layout.InconsistentBit != 0, Waiters: word&layout.WaitersBit != 0}
		if owner == 0 {
			return l, nil
		}
		generation, pid := layout.MemberWords(owner.Slot())
		l.Held, err = obj.Held(owner.Slot())
		if err != nil {
			return l, err
		}
		current, err := readWord(obj, generation)
		if err != nil {
			return l, err
		}
		if layout.NewIdent(owner.Slot(), current) == owner {
			hint, err := readWord(obj, pid)
			if err != nil {
				return l, err
			}
			l.PID = int(hint)
		} else {
			l.Held = false
		}
		if l.Held {
			return l, nil
		}
		l.Died = true
		if again, err := readWord(obj, layout.MutexOff); layout.Owner(again) == owner || err != nil {
			return l, err
		}
	}
	return Lock{Held: true}, nil // by a different owner at each look
}

// readWord returns a word of an object, 0 if it is beyond the end.
func readWord(obj *mapping.Object, off int) (uint32, error) {
	var b [4]byte
	if n, err := obj.ReadAt(b[:], int64(off)); n < len(b) {
		return 0, err
	}
	return binary.NativeEndian.Uint32(b[:]), nil
}

// Remove removes the name of a segment or lock. Handles that are attached keep
// the mapping. Remove returns layout.ErrIncompatible for a file of another
// program, and fs.ErrNotExist for an empty file, which is not initialised yet.
func Remove(p *mapping.Place) error {
	return remove(p, func(head []byte) error {
		if len(head) > 0 && !layout.IsMarked(head) {
			return fmt.Errorf("%w: it is neither a segment nor a lock, as it does not begin with %q; segment.RemoveBare removes it if it is a bare mapping",
				layout.ErrIncompatible, layout.Magic)
		}
		if len(head) == 0 {
			return fs.ErrNotExist
		}
		return nil
	})
}

// RemoveBare is Remove for a bare mapping, which is any file except a segment
// or lock.
func RemoveBare(p *mapping.Place) error {
	return remove(p, func(head []byte) error {
		if layout.IsMarked(head) {
			return fmt.Errorf("%w; sharedseg.Remove removes it", errNotBare)
		}
		return nil
	})
}

// remove unlinks an object if check returns nil for its first bytes.
func remove(p *mapping.Place, check func(head []byte) error) error {
	obj, err := enter(p, false, false)
	if err != nil {
		return err
	}
	defer leave(obj)
	head, err := readMagic(obj)
	if err != nil {
		return err
	}
	if err := check(head); err != nil {
		return err
	}
	return unlink(obj)
}

func unlink(obj *mapping.Object) error {
	err := obj.Unlink()
	if isPermission(err) {
		err = fmt.Errorf("only the owner of the file or of its directory may remove it: %w", err)
	}
	return err
}

func isMarked(obj *mapping.Object) (bool, error) {
	head, err := readMagic(obj)
	return layout.IsMarked(head), err
}

func readMagic(obj *mapping.Object) ([]byte, error) {
	head := make([]byte, len(layout.Magic))
	n, err := obj.ReadAt(head, 0)
	return head[:n], err
}

// leave undoes enter. It unlocks the registry before it closes the object, as a
// child process that is about to execute a program may still have the
// descriptor, and with it the lock.
func leave(obj *mapping.Object) {
	obj.UnlockRegistry()
	obj.Close()
}

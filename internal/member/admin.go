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

// Status is what can be told of a mapping without attaching to it.
type Status struct {
	Geometry *layout.Geometry
	Path     string
	Mode     fs.FileMode
	UID      int // of the file's owner; -1 on Windows
	Version  uint64
	Counts   [layout.Counters]uint64 // by layout.Counter
	Holders  []Holder                // handles that are open and may write, by member slot
	Readers  int                     // readers that are open, as mapping.Object.Readers
	Lock     Lock
	Queue    Queue
	Users    Users
}

// Holder is a handle that is open and holds a member slot.
type Holder struct {
	Slot int // the member slot that it holds
	PID  int // of its process, as layout.Words.HolderPID: a hint
}

// Lock is the state of a mapping's mutex.
type Lock struct {
	Held    bool // by a handle that is open
	Died    bool // an owner died, and what the mutex guards has not been repaired since
	Waiters bool // somebody is parked, or may be
	PID     int  // of the owner's process, 0 if there is none or it is not known: a hint
}

// live reports whether anybody is attached.
func (s *Status) live() bool { return len(s.Holders) > 0 || s.Readers > 0 }

// maxLooks bounds how often Stat looks again at a mapping that changes under
// its eyes. Two looks in a row are more than most need.
const maxLooks = 1000

// Stat looks at a mapping. One that is not initialised is fs.ErrNotExist.
//
// It takes no lock, so that it holds nobody up and needs no more than read
// permission. What it says is true of one moment all the same: it looks again
// if the mapping was begun anew meanwhile, or lost its name.
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

// look is one look of Stat. It is settled if the mapping that it describes, or
// complains of, was the same at its end.
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
		return nil, true, err // it was so when it was read
	}
	again, infoAgain, e := readBeginning(obj, after[:])
	if e != nil {
		return nil, true, e
	}
	if !layout.SameHeader(head, again) || layout.IsMarked(head) && info != infoAgain {
		return s, false, err
	}
	if err == nil && !s.live() && !s.Geometry.Persist {
		// The last to close it may have removed it since it was opened.
		settled, err = obj.Current()
		return s, settled || err != nil, err
	}
	return s, true, err
}

// describe is what look finds out about an object whose beginning is head.
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
	// Read after the question who holds a slot, so that a process ID is not
	// that of somebody before.
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

// lockState is the state of the mutex of an object. The word is read again
// after the question whether its owner lives, as another may have taken the
// mutex, and the owner left, in between: nobody is said to have died that has
// not.
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
	return Lock{Held: true}, nil // by one after the other
}

// readWord is a word of an object, 0 beyond its end.
func readWord(obj *mapping.Object, off int) (uint32, error) {
	var b [4]byte
	if n, err := obj.ReadAt(b[:], int64(off)); n < len(b) {
		return 0, err
	}
	return binary.NativeEndian.Uint32(b[:]), nil
}

// Remove takes the name away from a segment or lock. Those attached go on with
// it among themselves. Another's file is layout.ErrIncompatible; an empty one,
// which nobody has begun yet, is fs.ErrNotExist.
func Remove(p *mapping.Place) error {
	return remove(p, func(head []byte) error {
		if len(head) > 0 && !layout.IsMarked(head) {
			return fmt.Errorf("%w: it is no segment and no lock, as it does not begin with %q; segment.RemoveBare removes it if it is a bare mapping",
				layout.ErrIncompatible, layout.Magic)
		}
		if len(head) == 0 {
			return fs.ErrNotExist
		}
		return nil
	})
}

// RemoveBare is Remove for a bare mapping: any file that is not a segment or
// lock.
func RemoveBare(p *mapping.Place) error {
	return remove(p, func(head []byte) error {
		if layout.IsMarked(head) {
			return fmt.Errorf("%w; sharedseg.Remove removes it", errNotBare)
		}
		return nil
	})
}

// remove unlinks an object if check has nothing against its beginning.
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

// leave undoes enter. Closing alone would leave the lock to a child process
// that is about to start a program.
func leave(obj *mapping.Object) {
	obj.UnlockRegistry()
	obj.Close()
}

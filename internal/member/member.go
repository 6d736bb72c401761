// Package member is about who is attached to a mapping: it opens or creates one
// so that exactly one process initialises it and the last one to leave frees
// it, gives each handle a slot of its own, and tells whether the holder of a
// slot still lives.
//
// All of it rests on locks that the kernel drops with their holder. The
// registry lock makes each opening and closing one step as far as others can
// see. Each writable handle holds a member slot for as long as it is open, all
// readers share one more. Whoever opens a mapping to which nobody is attached
// begins it anew, and so replaces an initialiser, or a last user, that died.
package member

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"sync"
	"sync/atomic"

	"github.com/sharedseg/sharedseg/internal/layout"
	"github.com/sharedseg/sharedseg/internal/mapping"
	"github.com/sharedseg/sharedseg/internal/park"
	"github.com/sharedseg/sharedseg/internal/step"
)

// ErrTooManyMembers means that all layout.Members slots are taken. The root
// package exports it.
var ErrTooManyMembers = fmt.Errorf("too many handles: a mapping has room for %d that write; close some, or use a Reader", layout.Members)

// Member is a handle's attachment. Its methods may be called concurrently.
type Member struct {
	Geometry *layout.Geometry
	Mem      []byte // the whole mapping
	Words    layout.Words
	Key      uint64 // for fence.Acquire and fence.Release
	Created  bool   // this handle initialised the mapping

	// State has the bits of package fault. A call looks at it once, after its
	// last access to Mem.
	State *atomic.Uint32
	// Direct says that calls may touch Mem outside of Use, if they look at
	// State. It is decided when the handle opens.
	Direct bool

	// WaitPage is the part of Mem that even a reader may write. It is not
	// usable if there is none, or if the file's permissions forbid that.
	WaitPage layout.WaitPage

	Queue     *park.Queue     // of those who want the mutex
	Broadcast *park.Broadcast // to those who wait for a version

	view    *mapping.View
	pins    atomic.Int64 // calls that use Mem, where Pinning
	leaving atomic.Bool

	obj       *mapping.Object
	objMu     sync.Mutex // held to close obj
	objClosed bool

	rowMu   sync.Mutex // held to claim the row, and by Leave with the registry
	row     atomic.Pointer[atomic.Uint64]
	rowSlot int // while row is not nil, the member slot whose it is
	dead    atomic.Pointer[[layout.Members]atomic.Uint32]

	lasting bool // as the place is
	reader  bool
	ident   layout.Ident // 0 for a reader
	info    mapping.Info // as of the joining
	dirty   bool         // what there was instead of a live mapping, says that an owner died
	was     layout.Kind  // and this was its kind, 0 if that is not known
	left    sync.Once
	gone    bool  // Mem is unmapped; for the clean-up
	lent    bool  // the user may still read Mem, so that it stays mapped; set by Leave
	retired int64 // bytes of Mem, if it is private zeros
}

// Count counts an event in the header, unless this handle may not write there.
// It is for slow paths.
func (m *Member) Count(c layout.Counter) {
	if !m.reader {
		m.Use(func() error { m.Words.Counter(c).Add(1); return nil })
	}
}

// Self is the identity of this handle: never 0, and different from that of any
// other live handle of the mapping. It is 0 for a reader.
func (m *Member) Self() uint32 { return uint32(m.ident) }

// Alive reports whether the handle of that identity is open. It is one system
// call, and errs on the side of true: for a moment after the slot's next holder
// took it, and when the system does not answer.
func (m *Member) Alive(ident uint32) bool {
	id := layout.Ident(ident)
	if id == m.ident {
		return true
	}
	generation := m.Words.Generation(id.Slot())
	if generation.Load() != id.Generation() {
		return false
	}
	held, err := m.obj.Held(id.Slot())
	if err != nil {
		return true
	}
	return held && generation.Load() == id.Generation()
}

// Populate makes the handle's pages present, where the system can be asked to.
func (m *Member) Populate() { m.view.Populate() }

// OwnsMutex reports whether the mutex word names this handle, closed or not.
func (m *Member) OwnsMutex() (owns bool) {
	m.Use(func() error {
		owns = !m.reader && layout.Owner(m.Words.Mutex().Load()) == m.ident
		return nil
	})
	return owns
}

// Leave detaches: afterwards Mem holds private zeros, or is unmapped where
// Pinning, and if this was the last handle of a mapping that is not there to
// persist, the mapping is gone. Calls that still use Mem do no harm, and none
// may begin to wait on it. If a call took the mutex while Leave was under way,
// Leave lets it go again, unless keepMutex says that the handle is meant to be
// missed as an owner that died. The error says what was left behind; the handle
// is closed all the same. A second Leave waits for the first, and returns nil.
func (m *Member) Leave(keepMutex bool) (err error) {
	m.left.Do(func() { err = m.leave(keepMutex) })
	return err
}

func (m *Member) leave(keepMutex bool) error {
	if Pinning {
		m.unpinned()
	}
	m.gone = Pinning
	if !Pinning {
		m.Queue.Wake() // for an Unlock that has not yet woken a waiter, and cannot in other memory
	}
	err := m.view.Retire()
	if err == nil && !Pinning {
		m.retired = int64(len(m.Mem))
		retired.Add(m.retired)
	}
	step.At(step.MemoryRetired)
	if !m.reader && !keepMutex {
		err = errors.Join(err, m.disown())
		step.At(step.LockDisowned)
	}
	err = errors.Join(err, m.giveBack())
	m.rowMu.Lock()
	defer m.rowMu.Unlock()
	if e := m.obj.LockRegistry(registryLimit); e != nil {
		err = errors.Join(err, fmt.Errorf("closed, but its name could not be removed: %w", e))
	} else {
		step.At(step.RegistryRelocked)
		err = errors.Join(err, m.leaveRow(), m.unlinkIfLast())
		m.obj.UnlockRegistry()
	}
	m.Queue.Close()
	m.objMu.Lock()
	defer m.objMu.Unlock()
	m.objClosed = true
	return errors.Join(err, m.obj.Close())
}

// disown lets the mutex go if this handle, whose memory is retired, holds it.
func (m *Member) disown() error {
	var word [4]byte
	if n, err := m.obj.ReadAt(word[:], layout.MutexOff); n < len(word) {
		return err
	}
	if layout.Owner(binary.NativeEndian.Uint32(word[:])) != m.ident {
		return nil
	}
	view, err := m.obj.Map(len(m.Mem), true)
	if err != nil {
		return err
	}
	defer view.Unmap()
	return view.Guard(func() error {
		mutex := layout.NewWords(view.Mem).Mutex()
		for range 2 { // a waiter may set its bit meanwhile, once
			old := mutex.Load()
			if layout.Owner(old) != m.ident {
				break
			}
			if mutex.CompareAndSwap(old, old&layout.InconsistentBit) {
				queue := park.NewQueue(mutex, m.obj.Family(), park.MutexPart)
				queue.Wake()
				queue.Close()
				break
			}
		}
		return nil
	})
}

// unlinkIfLast gives the handle's place back, and the mapping's name if nobody
// else has one and no owner's death is to be remembered.
func (m *Member) unlinkIfLast() error {
	if m.reader {
		m.obj.DropReader()
		if m.row.Load() != nil {
			m.obj.Drop(m.rowSlot)
		}
	} else {
		m.obj.Drop(m.ident.Slot())
	}
	step.At(step.PlaceDropped)
	if m.Geometry.Persist || !m.lasting {
		return nil
	}
	if m.Geometry.Kind.Repairable() {
		attached, err := m.obj.AnyHeld()
		if err != nil || attached {
			return err
		}
		// The word is read when nobody is there to change it. A file that says
		// that an owner died stays.
		if dirty, _, err := isDirty(m.obj); err != nil || dirty {
			return err
		}
	}
	return unlinkIfAlone(m.obj)
}

func unlinkIfAlone(obj *mapping.Object) error {
	attached, err := obj.AnyHeld()
	if err != nil || attached {
		return err
	}
	current, err := obj.Current()
	if err != nil || !current {
		return err
	}
	// Who may use another user's mapping need not be allowed to unlink it, as
	// in a sticky directory; and who may only read it holds the registry
	// shared, which does not keep the name from changing. The mapping then
	// stays until the next to open the name begins it anew, or until its owner
	// sweeps.
	if obj.ReadOnly() {
		return nil
	}
	if err = obj.Unlink(); isPermission(err) || errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// Free gives the addresses of a detached handle back. No call may use Mem any
// more.
func (m *Member) Free() {
	if m.view != nil && !m.gone && !m.lent {
		m.view.Unmap()
		retired.Add(-m.retired)
	}
}

// Discard closes a handle that was dropped without Leave, and frees one that
// was closed. One that was dropped with the mutex held stays as it is until the
// process ends. It is a clean-up function: no call can use the handle, and it
// does not block.
func (m *Member) Discard() {
	if m.gone {
		return
	}
	go func() {
		if !m.OwnsMutex() {
			m.Leave(false)
			m.Free()
		}
	}()
}

// Abandon is Discard for a handle whose memory may still be read, or written,
// by those that have borrowed some of it. Its addresses are never given back.
// Where memory cannot be replaced, it stays as it is until the process ends.
func (m *Member) Abandon() {
	if Pinning {
		return
	}
	go func() {
		if !m.OwnsMutex() {
			m.Leave(false)
		}
	}()
}

func isPermission(err error) bool { return errors.Is(err, fs.ErrPermission) }

// Package member keeps track of the handles that are attached to a mapping. It
// opens and creates mappings, gives each handle a slot of its own, tells
// whether the holder of a slot is alive, and frees the mapping when the last
// handle has left. It also describes, removes and sweeps names.
//
// It rests on locks that the kernel drops when their holder dies. The registry
// lock makes each opening and closing a single step for all others. Each
// writable handle holds a member slot as long as it is open. All readers share
// one more lock.
//
// Invariants:
//
//   - Exactly one process initialises a mapping, and no other handle attaches
//     before the mapping is ready.
//   - If a handle opens a mapping to which no handle is attached and which does
//     not persist, it initialises the mapping again. So it replaces an
//     initialiser or last user that died.
//   - A file that is not empty and does not begin with layout.Magic is never
//     changed or unlinked, except as a bare mapping.
//   - The death of an owner of a lock is never forgotten, except by Remove:
//     such a file is dirty, and is neither unlinked nor reused for another
//     kind.
//   - The identity of a handle, slot and generation, is that of no other live
//     handle, nor of any owner that the mutex word still names.
//   - A handle is never taken for dead while it is open.
//   - After Leave no call can change the shared memory, and no call is
//     disturbed by that.
//
// docs/format.md describes the protocol ("States of a file", "Opening and
// closing", "Members"), and docs/design.md the reasons ("Who is alive", "One
// initialiser, and memory that is freed", "Close without waiting for readers").
// The models are docs/models/lifecycle.pml, dirty.pml and mutex.pml.
package member

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"sync"
	"sync/atomic"

	"github.com/sharedseg/sharedseg/internal/fault"
	"github.com/sharedseg/sharedseg/internal/layout"
	"github.com/sharedseg/sharedseg/internal/mapping"
	"github.com/sharedseg/sharedseg/internal/park"
	"github.com/sharedseg/sharedseg/internal/step"
)

// ErrTooManyMembers is returned when all layout.Members slots are taken. The
// root package exports it.
var ErrTooManyMembers = fmt.Errorf("too many handles: a mapping can have %d writable ones; close some, or use a Reader", layout.Members)

// Member is a handle's attachment. Its methods may be called concurrently.
type Member struct {
	Geometry *layout.Geometry
	Mem      []byte // the whole mapping
	Words    layout.Words
	Key      uint64 // for fence.Acquire and fence.Release
	Created  bool   // whether this handle initialised the mapping

	// State has the bits of package fault. A call loads it once, after its last
	// access to Mem.
	State *atomic.Uint32
	// Direct says that calls may access Mem outside Use if they check State.
	// It is set when the handle opens.
	Direct bool

	// WaitPage is the part of Mem that even a reader may write. It is not
	// usable if the mapping has none, or if the file's permissions forbid
	// writing.
	WaitPage layout.WaitPage

	Queue     *park.Queue     // of the waiters for the mutex
	Broadcast *park.Broadcast // to the waiters for a version

	view    *mapping.View
	pins    atomic.Int64 // number of calls that use Mem, if Pinning
	leaving atomic.Bool

	obj       *mapping.Object
	objMu     sync.Mutex // held to close obj
	objClosed bool

	rowMu   sync.Mutex // held to claim the row; taken by Leave before the registry
	row     atomic.Pointer[atomic.Uint64]
	rowSlot int // the row's member slot, if row is not nil
	dead    atomic.Pointer[[layout.Members]atomic.Uint32]

	lasting bool // whether objects at the place are lasting
	reader  bool
	ident   layout.Ident // 0 for a reader
	info    mapping.Info // as of the time of joining
	dirty   bool         // the content was not a live mapping and says that an owner died
	was     layout.Kind  // the kind of that content; 0 if it is not known
	left    sync.Once
	gone    bool  // Mem is unmapped; for the clean-up
	retired int64 // bytes of Mem that are private zeros
}

// Count counts an event in the header, if this handle may write there. It is
// for slow paths only.
func (m *Member) Count(c layout.Counter) {
	if !m.reader {
		m.Use(func() error { m.Words.Counter(c).Add(1); return nil })
	}
}

// Self returns the identity of this handle. It is never 0, and different from
// that of any other live handle of the mapping. For a reader it returns 0.
func (m *Member) Self() uint32 { return uint32(m.ident) }

// Alive reports whether the handle with an identity is open. It makes at most
// one system call. It may return true for a dead handle: for a moment after the
// slot's next holder has taken it, and if the system call fails.
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

// Populate makes the handle's pages present, where the system can do that.
func (m *Member) Populate() { m.view.Populate() }

// OwnsMutex reports whether the mutex word names this handle, whether closed or
// open.
func (m *Member) OwnsMutex() (owns bool) {
	m.Use(func() error {
		owns = !m.reader && layout.Owner(m.Words.Mutex().Load()) == m.ident
		return nil
	})
	return owns
}

// Leave detaches. Afterwards Mem holds private zeros or, if Pinning, is
// unmapped. If this was the last handle of a mapping that does not persist, the
// mapping is freed. Calls that still use Mem do no harm, but no call may begin
// to wait on it.
//
// If a call acquired the mutex during Leave, Leave releases it, unless
// keepMutex says that the handle is to count as an owner that died. The error
// says what was left behind; the handle is closed in any case. A second Leave
// waits for the first and returns nil.
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
		m.Queue.Wake() // for an Unlock that has not yet woken a waiter and now finds other memory
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

// disown releases the mutex if this handle owns it. The handle's memory is
// retired.
func (m *Member) disown() error {
	var word [4]byte
	if n, err := m.obj.ReadAt(word[:], layout.MutexOff); n < len(word) {
		return err
	}
	if layout.Owner(binary.NativeEndian.Uint32(word[:])) != m.ident {
		return nil
	}
	return m.onFile(func(mem []byte) {
		mutex := layout.NewWords(mem).Mutex()
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
	})
}

// onFile calls f with another mapping of the file, for a handle whose own
// memory is retired. If the file was truncated, no process sees what f would
// change, so onFile returns nil.
func (m *Member) onFile(f func(mem []byte)) error {
	view, err := m.obj.Map(len(m.Mem), true)
	if err != nil {
		return err
	}
	defer view.Unmap()
	err = view.Guard(func() error { f(view.Mem); return nil })
	if errors.Is(err, fault.ErrLost) {
		if err = loss(m.obj, len(m.Mem)); err == errTruncated {
			err = nil
		}
	}
	return err
}

// unlinkIfLast drops the handle's place. It then unlinks the mapping if no
// other handle is attached, the mapping does not persist and no owner's death
// must be remembered.
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
		// The word is read when no handle is left to change it. A file that
		// says that an owner died stays.
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
	// A user of another user's mapping may not be allowed to unlink it, as in a
	// sticky directory. A handle that may only read holds the registry shared,
	// so the name may change. In both cases the mapping stays until the next
	// handle that opens the name initialises it again, or until its owner
	// sweeps.
	if obj.ReadOnly() {
		return nil
	}
	if err = obj.Unlink(); isPermission(err) || errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// Free releases the addresses of a detached handle. No call may use Mem any
// more.
func (m *Member) Free() {
	if m.view != nil && !m.gone {
		m.view.Unmap()
		retired.Add(-m.retired)
	}
}

// Discard closes a handle that became unreachable without Leave, and frees one
// that was closed. A handle that became unreachable while it owned the mutex
// stays open until the process ends. Discard is a clean-up function: no call
// can use the handle. It does not block.
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

// Abandon is Discard for a handle whose user may still access its memory in
// place. Its addresses are never released. Where memory cannot be replaced, the
// handle stays open until the process ends.
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

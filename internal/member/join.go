package member

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"strconv"
	"sync"
	"time"

	"github.com/sharedseg/sharedseg/internal/layout"
	"github.com/sharedseg/sharedseg/internal/mapping"
	"github.com/sharedseg/sharedseg/internal/park"
	"github.com/sharedseg/sharedseg/internal/step"
)

// registryLimit is the limit of the wait for the registry lock. A holder needs
// microseconds, so even a thousand handles that open at the same time stay
// below it.
const registryLimit = 5 * time.Second

// How says what to do if there is a live mapping, and what if there is none.
type How int

const (
	OpenOrCreate How = iota
	CreateOnly       // fs.ErrExist if there is a live mapping
	AttachOnly       // fs.ErrNotExist if there is none
)

// Spec is the mapping that a handle asks for.
type Spec struct {
	Place mapping.Place
	// New returns the geometry of a new mapping, for the given page size.
	New func(page int) (*layout.Geometry, error)
	// Check returns an error if an existing mapping is not what the caller
	// wants.
	Check func(*layout.Geometry) error
}

// Join attaches to the mapping of a spec with a writable handle, or creates the
// mapping.
func Join(how How, s *Spec) (*Member, error) {
	obj, err := enter(&s.Place, how != AttachOnly, false)
	if err != nil {
		return nil, err
	}
	m := &Member{obj: obj, lasting: s.Place.Lasting()}
	m, err = m.settle(m.join(how, s))
	if err == nil && m.Created {
		sweepBehind(&s.Place)
	}
	return m, err
}

// JoinReader attaches to the live mapping of a spec with a handle that maps it
// read-only. It opens the file for writing if the permissions allow that: the
// wait page is then writable, and the last handle can remove the name.
func JoinReader(s *Spec) (*Member, error) {
	obj, err := enter(&s.Place, false, false)
	if isPermission(err) {
		obj, err = enter(&s.Place, false, true)
	}
	if err != nil {
		return nil, err
	}
	m := &Member{obj: obj, lasting: s.Place.Lasting(), reader: true}
	return m.settle(m.joinReader(s))
}

// settle ends a join that began with enter and had the outcome err.
func (m *Member) settle(err error) (*Member, error) {
	m.obj.UnlockRegistry()
	if err == nil {
		return m, nil
	}
	m.Free()
	m.obj.Close()
	return nil, err
}

// enter opens the object at a place with its registry locked.
func enter(p *mapping.Place, create, readOnly bool) (*mapping.Object, error) {
	if err := p.Check(); err != nil {
		return nil, err
	}
	reclaim()
	return mapping.Enter(p, create, readOnly, registryLimit)
}

func (m *Member) join(how How, s *Spec) error {
	g, err := m.inspect()
	if err != nil {
		return err
	}
	step.At(step.Inspected)
	if g == nil && how == AttachOnly {
		return mapping.ErrAbsent
	}
	if g != nil && how == CreateOnly {
		return fs.ErrExist
	}
	if g == nil {
		if err := m.initialise(s); err != nil {
			// No handle is attached, so the mapping is useless, except to tell
			// that an owner died.
			if !m.dirty {
				m.obj.Unlink()
			}
			return err
		}
	} else if err := m.attach(g, s, true); err != nil {
		return err
	}
	m.WaitPage = layout.NewWaitPage(m.Mem, m.Geometry)
	err = m.Use(func() (err error) {
		m.ident, err = m.claim(m.Words)
		return err
	})
	if err != nil && m.Created {
		m.obj.Unlink()
	}
	return err
}

func (m *Member) joinReader(s *Spec) error {
	g, err := m.inspect()
	if err != nil {
		return err
	}
	step.At(step.Inspected)
	if g == nil {
		return mapping.ErrAbsent
	}
	if err := m.attach(g, s, false); err != nil {
		return err
	}
	off, n := g.WaitPage()
	if err := m.view.Unprotect(off, n); err == nil {
		m.WaitPage = layout.NewWaitPage(m.Mem, g)
	} else if !isPermission(err) {
		return err
	}
	err = m.obj.HoldReader()
	step.At(step.ReaderHeld)
	return err
}

// inspect returns the geometry of the live mapping to which m is about to
// attach. It returns nil if there is none: if the initialisation has not
// finished, or if no handle is attached and the mapping does not persist. In
// that case m.dirty says whether an owner died. The registry must be locked.
func (m *Member) inspect() (*layout.Geometry, error) {
	buf := heads.Get().(*[layout.HeadSize]byte)
	defer heads.Put(buf)
	head, info, err := readHead(m.obj, buf[:])
	if err != nil {
		return nil, err
	}
	m.info = info
	attached, err := m.obj.AnyHeld()
	if err != nil {
		return nil, err
	}
	if head == nil && attached {
		return nil, fmt.Errorf("%w: its header is gone although it is in use; it is initialised again when all its users have closed it", layout.ErrCorrupt)
	}
	if head == nil || !attached && !layout.Persists(head) {
		m.dirty, m.was, err = isDirty(m.obj)
		return nil, err
	}
	return layout.Read(head, info.Size)
}

// isDirty returns the results of [layout.Dirty] and [layout.WasKind] for an
// object. No handle may be attached, and the registry must be locked.
func isDirty(obj *mapping.Object) (dirty bool, was layout.Kind, err error) {
	var head [layout.DirtySize]byte
	n, err := obj.ReadAt(head[:], 0)
	return layout.Dirty(head[:n]), layout.WasKind(head[:n]), err
}

// heads has buffers for readHead. Allocating one takes longer than filling it.
var heads = sync.Pool{New: func() any { return new([layout.HeadSize]byte) }}

// readHead returns a copy of a mapping's header and texts. It returns nil if
// the initialisation has not finished. The copy is in buf if that is large
// enough.
func readHead(obj *mapping.Object, buf []byte) ([]byte, mapping.Info, error) {
	head, info, err := readBeginning(obj, buf)
	if err != nil {
		return nil, info, err
	}
	ready, err := layout.Ready(head)
	if err != nil || !ready {
		return nil, info, err
	}
	return head, info, nil
}

// readBeginning is readHead for any content.
func readBeginning(obj *mapping.Object, buf []byte) ([]byte, mapping.Info, error) {
	info, err := obj.Info()
	if err != nil {
		return nil, info, err
	}
	n, err := obj.ReadAt(buf, 0)
	if err != nil || n < len(buf) || !layout.IsMarked(buf) {
		return buf[:n], info, err
	}
	if want := int(min(int64(layout.HeadLen(buf)), info.Size)); want > n {
		buf = make([]byte, want)
		n, err = obj.ReadAt(buf, 0)
	}
	return buf[:n], info, err
}

// initialise makes a new mapping, whatever the content was. It stores the ready
// word last.
func (m *Member) initialise(s *Spec) error {
	g, err := s.New(mapping.PageSize())
	if err != nil {
		return err
	}
	if g.Persist && !s.Place.Lasting() {
		return errPersist
	}
	if m.dirty && (!g.Kind.Repairable() || m.was != 0 && m.was != g.Kind) {
		return errDirty
	}
	if err := m.obj.Reset(&s.Place, layout.Mark(m.dirty), g.Size()); err != nil {
		return err
	}
	if err := m.mapView(g, true); err != nil {
		return err
	}
	step.At(step.HeaderMapped)
	m.Created = true
	err = m.Use(func() error { g.Init(m.Mem); return nil })
	step.At(step.HeaderReady)
	return err
}

// errDirty is returned when a name is wanted for something else, but its
// mapping must tell that an owner died.
var errDirty = fmt.Errorf("%w: it is a lock whose owner died, and what it guards has not been repaired since: open it "+
	"with Options.Repair set and lock it, or remove it with Remove", layout.ErrIncompatible)

// errPersist is returned when a mapping that cannot persist is asked to.
var errPersist = fmt.Errorf("%w: this system frees shared memory with its last handle; to make it persist in a "+
	"file, set Options.Dir", errors.ErrUnsupported)

// attach maps a live mapping if it is what the spec asks for.
func (m *Member) attach(g *layout.Geometry, s *Spec, writable bool) error {
	if err := s.Check(g); err != nil {
		return err
	}
	if page := mapping.PageSize(); g.PageSize()%page != 0 {
		return fmt.Errorf("%w: it was made for memory pages of %d bytes, but here they have %d", layout.ErrIncompatible, g.PageSize(), page)
	}
	if g.Size() > math.MaxInt {
		return fmt.Errorf("%w: it has %d bytes, more than this %d-bit process can address: use a 64-bit program",
			layout.ErrIncompatible, g.Size(), strconv.IntSize)
	}
	if err := m.obj.ReserveHoles(g.Size(), m.info); err != nil {
		return err
	}
	if err := m.mapView(g, writable); err != nil {
		return err
	}
	if mode := s.Place.Mode; mode != 0 && m.info.Mode != 0 && mode != m.info.Mode {
		return fmt.Errorf("%w: its mode is %v, not %v as requested", layout.ErrIncompatible, m.info.Mode, mode)
	}
	return nil
}

func (m *Member) mapView(g *layout.Geometry, writable bool) error {
	view, err := m.obj.Map(int(g.Size()), writable)
	if err != nil {
		return err
	}
	m.view, m.State, m.Direct = view, view.State(), !view.Guarded() && !Pinning
	m.Geometry, m.Mem, m.Words, m.Key = g, view.Mem, layout.NewWords(view.Mem), m.info.ID
	m.Queue = park.NewQueue(m.Words.Mutex(), m.obj.Family(), park.MutexPart)
	m.Broadcast = park.NewBroadcast(m.Words.End(), m.obj.Family())
	return nil
}

// claim takes a free member slot and raises its generation. It skips
// generations that the mutex word or the slot's row name: that owner may have
// died when the slot last had that generation.
//
// Unless rows name their holders, claim first clears what the last holder left
// in the slot's row. No other code does that, so no writer can clear what the
// next holder stores there.
func (m *Member) claim(words layout.Words) (layout.Ident, error) {
	rotor := words.Rotor()
	first := int(rotor.Load() % layout.Members)
	for i := range layout.Members {
		slot := (first + i) % layout.Members
		free, err := m.obj.Hold(slot)
		if err != nil {
			return 0, err
		}
		if !free {
			continue
		}
		step.At(step.SlotHeld)
		if m.Geometry.HasRows() && !m.Geometry.Kind.RowsNameHolders() && m.WaitPage.Row(slot).Load() != 0 {
			clearRow(m.obj, m.WaitPage, slot)
			step.At(step.RowCleared)
		}
		generation := words.Generation(slot)
		next := layout.NextGeneration(generation.Load())
		for range 2 { // the word and the row may each name one
			if !m.named(words, layout.NewIdent(slot, next)) {
				break
			}
			next = layout.NextGeneration(next)
		}
		if next < generation.Load() {
			m.forget(slot)
		}
		generation.Store(next)
		step.At(step.GenerationRaised)
		words.HolderPID(slot).Store(uint32(os.Getpid()))
		step.At(step.HolderPIDSet)
		rotor.Store(uint32(slot+1) % layout.Members)
		step.At(step.RotorMoved)
		return layout.NewIdent(slot, next), nil
	}
	return 0, ErrTooManyMembers
}

// named reports whether the mutex word, or the row of its member slot, names an
// identity.
func (m *Member) named(words layout.Words, ident layout.Ident) bool {
	return layout.Owner(words.Mutex().Load()) == ident ||
		m.Geometry.Kind.RowsNameHolders() && layout.Holding(m.WaitPage.Row(ident.Slot()).Load()).Holder() == ident
}

//go:build windows

package mapping

import (
	"errors"
	"fmt"
	"hash/fnv"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"github.com/sharedseg/sharedseg/internal/kernel"
	"github.com/sharedseg/sharedseg/internal/layout"
	"github.com/sharedseg/sharedseg/internal/wait"
	"golang.org/x/sys/windows"
)

// The parts of a section's family.
const (
	registryPart = "registry" // mutex: the registry lock
	writersPart  = "writers"  // event: exists while a member slot is held
	readersPart  = "readers"  // event: exists while the readers' place is held
)

// Object is a section and the kernel objects beside it. It may be one that has
// no memory yet: a section gets its size when it is created, so that is left to
// Reset and Reserve. Its methods may be called concurrently, but for Close.
type Object struct {
	store    store
	family   *kernel.Family
	section  windows.Handle // 0: none yet
	size     int64
	registry windows.Handle
	writers  windows.Handle // 0: no slot is held
	readers  windows.Handle // 0: the readers' place is not held
	slot     int            // -1: none
	readOnly bool
	created  bool

	looking   bool // the registry is locked until Close
	abandoned bool // the last holder of the registry died with it
}

// store is where the memory of a section is: in the page file or in a file.
type store interface {
	// open opens the section and returns its size, 0 for both if there is no
	// memory yet; fs.ErrNotExist.
	open(readOnly bool) (section windows.Handle, size int64, err error)
	// create makes the store that open did not find, or takes notice that the
	// section will make it.
	create() error
	// reset gives the store size bytes, zero but the mark, whatever there was.
	reset(mark []byte, size int64) (section windows.Handle, err error)
	// reserve gives a store without memory at least size bytes.
	reserve(size int64) (section windows.Handle, has int64, err error)
	unlink() error
	// canFail reports whether mapped memory may cease to be readable: its
	// medium may fail.
	canFail() bool
	close() error
}

// Path is the name of the section, or its file. That is absolute, as the
// current directory may change before the object is closed.
func Path(p *Place) string {
	if p.Dir != "" {
		path := filepath.Join(p.Dir, p.Name)
		if abs, err := filepath.Abs(path); err == nil {
			return abs
		}
		return path
	}
	if p.Global || session() == 0 { // one name for one section
		return `Global\` + p.Name
	}
	return `Local\` + p.Name
}

// Lasting reports whether what is at the place outlives those who have it open,
// until it is unlinked.
func (p *Place) Lasting() bool { return p.Dir != "" }

// full turns the errors of a full place into ErrNoSpace.
func full(err error) error {
	for _, no := range []windows.Errno{
		windows.ERROR_COMMITMENT_LIMIT, windows.ERROR_NOT_ENOUGH_MEMORY, windows.ERROR_NO_SYSTEM_RESOURCES,
		windows.ERROR_DISK_FULL, windows.ERROR_DISK_QUOTA_EXCEEDED, windows.ERROR_FILE_TOO_LARGE,
	} {
		if errors.Is(err, no) {
			return fmt.Errorf("%w: free some or set Options.Dir to another place: %w", ErrNoSpace, err)
		}
	}
	return err
}

// newObject returns an object that has nothing open yet.
func newObject(p *Place, readOnly bool) (*Object, error) {
	o := &Object{slot: -1, readOnly: readOnly}
	var err error
	if p.Dir == "" {
		o.store, o.family, err = newPageFile(p)
	} else {
		o.store, o.family, err = newFile(p)
	}
	return o, err
}

// Open opens an existing section, to look at it, until Close in the same
// goroutine. To look is to have things open for a moment that others take for
// signs of life, so it is done under the registry lock; without, if a process
// has been stopped that has it.
func Open(p *Place, readOnly bool) (*Object, error) {
	o, err := newObject(p, readOnly)
	if err != nil {
		return nil, err
	}
	if o.registry, err = o.family.OpenMutex(registryPart); err == nil {
		o.looking = o.LockRegistry(100*time.Millisecond) == nil
	}
	if err = o.open(p); err != nil {
		o.Close()
		return nil, err
	}
	return o, nil
}

// Enter opens the section that the name leads to, or readies one to be created
// if that is wanted, with the registry lock held. The lock has a name of its
// own, so it is taken first, and no section comes or goes under it.
func Enter(p *Place, create, readOnly bool, limit time.Duration) (*Object, error) {
	o, err := newObject(p, readOnly)
	if err != nil {
		return nil, err
	}
	if o.registry, err = o.family.Mutex(registryPart); err != nil {
		return nil, err
	}
	if err := o.LockRegistry(limit); err != nil {
		o.Close()
		return nil, err
	}
	err = o.open(p)
	if create && errors.Is(err, fs.ErrNotExist) {
		o.created = true
		err = o.store.create()
	}
	if err != nil {
		o.UnlockRegistry()
		o.Close()
		return nil, err
	}
	return o, nil
}

// Leavings are none: the system frees page-file sections with the last process
// that has them open.
func Leavings(p *Place, n int) iter.Seq[string] { return func(func(string) bool) {} }

// TryEnter is Enter for a section that exists, but waits no longer than those
// need who only look. busy says that somebody opens or closes it.
func TryEnter(p *Place) (o *Object, busy bool, err error) {
	o, err = Enter(p, false, false, 100*time.Millisecond)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return nil, true, nil
	}
	return o, false, err
}

// open opens the section. If the last holder of the registry died, a section
// without a mark may be one that it was about to initialise: such a one goes
// with that process, and is waited for.
func (o *Object) open(p *Place) error {
	for budget := wait.NewBudget(200 * time.Millisecond); ; {
		var err error
		o.section, o.size, err = o.store.open(o.readOnly)
		if err != nil || !o.abandoned || p.Lasting() {
			return err
		}
		head := make([]byte, len(layout.Magic))
		if _, err := o.ReadAt(head, 0); err != nil || layout.IsMarked(head) || budget.Left() == 0 {
			return err
		}
		windows.CloseHandle(o.section)
		o.section = 0
		budget.Sleep(time.Millisecond)
	}
}

// identify refuses an object of a user that p does not trust. Any user of a
// session can create a name in it.
func identify(p *Place, h windows.Handle, kind windows.SE_OBJECT_TYPE) error {
	if p.SecurityDescriptor != "" {
		return nil
	}
	sd, err := windows.GetSecurityInfo(h, kind, windows.OWNER_SECURITY_INFORMATION)
	if err != nil {
		return fmt.Errorf("ask for the owner of %s: %w", Path(p), err)
	}
	owner, _, err := sd.Owner()
	if err != nil {
		return fmt.Errorf("ask for the owner of %s: %w", Path(p), err)
	}
	mine, err := kernel.Owns(owner)
	if err != nil {
		return err
	}
	if !mine {
		return fmt.Errorf("%w: %s belongs to another user, %v; to share it on purpose set Options.SecurityDescriptor "+
			"to the one that its owner gave it", fs.ErrPermission, Path(p), owner)
	}
	return nil
}

// Created reports whether the object has been, or is to be, created by Enter.
func (o *Object) Created() bool { return o.created }

// ReadOnly reports whether the object is open for reading only.
func (o *Object) ReadOnly() bool { return o.readOnly }

// Family returns the section's family.
func (o *Object) Family() *kernel.Family { return o.family }

// Current reports that the name leads to this section, as it does for as long
// as it is open.
func (o *Object) Current() (bool, error) { return true, nil }

// Info returns the section's size, in whole pages.
func (o *Object) Info() (Info, error) {
	id := fnv.New64a()
	id.Write([]byte(o.family.Base()))
	return Info{Size: o.size, Held: o.size, UID: -1, ID: id.Sum64()}, nil
}

// ReadAt reads as io.ReaderAt does, but fewer bytes than asked for are no
// error.
func (o *Object) ReadAt(b []byte, off int64) (int, error) {
	n := min(int64(len(b)), o.size-off)
	if n <= 0 {
		return 0, nil
	}
	addr, err := windows.MapViewOfFile(o.section, windows.FILE_MAP_READ, 0, 0, uintptr(off+n))
	if err != nil {
		return 0, fmt.Errorf("map %s: %w", o.family.Base(), err)
	}
	defer windows.UnmapViewOfFile(addr)
	return copy(b, bytes(addr, int(off+n))[off:]), nil
}

// Reset gives the section size bytes, all zero but the mark. The caller holds
// the registry and nobody is attached.
func (o *Object) Reset(p *Place, mark []byte, size int64) error {
	if o.section != 0 && o.size == size && !p.Lasting() {
		return clean(o.section, mark, size)
	}
	if o.section != 0 {
		windows.CloseHandle(o.section)
		o.section = 0
	}
	section, err := o.store.reset(mark, size)
	if err != nil {
		return err
	}
	o.section, o.size = section, size
	return nil
}

// Reserve gives an object without memory to bytes, all zero.
func (o *Object) Reserve(from, to int64) error {
	if o.section != 0 {
		return nil
	}
	section, size, err := o.store.reserve(to)
	if err != nil {
		return err
	}
	o.section, o.size = section, size
	return nil
}

// ReserveHoles does nothing: what a section has, the system has reserved.
func (o *Object) ReserveHoles(n int64, info Info) error { return nil }

// Unlink takes the name away, with the memory. The object is then of no use but
// to be closed.
func (o *Object) Unlink() error {
	if o.section != 0 {
		windows.CloseHandle(o.section)
		o.section = 0
	}
	return o.store.unlink()
}

// Close closes the section and drops what the object holds. Mappings stay, and
// keep the memory. A second Close does nothing.
func (o *Object) Close() error {
	if o.looking {
		o.looking = false
		o.UnlockRegistry()
	}
	if o.slot >= 0 {
		o.Drop(o.slot)
	}
	o.DropReader()
	var err error
	for _, h := range []*windows.Handle{&o.registry, &o.section} {
		if *h != 0 {
			err = errors.Join(err, windows.CloseHandle(*h))
			*h = 0
		}
	}
	return errors.Join(err, o.store.close())
}

// LockRegistry takes the registry lock, which belongs to the thread: the
// goroutine stays on its own until UnlockRegistry. One whose holder died is
// taken like a free one, as the header tells how far that came. The kernel has
// a queue of those that wait. They wait for a part of the limit at a time, as a
// process may be suspended for as long as all of it. With no limit it tries
// once.
func (o *Object) LockRegistry(limit time.Duration) error {
	runtime.LockOSThread()
	var err error
	for budget := wait.NewBudget(limit); ; {
		part := min(budget.Left(), 200*time.Millisecond)
		begun := time.Now()
		var e uint32
		e, err = windows.WaitForSingleObject(o.registry, uint32(part.Milliseconds()))
		o.abandoned = e == windows.WAIT_ABANDONED
		if o.abandoned || e == windows.WAIT_OBJECT_0 {
			return nil
		}
		if budget.Count(part, time.Since(begun)); err != nil || budget.Left() < time.Millisecond {
			break
		}
	}
	runtime.UnlockOSThread()
	if err != nil {
		return fmt.Errorf("lock the registry of %s: %w", o.family.Base(), err)
	}
	return fmt.Errorf("another process has been opening or closing %s for %v; if it is stopped, continue or end it: %w",
		o.family.Base(), limit, os.ErrDeadlineExceeded)
}

// UnlockRegistry lets the registry lock go.
func (o *Object) UnlockRegistry() {
	windows.ReleaseMutex(o.registry)
	runtime.UnlockOSThread()
}

// Hold takes a member slot, and reports whether it was free. An object holds
// one at most.
func (o *Object) Hold(slot int) (bool, error) {
	free, err := o.family.Hold(kernel.MemberPart(slot))
	if err != nil || !free {
		return false, err
	}
	if o.writers, err = o.family.Show(writersPart); err != nil {
		o.family.Drop(kernel.MemberPart(slot))
		return false, err
	}
	o.slot = slot
	return true, nil
}

// Drop lets a member slot go.
func (o *Object) Drop(slot int) {
	o.family.Drop(kernel.MemberPart(slot))
	windows.CloseHandle(o.writers)
	o.writers, o.slot = 0, -1
}

// HoldReader takes a share of the readers' place.
func (o *Object) HoldReader() (err error) {
	o.readers, err = o.family.Show(readersPart)
	return err
}

// DropReader lets the share of the readers' place go.
func (o *Object) DropReader() {
	if o.readers != 0 {
		windows.CloseHandle(o.readers)
		o.readers = 0
	}
}

// Held reports whether another Object holds a member slot.
func (o *Object) Held(slot int) (bool, error) {
	if slot == o.slot {
		return false, nil
	}
	return o.family.Held(kernel.MemberPart(slot))
}

// Holders returns the member slots that other Objects hold, in ascending order.
// Only if there is a writer each slot is asked after.
func (o *Object) Holders() (slots []int, err error) {
	if held, err := o.family.HasEvent(writersPart); err != nil || !held {
		return nil, err
	}
	for slot := range layout.Members {
		held, err := o.Held(slot)
		if err != nil {
			return nil, err
		}
		if held {
			slots = append(slots, slot)
		}
	}
	return slots, nil
}

// Readers is 1 if any Object holds the readers' place: an event does not tell
// how many have it open. An Object asks that does not.
func (o *Object) Readers() (int, error) {
	held, err := o.family.HasEvent(readersPart)
	if !held || err != nil {
		return 0, err
	}
	return 1, nil
}

// AnyHeld reports whether any Object holds a slot or the readers' place. An
// Object asks that does not.
func (o *Object) AnyHeld() (bool, error) {
	for _, part := range []string{writersPart, readersPart} {
		if held, err := o.family.HasEvent(part); held || err != nil {
			return held, err
		}
	}
	return false, nil
}

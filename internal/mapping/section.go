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

// Object is a section and its kernel objects. It may not have memory yet: a
// section's size is given when it is created, so Reset or Reserve creates it.
// The methods of an Object except Close may be called concurrently.
type Object struct {
	store    store
	family   *kernel.Family
	section  windows.Handle // 0: not created yet
	size     int64
	registry windows.Handle
	writers  windows.Handle // 0: no slot is held
	readers  windows.Handle // 0: the readers' place is not held
	slot     int            // -1: no slot is held
	readOnly bool
	created  bool

	looking   bool // the registry is locked until Close
	abandoned bool // the last holder of the registry died while it held it
}

// store is the memory behind a section: the page file or a file.
type store interface {
	// open opens the section and returns its size. Both are 0 if it has no
	// memory yet. It returns an error matching fs.ErrNotExist if the store does
	// not exist.
	open(readOnly bool) (section windows.Handle, size int64, err error)
	// create creates a store that open did not find, if that is not left to the
	// creation of the section.
	create() error
	// reset gives the store size bytes, which are zero except for the mark,
	// whatever its content was.
	reset(mark []byte, size int64) (section windows.Handle, err error)
	// reserve gives a store without memory at least size bytes.
	reserve(size int64) (section windows.Handle, has int64, err error)
	unlink() error
	// canFail reports whether mapped memory may become unreadable because its
	// medium fails.
	canFail() bool
	close() error
}

// Path returns the name of the section, or the path of its file. The path is
// absolute, as the current directory may change before the object is closed.
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

// Lasting reports whether objects at the place outlive their handles until they
// are unlinked.
func (p *Place) Lasting() bool { return p.Dir != "" }

// full wraps the errors of a full place in ErrNoSpace.
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

// Open opens an existing section to look at it, until Close in the same
// goroutine. Looking keeps objects open for a moment, which other processes
// take for signs of life. So Open locks the registry. If a process that holds
// the registry is stopped, Open looks without it.
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

// Enter opens the section at p with the registry locked. If create is set and
// the section does not exist, Enter prepares its creation. The registry lock
// has a name of its own, so it is taken first, and no section is created or
// removed while it is held.
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

// Leavings returns nothing: the system frees page-file sections with the last
// process that has them open.
func Leavings(p *Place, n int, deadline time.Time) iter.Seq[string] {
	return func(func(string) bool) {}
}

// TryEnter is Enter for an existing section, but waits only as long as a
// process needs that looks. busy reports that another handle is opening or
// closing the section.
func TryEnter(p *Place) (o *Object, busy bool, err error) {
	o, err = Enter(p, false, false, 100*time.Millisecond)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return nil, true, nil
	}
	return o, false, err
}

// open opens the section. If the last holder of the registry died, a section
// without a mark may be one that it was about to initialise. Such a section
// ends with that process, so open waits for that.
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
// session can create any name in it.
func identify(p *Place, h windows.Handle, kind windows.SE_OBJECT_TYPE) error {
	if p.SecurityDescriptor != "" {
		return nil
	}
	sd, err := windows.GetSecurityInfo(h, kind, windows.OWNER_SECURITY_INFORMATION)
	if err != nil {
		return fmt.Errorf("get the owner of %s: %w", Path(p), err)
	}
	owner, _, err := sd.Owner()
	if err != nil {
		return fmt.Errorf("get the owner of %s: %w", Path(p), err)
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

// Created reports whether Enter created the object, or prepared its creation.
func (o *Object) Created() bool { return o.created }

// ReadOnly reports whether the object is open for reading only.
func (o *Object) ReadOnly() bool { return o.readOnly }

// Family returns the section's family.
func (o *Object) Family() *kernel.Family { return o.family }

// Current reports whether the name refers to this section. It does as long as
// the section is open.
func (o *Object) Current() (bool, error) { return true, nil }

// Info returns the section's size in bytes, a multiple of the page size.
func (o *Object) Info() (Info, error) {
	id := fnv.New64a()
	id.Write([]byte(o.family.Base()))
	return Info{Size: o.size, Held: o.size, UID: -1, ID: id.Sum64()}, nil
}

// ReadAt reads like io.ReaderAt, but a short read is not an error.
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

// Reset gives the section size bytes, which are zero except for the mark. The
// caller must hold the registry, and no handle may be attached.
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

// Reserve gives an object without memory at least to bytes, all zero.
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

// ReserveHoles does nothing: the system has reserved all memory of a section.
func (o *Object) ReserveHoles(n int64, info Info) error { return nil }

// Unlink removes the name and the memory. The object can then only be closed.
func (o *Object) Unlink() error {
	if o.section != 0 {
		windows.CloseHandle(o.section)
		o.section = 0
	}
	return o.store.unlink()
}

// Close closes the section and drops all that the object holds. Mappings stay,
// and keep the memory. A second Close does nothing.
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

// LockRegistry locks the registry. The lock belongs to the thread, so the
// goroutine stays on its thread until UnlockRegistry. A lock whose holder died
// is taken like a free one, as the header tells what the holder did. The kernel
// keeps the waiters in a queue. LockRegistry returns an error wrapping
// os.ErrDeadlineExceeded at the limit. It waits for a part of the limit at a
// time, as the process may be suspended during a wait. With a limit of 0 it
// tries once.
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

// UnlockRegistry unlocks the registry.
func (o *Object) UnlockRegistry() {
	windows.ReleaseMutex(o.registry)
	runtime.UnlockOSThread()
}

// Hold acquires a member slot, and reports whether it was free. An object holds
// at most one.
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

// Drop releases a member slot.
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

// DropReader releases the share of the readers' place.
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
// It checks each slot, but only if there is a writer.
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

// Readers returns 1 if any Object holds the readers' place, as an event does
// not tell how many have it open. The Object that asks must not hold it.
func (o *Object) Readers() (int, error) {
	held, err := o.family.HasEvent(readersPart)
	if !held || err != nil {
		return 0, err
	}
	return 1, nil
}

// AnyHeld reports whether any Object holds a slot or the readers' place. The
// Object that asks must not hold one.
func (o *Object) AnyHeld() (bool, error) {
	for _, part := range []string{writersPart, readersPart} {
		if held, err := o.family.HasEvent(part); held || err != nil {
			return held, err
		}
	}
	return false, nil
}

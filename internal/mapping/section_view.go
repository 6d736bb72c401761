//go:build windows

package mapping

import (
	"fmt"
	"io/fs"
	"os"
	"unsafe"

	"github.com/sharedseg/sharedseg/internal/fault"
	"golang.org/x/sys/windows"
)

// Revocable says that Retire may be called while others use the memory. On
// Windows it may not, as a view cannot be replaced atomically.
const Revocable = false

// PageSize returns the unit of Unprotect, in bytes.
func PageSize() int { return os.Getpagesize() }

// AddressesLimited reports whether the addresses that closed handles keep may
// be needed. On Windows they keep none.
func AddressesLimited() bool { return false }

// View is mapped memory of an object. Its Region keeps the process alive if the
// memory vanishes.
type View struct {
	*fault.Region
	Mem []byte
}

// Map maps the first n bytes, shared with all other mappings of the object.
func (o *Object) Map(n int, writable bool) (*View, error) {
	if writable && o.readOnly {
		return nil, fmt.Errorf("map %s: %w: it is open for reading only", o.family.Base(), fs.ErrPermission)
	}
	access := uint32(windows.FILE_MAP_READ)
	if !o.readOnly {
		// If parts of a view are made writable later, it must be writable when
		// it is created.
		access |= windows.FILE_MAP_WRITE
	}
	addr, err := windows.MapViewOfFile(o.section, access, 0, 0, uintptr(n))
	if err != nil {
		return nil, fmt.Errorf("map %d bytes of %s: %w", n, o.family.Base(), err)
	}
	mem := bytes(addr, n)
	if !writable && !o.readOnly {
		if err := protect(mem, windows.PAGE_READONLY); err != nil {
			windows.UnmapViewOfFile(addr)
			return nil, err
		}
	}
	if o.store.canFail() {
		return &View{Region: fault.Watch(mem), Mem: mem}, nil
	}
	return &View{Region: fault.Stable(), Mem: mem}, nil
}

// Unprotect makes part of a read-only view writable. The part must consist of
// whole pages. Unprotect returns an error matching fs.ErrPermission if the
// object is open for reading only.
func (v *View) Unprotect(off, n int) error {
	if err := protect(v.Mem[off:off+n], windows.PAGE_READWRITE); err != nil {
		return fmt.Errorf("%w: %w", fs.ErrPermission, err)
	}
	return nil
}

// Retire releases the shared memory. No call may use the view any more, and
// Unmap must not be called afterwards.
func (v *View) Retire() error { return v.Unmap() }

// Unmap releases the shared memory. No call may use the view any more.
func (v *View) Unmap() error {
	v.Forget()
	return windows.UnmapViewOfFile(uintptr(unsafe.Pointer(unsafe.SliceData(v.Mem))))
}

// sectionSize returns the size of a section in bytes, a multiple of the page
// size.
func sectionSize(h windows.Handle) (int64, error) {
	addr, err := windows.MapViewOfFile(h, windows.FILE_MAP_READ, 0, 0, 0)
	if err != nil {
		return 0, err
	}
	defer windows.UnmapViewOfFile(addr)
	var info windows.MemoryBasicInformation
	err = windows.VirtualQuery(addr, &info, unsafe.Sizeof(info))
	return int64(info.RegionSize), err
}

// bytes returns the memory at an address that the system gave. It does not
// belong to the garbage collector.
func bytes(addr uintptr, n int) []byte {
	return unsafe.Slice((*byte)(*(*unsafe.Pointer)(unsafe.Pointer(&addr))), n)
}

func protect(mem []byte, protection uint32) error {
	var old uint32
	return windows.VirtualProtect(uintptr(unsafe.Pointer(unsafe.SliceData(mem))), uintptr(len(mem)), protection, &old)
}

// clean clears a section of size bytes and writes the mark. It writes the mark
// first.
func clean(h windows.Handle, mark []byte, size int64) error {
	addr, err := windows.MapViewOfFile(h, windows.FILE_MAP_WRITE, 0, 0, uintptr(size))
	if err != nil {
		return err
	}
	mem := bytes(addr, int(size))
	clear(mem[copy(mem, mark):])
	return windows.UnmapViewOfFile(addr)
}

// write writes b to the beginning of a section.
func write(h windows.Handle, b []byte) error {
	addr, err := windows.MapViewOfFile(h, windows.FILE_MAP_WRITE, 0, 0, uintptr(len(b)))
	if err != nil {
		return err
	}
	copy(bytes(addr, len(b)), b)
	return windows.UnmapViewOfFile(addr)
}

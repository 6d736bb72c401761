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

// Revocable says that Retire may be called while others use the memory. Here it
// may not: a view cannot be replaced at one stroke.
const Revocable = false

// PageSize is the unit of Unprotect.
func PageSize() int { return os.Getpagesize() }

// AddressesLimited reports whether closed handles may keep others from the
// addresses that they need. Here they keep none.
func AddressesLimited() bool { return false }

// Map maps the first n bytes, shared with all who map them.
func (o *Object) Map(n int, writable bool) (*View, error) {
	if writable && o.readOnly {
		return nil, fmt.Errorf("map %s: %w: it is open for reading only", o.family.Base(), fs.ErrPermission)
	}
	access := uint32(windows.FILE_MAP_READ)
	if !o.readOnly {
		// A view that is to be made writable later, in parts, has to be so at
		// first.
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

// addresses are released with the memory.
type addresses struct{}

// Unprotect makes part of a read-only view, whole pages, writable. It returns
// fs.ErrPermission if the object is open for reading only.
func (v *View) Unprotect(off, n int) error {
	if err := protect(v.Mem[off:off+n], windows.PAGE_READWRITE); err != nil {
		return fmt.Errorf("%w: %w", fs.ErrPermission, err)
	}
	return nil
}

// Retire releases the shared memory. No call may touch the view any more, and
// Unmap must not follow.
func (v *View) Retire() error { return v.Unmap() }

// Unmap releases the shared memory. No call may touch the view any more.
func (v *View) Unmap() error {
	v.Forget()
	return windows.UnmapViewOfFile(uintptr(unsafe.Pointer(unsafe.SliceData(v.Mem))))
}

// sectionSize is the size of a section in bytes, whole pages.
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

// bytes is the memory at an address that the system gave, which is none of the
// garbage collector's.
func bytes(addr uintptr, n int) []byte {
	return unsafe.Slice((*byte)(*(*unsafe.Pointer)(unsafe.Pointer(&addr))), n)
}

func protect(mem []byte, protection uint32) error {
	var old uint32
	return windows.VirtualProtect(uintptr(unsafe.Pointer(unsafe.SliceData(mem))), uintptr(len(mem)), protection, &old)
}

// clean makes a section of size bytes zero but the mark, which it writes first.
func clean(h windows.Handle, mark []byte, size int64) error {
	addr, err := windows.MapViewOfFile(h, windows.FILE_MAP_WRITE, 0, 0, uintptr(size))
	if err != nil {
		return err
	}
	mem := bytes(addr, int(size))
	clear(mem[copy(mem, mark):])
	return windows.UnmapViewOfFile(addr)
}

// write writes to the beginning of a section.
func write(h windows.Handle, b []byte) error {
	addr, err := windows.MapViewOfFile(h, windows.FILE_MAP_WRITE, 0, 0, uintptr(len(b)))
	if err != nil {
		return err
	}
	copy(bytes(addr, len(b)), b)
	return windows.UnmapViewOfFile(addr)
}

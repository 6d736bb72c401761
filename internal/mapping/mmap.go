//go:build unix && !aix

package mapping

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"time"
	"unsafe"

	"github.com/sharedseg/sharedseg/internal/fault"
	"golang.org/x/sys/unix"
)

// Revocable says that Retire may be called while others use the memory.
const Revocable = true

// PageSize is the unit of Unprotect.
func PageSize() int { return os.Getpagesize() }

// Map maps the first n bytes, shared with all who map them.
func (o *Object) Map(n int, writable bool) (*View, error) {
	prot := unix.PROT_READ
	if writable {
		prot |= unix.PROT_WRITE
	}
	p, err := unix.MmapPtr(o.fd, 0, nil, uintptr(n), prot, unix.MAP_SHARED)
	for tries := 0; errors.Is(err, unix.ENOMEM) && tries < 5; tries++ {
		// The addresses of closed handles come back with the garbage collector.
		runtime.GC()
		time.Sleep(time.Millisecond << tries)
		p, err = unix.MmapPtr(o.fd, 0, nil, uintptr(n), prot, unix.MAP_SHARED)
	}
	if errors.Is(err, unix.ENOMEM) {
		return nil, fmt.Errorf("map %d bytes of %s: no addresses are left: close handles, or raise RLIMIT_AS (ulimit -v): %w", n, o.path, err)
	}
	if err != nil {
		return nil, fmt.Errorf("map %d bytes of %s: %w", n, o.path, err)
	}
	mem := unsafe.Slice((*byte)(p), n)
	return &View{fault.Watch(mem), mem}, nil
}

// Unprotect makes part of a read-only view, whole pages, writable. It returns
// fs.ErrPermission if the object is open for reading only.
func (v *View) Unprotect(off, n int) error {
	return unix.Mprotect(v.Mem[off:off+n], unix.PROT_READ|unix.PROT_WRITE)
}

// Retire replaces the view's memory, in place and at one stroke, by private
// zeros: the shared memory is released, and a call that still reads or writes
// the view touches nothing that matters. Unmap releases the addresses later.
func (v *View) Retire() error {
	_, err := unix.MmapPtr(-1, 0, unsafe.Pointer(unsafe.SliceData(v.Mem)), uintptr(len(v.Mem)),
		unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON|unix.MAP_FIXED|noReserve)
	return err
}

// Unmap releases the addresses of the view. No call may touch it any more.
func (v *View) Unmap() error {
	v.Forget()
	return unix.MunmapPtr(unsafe.Pointer(unsafe.SliceData(v.Mem)), uintptr(len(v.Mem)))
}

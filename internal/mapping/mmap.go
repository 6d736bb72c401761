//go:build unix && !aix

package mapping

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"sync/atomic"
	"time"
	"unsafe"

	"github.com/sharedseg/sharedseg/internal/fault"
	"golang.org/x/sys/unix"
)

// Revocable says that Retire may be called while others use the memory.
const Revocable = true

// PageSize returns the unit of Unprotect, in bytes.
func PageSize() int { return os.Getpagesize() }

// View is mapped memory of an object. Its Region keeps the process alive if the
// memory vanishes.
type View struct {
	*fault.Region
	Mem     []byte
	retired bool // Mem was replaced by private zeros
}

// Map maps the first n bytes, shared with all other mappings of the object.
func (o *Object) Map(n int, writable bool) (*View, error) {
	prot := unix.PROT_READ
	if writable {
		prot |= unix.PROT_WRITE
	}
	var p unsafe.Pointer
	err := withAddresses(func() (err error) {
		p, err = mmap(o.fd, nil, uintptr(n), prot, unix.MAP_SHARED)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("map %d bytes of %s: %w", n, o.path, err)
	}
	mem := unsafe.Slice((*byte)(p), n)
	return &View{Region: fault.Watch(mem), Mem: mem}, nil
}

// retired counts the views that are retired but not yet unmapped.
var retired atomic.Int64

// withAddresses makes a system call that needs addresses or mappings, of which
// a process has a limited number. If there are none left, it runs the garbage
// collector, which releases those of closed handles, and tries again. The
// collector needs mappings itself and may end a process that has none left, so
// it runs only if there are retired views.
func withAddresses(call func() error) error {
	err := call()
	for tries := 0; errors.Is(err, unix.ENOMEM) && retired.Load() > 0 && tries < 5; tries++ {
		runtime.GC()
		time.Sleep(time.Millisecond << tries)
		err = call()
	}
	if errors.Is(err, unix.ENOMEM) {
		return fmt.Errorf("this process has no addresses or no mappings left: close handles, or raise RLIMIT_AS (ulimit -v)%s: %w",
			mappingsLimit, err)
	}
	return err
}

// Unprotect makes part of a read-only view writable. The part must consist of
// whole pages. Unprotect returns an error matching fs.ErrPermission if the
// object is open for reading only.
func (v *View) Unprotect(off, n int) error {
	err := withAddresses(func() error {
		return again(func() error { return unix.Mprotect(v.Mem[off:off+n], unix.PROT_READ|unix.PROT_WRITE) })
	})
	if err != nil {
		return fmt.Errorf("map the wait page writable: %w", err)
	}
	return nil
}

// Retire atomically replaces the view's memory with private zeros, at the same
// addresses. The shared memory is released. A call that still uses the view
// then reads zeros, and its writes have no effect on others. Unmap releases the
// addresses later.
func (v *View) Retire() error {
	_, err := mmap(-1, unsafe.Pointer(unsafe.SliceData(v.Mem)), uintptr(len(v.Mem)),
		unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON|unix.MAP_FIXED|noReserve)
	if err == nil && !v.retired {
		v.retired = true
		retired.Add(1)
	}
	return err
}

// Unmap releases the addresses of the view. No call may use the view any more.
func (v *View) Unmap() error {
	v.Forget()
	if v.retired {
		v.retired = false
		retired.Add(-1)
	}
	return again(func() error {
		return unix.MunmapPtr(unsafe.Pointer(unsafe.SliceData(v.Mem)), uintptr(len(v.Mem)))
	})
}

func mmap(fd int, addr unsafe.Pointer, n uintptr, prot, flags int) (p unsafe.Pointer, err error) {
	err = again(func() (err error) { p, err = unix.MmapPtr(fd, 0, addr, n, prot, flags); return err })
	return p, err
}

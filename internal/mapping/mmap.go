//go:build unix && !aix

package mapping

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Revocable says that Retire may be called while others use the memory.
const Revocable = true

// PageSize is the unit of Unprotect.
func PageSize() int { return os.Getpagesize() }

// Map maps the first n bytes, shared with all who map them.
func (o *Object) Map(n int, writable bool) ([]byte, error) {
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
	return unsafe.Slice((*byte)(p), n), nil
}

// Unprotect makes part of a read-only mapping, whole pages, writable. It is fs.ErrPermission if the object is
// open for reading only.
func Unprotect(mem []byte) error { return unix.Mprotect(mem, unix.PROT_READ|unix.PROT_WRITE) }

// Retire replaces mem, in place and at one stroke, by private zeros: the shared memory is let go, and whoever
// still reads or writes mem touches nothing that matters. Unmap gives the addresses back later.
func Retire(mem []byte) error {
	_, err := unix.MmapPtr(-1, 0, unsafe.Pointer(unsafe.SliceData(mem)), uintptr(len(mem)),
		unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON|unix.MAP_FIXED|noReserve)
	return err
}

// Unmap gives the addresses of mem back. Nobody may touch mem any more.
func Unmap(mem []byte) error {
	return unix.MunmapPtr(unsafe.Pointer(unsafe.SliceData(mem)), uintptr(len(mem)))
}

//go:build !sharedseg_portable

package fault

// sigaction is the kernel's struct sigaction, which is not libc's. Handlers
// return through the vDSO, so there is no restorer, but QEMU's user mode has
// one, and writes as much.
type sigaction struct {
	handler uintptr
	flags   uintptr
	mask    uint64
	_       uintptr
}

//go:build !sharedseg_portable

package fault

// sigaction is the kernel's struct sigaction, which differs from libc's.
// Handlers return through the vDSO, so the kernel has no restorer. QEMU's user
// mode has one, and writes that many bytes.
type sigaction struct {
	handler uintptr
	flags   uintptr
	mask    uint64
	_       uintptr
}

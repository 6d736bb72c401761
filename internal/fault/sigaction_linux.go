//go:build (amd64 || arm64 || 386) && !sharedseg_portable

package fault

// sigaction is the kernel's struct sigaction, which differs from libc's.
type sigaction struct {
	handler  uintptr
	flags    uintptr
	restorer uintptr
	mask     uint64
}

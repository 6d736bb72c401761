//go:build !windows

package kernel

// Family is the kernel objects of one mapping. There are none on this system.
type Family struct{}

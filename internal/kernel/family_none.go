//go:build !windows

package kernel

// Family is the objects of one mapping: none.
type Family struct{}

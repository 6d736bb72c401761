//go:build !linux

package mapping

// Populate does nothing.
func Populate([]byte) {}

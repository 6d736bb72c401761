//go:build !linux

package mapping

// Populate does nothing.
func (v *View) Populate() {}

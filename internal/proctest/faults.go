package proctest

import "runtime/debug"

// Faults reports whether f accesses memory that is not mapped, or not mapped
// for that.
func Faults(f func()) (faults bool) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() { faults = recover() != nil }()
	f()
	return false
}

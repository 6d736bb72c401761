package proctest

import "runtime/debug"

// Faults reports whether f touches memory that it may not.
func Faults(f func()) (faults bool) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() { faults = recover() != nil }()
	f()
	return false
}

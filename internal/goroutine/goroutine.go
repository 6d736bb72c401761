// Package goroutine identifies the calling goroutine, so that a call can detect
// that it would wait for its own goroutine.
//
// ID returns a number for the goroutine that calls it, in about 1.5 ns. The
// number is unique among the goroutines that exist. It is not the number in
// stack traces. Where it is not known, ID returns 0, and such calls are not
// detected. docs/design.md, "A call that would wait for itself", says how it is
// used and why it never raises a false alarm.
package goroutine

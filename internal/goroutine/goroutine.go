// Package goroutine tells goroutines apart, so that a call can find out that it
// was made by the very goroutine for which it would wait.
package goroutine

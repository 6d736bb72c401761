//go:build race

package fence

import (
	"runtime"
	"unsafe"
)

// The race detector knows only addresses of the Go heap and of Go variables, so
// the keys of mappings are spread over these.
var shadow [251]byte

func shadowOf(key uint64) unsafe.Pointer { return unsafe.Pointer(&shadow[key%uint64(len(shadow))]) }

// Acquire orders the calling goroutine's later accesses after all accesses
// before a Release of the same key.
func Acquire(key uint64) { runtime.RaceAcquire(shadowOf(key)) }

// Release orders the calling goroutine's earlier accesses before those after a
// later Acquire of the same key.
func Release(key uint64) { runtime.RaceReleaseMerge(shadowOf(key)) }

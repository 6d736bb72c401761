//go:build race

package fence

import (
	"runtime"
	"unsafe"
)

// The race detector knows addresses of the Go heap and of Go variables only, so
// mappings share these.
var shadow [251]byte

func shadowOf(key uint64) unsafe.Pointer { return unsafe.Pointer(&shadow[key%uint64(len(shadow))]) }

// Acquire orders what follows after everything before the Releases of the same
// key.
func Acquire(key uint64) { runtime.RaceAcquire(shadowOf(key)) }

// Release orders everything before it before what follows a later Acquire of
// the same key.
func Release(key uint64) { runtime.RaceReleaseMerge(shadowOf(key)) }

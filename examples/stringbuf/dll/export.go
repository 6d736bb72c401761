//go:build cgo

package main

/*
#include "sharedmem.h"
*/
import "C"

import (
	"cmp"
	"errors"
	"io/fs"
	"os"
	"runtime/debug"
	"slices"
	"unsafe"

	"github.com/sharedseg/sharedseg"
)

var shared = memory{name: cmp.Or(os.Getenv("SHAREDMEM_NAME"), "dllmemfilemap")}

// To have the library loaded is to keep the memory, even without a call. Go
// runs this in a thread of its own, so whoever loads the library does not wait
// for it; a call does.
func init() {
	if isLibrary() {
		shared.hold()
	}
}

// isLibrary tells the library from a test of this package, which must not touch
// the real memory.
func isLibrary() bool {
	info, ok := debug.ReadBuildInfo()
	return ok && slices.Contains(info.Settings, debug.BuildSetting{Key: "-buildmode", Value: "c-shared"})
}

// goSetSharedMem has text without a bound: set looks for its end, and in no
// more than room.
//
//export goSetSharedMem
func goSetSharedMem(text *C.sharedmem_char) C.int {
	return status(shared.set(unsafe.Slice((*uint16)(unsafe.Pointer(text)), room)))
}

// goGetSharedMem needs no more of buf than the longest text that a foreign
// process can leave, which is one without a terminator.
//
//export goGetSharedMem
func goGetSharedMem(buf *C.sharedmem_char, cch C.sharedmem_size, needed *C.sharedmem_size) C.int {
	n, err := shared.get(unsafe.Slice((*uint16)(unsafe.Pointer(buf)), min(cch, room+1)))
	*needed = C.sharedmem_size(n)
	return status(err)
}

//export goReleaseSharedMem
func goReleaseSharedMem() { shared.release() }

// status is the enum sharedmem_status of an error.
func status(err error) C.int {
	switch {
	case err == nil:
		return C.SHAREDMEM_OK
	case errors.Is(err, errUnavailable):
		return C.SHAREDMEM_UNAVAILABLE
	case errors.Is(err, errTruncated):
		return C.SHAREDMEM_TRUNCATED
	case errors.Is(err, sharedseg.ErrTooLarge):
		return C.SHAREDMEM_TOO_LARGE
	case errors.Is(err, errInvalid), errors.Is(err, fs.ErrInvalid):
		return C.SHAREDMEM_INVALID
	}
	return C.SHAREDMEM_UNAVAILABLE
}

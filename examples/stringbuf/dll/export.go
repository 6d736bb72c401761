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

// A process that has loaded the library keeps the memory, even if it makes no
// call. Go runs this function in its own thread, so loading the library does
// not wait for it, but a call does.
func init() {
	if isLibrary() {
		shared.hold()
	}
}

// isLibrary reports whether this is the library. A test of this package must
// not touch the real memory.
func isLibrary() bool {
	info, ok := debug.ReadBuildInfo()
	return ok && slices.Contains(info.Settings, debug.BuildSetting{Key: "-buildmode", Value: "c-shared"})
}

// goSetSharedMem does not know the length of text. set looks for its terminator
// within the first room units.
//
//export goSetSharedMem
func goSetSharedMem(text *C.sharedmem_char) C.int {
	return status(shared.set(unsafe.Slice((*uint16)(unsafe.Pointer(text)), room)))
}

// goGetSharedMem uses at most room+1 units of buf. That is enough for the
// longest text, which a foreign process can leave without a terminator.
//
//export goGetSharedMem
func goGetSharedMem(buf *C.sharedmem_char, cch C.sharedmem_size, needed *C.sharedmem_size) C.int {
	n, err := shared.get(unsafe.Slice((*uint16)(unsafe.Pointer(buf)), min(cch, room+1)))
	*needed = C.sharedmem_size(n)
	return status(err)
}

//export goReleaseSharedMem
func goReleaseSharedMem() { shared.release() }

// status returns the enum sharedmem_status for an error.
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

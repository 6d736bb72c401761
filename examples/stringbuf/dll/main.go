// Dll is stringbuf as a library for C programs: one string that all processes
// share which load it. It exports SetSharedMem and GetSharedMem, with the
// signatures of a well-known sample, and a variant of each that returns a
// status. The file sharedmem.h describes them for C, README.md says how to
// build and link.
//
//	go build -buildmode=c-shared -o libstringbuf.so     on Linux
//	go build -buildmode=c-shared -o stringbuf.dll       on Windows
//
// The calls are in four layers: export.c has the C functions, export.go makes
// Go's types of C's, memory.go has the shared memory, and package segment maps
// it.
package main

import (
	"fmt"
	"os"
)

// main is what the build mode asks for. A library never runs it.
func main() {
	fmt.Fprintln(os.Stderr, "this is a library: build it with go build -buildmode=c-shared")
	os.Exit(2)
}

// Dll is a library for C programs: all processes that load it share one string.
//
// It exports SetSharedMem and GetSharedMem, with the signatures of a well-known
// sample, and a variant of each that returns a status. The file sharedmem.h
// documents them for C. README.md explains how to build and link.
//
//	go build -buildmode=c-shared -o libstringbuf.so     on Linux
//	go build -buildmode=c-shared -o stringbuf.dll       on Windows
//
// A call passes through four layers: export.c has the C functions, export.go
// converts C's types to Go's, memory.go manages the shared memory, and package
// segment maps it.
package main

import (
	"fmt"
	"os"
)

// main is required by the build mode. A library never runs it.
func main() {
	fmt.Fprintln(os.Stderr, "dll is a library: build it with go build -buildmode=c-shared")
	os.Exit(2)
}

// Shared is a shared library for the program host.
package main

import "C"

import (
	"os"
	"unsafe"

	"github.com/sharedseg/sharedseg/internal/fault/testdata/lose"
)

var file *lose.File

// Watch maps and watches a file of the host's.
//
//export Watch
func Watch(fd, n C.int) unsafe.Pointer {
	file = lose.Watch(os.NewFile(uintptr(fd), "host"), int(n))
	return unsafe.Pointer(&file.Mem[0])
}

// Trapped reports whether the host's file is trapped.
//
//export Trapped
func Trapped() C.int { return truth(!file.Region.Guarded()) }

// WouldTrap reports whether another region would be trapped now.
//
//export WouldTrap
func WouldTrap() C.int {
	f := lose.Open(os.Getpagesize())
	defer f.Close()
	return truth(!f.Region.Guarded())
}

// Read reads a byte of the host's file in Go.
//
//export Read
func Read(at C.int) C.int { return C.int(file.Mem[at]) }

// State returns the state of the host's file.
//
//export State
func State() C.int { return C.int(file.Region.State().Load()) }

func truth(b bool) C.int {
	if b {
		return 1
	}
	return 0
}

func main() {}

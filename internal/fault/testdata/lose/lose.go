// Package lose loses regions in programs that are built in special ways.
package lose

import (
	"fmt"
	"os"

	"github.com/sharedseg/sharedseg/internal/fault"
	"golang.org/x/sys/unix"
)

// File is a file that can be truncated, its memory and its region.
type File struct {
	*os.File
	Mem    []byte
	Region *fault.Region
}

// Open creates a file of n bytes, maps it and watches it.
func Open(n int) *File {
	f, err := os.CreateTemp("", "fault")
	must(err)
	must(os.Remove(f.Name()))
	must(f.Truncate(int64(n)))
	return Watch(f, n)
}

// Watch maps n bytes of a file and watches them.
func Watch(f *os.File, n int) *File {
	mem, err := unix.Mmap(int(f.Fd()), 0, n, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	must(err)
	return &File{f, mem, fault.Watch(mem)}
}

// Cut truncates the file to nothing.
func (f *File) Cut() { must(f.Truncate(0)) }

// Close unmaps the memory and closes the file.
func (f *File) Close() {
	f.Region.Forget()
	must(unix.Munmap(f.Mem))
	must(f.File.Close())
}

// Lose loses some regions and describes the result.
func Lose() (s string) {
	for range 20 {
		f := Open(os.Getpagesize())
		f.Cut()
		read := f.Mem[7]
		s = fmt.Sprintf("trapped: %v, read: %d, state: %d\n", !f.Region.Guarded(), read, f.Region.State().Load())
		f.Close()
	}
	return s
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}

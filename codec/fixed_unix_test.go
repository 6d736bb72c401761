//go:build unix

package codec_test

import (
	"bytes"
	"os"
	"runtime/debug"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/sharedseg/sharedseg/codec"
)

// TestFixedFault decodes memory whose second half is unmapped.
func TestFixedFault(t *testing.T) {
	type value [1 << 16]bool
	c := codec.Fixed[value]()
	mem, err := unix.Mmap(-1, 0, 1<<16, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := unix.Munmap(mem); err != nil {
			t.Error(err)
		}
	}()
	copy(mem, bytes.Repeat([]byte{2}, len(mem)))
	if err := unix.Mprotect(mem[len(mem)/2/os.Getpagesize()*os.Getpagesize():], unix.PROT_NONE); err != nil {
		t.Fatal(err)
	}

	v := new(value)
	v[0] = true
	func() {
		defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
		defer func() {
			if recover() == nil {
				t.Error("Decode of unreadable memory did not fault")
			}
		}()
		t.Errorf("Decode of unreadable memory = %v", c.Decode(mem, v))
	}()
	if *v != (value{}) {
		t.Error("Decode left what it had copied when it faulted, unchecked")
	}
}

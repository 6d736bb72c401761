//go:build unix

package layout

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sharedseg/sharedseg/internal/proctest"
	"golang.org/x/sys/unix"
)

var sink byte

// truncated maps a file of two pages, and cuts the second off.
func truncated(t *testing.T) (mem []byte, page int) {
	page = os.Getpagesize()
	path := filepath.Join(t.TempDir(), "f")
	if err := os.WriteFile(path, make([]byte, 2*page), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	mem, err = unix.Mmap(int(f.Fd()), 0, 2*page, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Munmap(mem) })
	if err := f.Truncate(int64(page)); err != nil {
		t.Fatal(err)
	}
	return mem, page
}

// A fault in the guarded memory is an error, one elsewhere is somebody else's affair.
func TestGuardFault(t *testing.T) {
	proctest.NeedsFaultAddress(t)
	mem, page := truncated(t)
	if faultSetting() {
		t.Fatal("SetPanicOnFault is set")
	}
	for what, access := range map[string]func(){
		"load":  func() { sink = mem[page] },
		"store": func() { mem[2*page-1] = 1 },
		"copy":  func() { copy(mem, mem[page:]) },
	} {
		if err := Guard(mem, func() error { access(); return nil }); !errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), "truncated") {
			t.Errorf("%s: %v", what, err)
		}
		if faultSetting() {
			t.Errorf("SetPanicOnFault is set after a fault by %s", what)
		}
		if err := Guard(mem, func() error { mem[0]++; return nil }); err != nil {
			t.Error(err)
		}
		if !panics(func() { Guard(mem[:page], func() error { access(); return nil }) }) {
			t.Errorf("%s: a fault outside the guarded memory was swallowed", what)
		}
		if faultSetting() {
			t.Errorf("SetPanicOnFault is set after a panic")
		}
	}
	// Guards nest: the inner one does not know the memory, the outer one does.
	err := Guard(mem, func() error {
		return Guard(mem[:page], func() error { mem[page] = 1; return nil })
	})
	if !errors.Is(err, ErrCorrupt) || faultSetting() {
		t.Errorf("nested: %v; SetPanicOnFault is %v", err, faultSetting())
	}
}

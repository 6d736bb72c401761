//go:build !sharedseg_portable

package mapping

import (
	"errors"
	"testing"

	"github.com/sharedseg/sharedseg/internal/proctest"
	"golang.org/x/sys/unix"
)

// TestReserveHoles checks that a file with holes gets its memory when a handle
// attaches, and that its content is kept.
func TestReserveHoles(t *testing.T) {
	if proctest.Emulated() {
		t.Skip("the emulator may not have fallocate")
	}
	dir := proctest.Mount(t, "tmpfs", "size=8m")
	o, err := Create(&Place{Name: "x", Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	defer o.Close()
	if err := unix.Ftruncate(o.fd, 4<<20); err != nil {
		t.Fatal(err)
	}
	if err := o.write([]byte("value"), 2<<20); err != nil {
		t.Fatal(err)
	}
	info, err := o.Info()
	if err != nil || info.Held >= info.Size {
		t.Fatalf("%+v, %v", info, err)
	}
	if err := o.ReserveHoles(info.Size, info); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, 5)
	if _, err := o.ReadAt(got, 2<<20); string(got) != "value" || err != nil {
		t.Errorf("it holds %q, %v", got, err)
	}
	if info, err = o.Info(); err != nil || info.Held < info.Size {
		t.Errorf("%+v, %v", info, err)
	}
	if err := unix.Ftruncate(o.fd, 16<<20); err != nil {
		t.Fatal(err)
	}
	if info, err = o.Info(); err != nil {
		t.Fatal(err)
	}
	if err := o.ReserveHoles(info.Size, info); !errors.Is(err, ErrNoSpace) {
		t.Errorf("ReserveHoles in a place that is too small: %v", err)
	}
}

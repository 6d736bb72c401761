//go:build !sharedseg_portable

package park

import (
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A Sleep on memory that vanished returns at once. Later ones return after a
// short pause, however many other words there are.
func TestSleepOnVanished(t *testing.T) {
	page := os.Getpagesize()
	path := filepath.Join(t.TempDir(), "f")
	if err := os.WriteFile(path, make([]byte, page), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	mem, err := unix.Mmap(int(f.Fd()), 0, page, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Munmap(mem)
	if err := f.Truncate(0); err != nil {
		t.Fatal(err)
	}
	var sound, vanished Spot
	sound.Prepare(NewBroadcast(new(atomic.Uint32), nil), 0)
	vanished.Prepare(NewBroadcast((*atomic.Uint32)(unsafe.Pointer(unsafe.SliceData(mem))), nil), 0)
	for _, words := range []int{1, Words()} {
		on := []*Spot{&vanished}
		if words > 1 {
			on = []*Spot{&sound, &vanished, &sound}
		}
		sleeper := NewSleeper(words)
		within(t, "a Sleep", func() {
			begun := time.Now()
			for range 5 {
				if sleeper.Sleep(on, time.Hour) {
					t.Error("Sleep reached its limit")
				}
			}
			if took := time.Since(begun); took < 4*lastPause {
				t.Errorf("five Sleeps took %v", took)
			}
		})
	}
}

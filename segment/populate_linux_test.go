package segment_test

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/sharedseg/sharedseg"
	"github.com/sharedseg/sharedseg/codec"
	"github.com/sharedseg/sharedseg/internal/proctest"
	"github.com/sharedseg/sharedseg/segment"
	"golang.org/x/sys/unix"
)

// resident returns how many bytes of its mappings of a file this process has in
// memory.
func resident(t *testing.T, path string) int {
	t.Helper()
	maps, err := os.ReadFile("/proc/self/smaps")
	must(t, err)
	sum, ours := 0, false
	for line := range strings.Lines(string(maps)) {
		var kib int
		if _, err := fmt.Sscanf(line, "Rss: %d kB", &kib); err == nil && ours {
			sum += kib << 10
		} else if key, _, _ := strings.Cut(line, " "); !strings.HasSuffix(key, ":") { // the addresses of the next mapping
			ours = strings.HasSuffix(line, " "+path+"\n")
		}
	}
	return sum
}

// With Populate, and only with it, all pages are in memory before the first
// Load or Store.
func TestPopulate(t *testing.T) {
	if proctest.Emulated() {
		t.Skip("the mappings listed are those of the emulator")
	}
	if page, err := unix.Mmap(-1, 0, 1, unix.PROT_READ, unix.MAP_PRIVATE|unix.MAP_ANON); err != nil {
		t.Fatal(err)
	} else if err := errors.Join(unix.Madvise(page, unix.MADV_POPULATE_READ), unix.Munmap(page)); err != nil {
		t.Skip("this kernel, perhaps older than Linux 5.14, does not populate:", err)
	}
	const capacity = 4 << 20
	for _, populate := range []bool{false, true} {
		o := &segment.Options{Dir: proctest.TempDir(t), Capacity: capacity, Populate: populate}
		check := func(what, path string) {
			t.Helper()
			if got, all := resident(t, path), segment.DefaultSlots*capacity; populate != (got >= all) {
				t.Errorf("%s, Populate %v: %d of %d bytes are in memory", what, populate, got, all)
			}
		}
		s := open(t, "x", codec.Bytes(), o)
		info, err := sharedseg.Stat("x", o.Place())
		must(t, err)
		check("Open", info.Path)
		must(t, s.Close())

		o.Persist = true
		must(t, open(t, "y", codec.Bytes(), o).Close())
		r, err := segment.OpenReader("y", codec.Bytes(), o)
		must(t, err)
		defer r.Close()
		if info, err = sharedseg.Stat("y", o.Place()); err != nil {
			t.Fatal(err)
		}
		check("OpenReader", info.Path)
	}
}

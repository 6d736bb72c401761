package segment_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sharedseg/sharedseg"
	"github.com/sharedseg/sharedseg/codec"
	"github.com/sharedseg/sharedseg/internal/proctest"
	"github.com/sharedseg/sharedseg/segment"
	"golang.org/x/sys/unix"
)

// Memory is checked before it is reserved.

func init() {
	roles["greedy"] = greedy
	roles["grouped"] = grouped
	roles["few mappings"] = fewMappings
}

// peak returns the highest number of bytes that it saw in use in a file system
// while do ran.
func peak(t *testing.T, dir string, do func()) int64 {
	t.Helper()
	var most atomic.Int64
	look := func() {
		most.Store(max(most.Load(), proctest.Used(t, dir)))
	}
	stop, stopped := make(chan bool), make(chan bool)
	go func() {
		defer close(stopped)
		for {
			select {
			case <-stop:
				return
			case <-time.After(50 * time.Microsecond):
				look()
			}
		}
	}()
	do()
	close(stop)
	<-stopped
	look()
	return most.Load()
}

// noSpace fails the test unless err matches ErrNoSpace and its text contains
// all texts.
func noSpace(t *testing.T, what string, err error, texts ...string) {
	t.Helper()
	if !errors.Is(err, sharedseg.ErrNoSpace) {
		t.Errorf("%s: %v, want %v", what, err, sharedseg.ErrNoSpace)
		return
	}
	for _, text := range texts {
		if !strings.Contains(err.Error(), text) {
			t.Errorf("%s: %q does not contain %q", what, err, text)
		}
	}
}

// An Open that does not fit into the file system takes none of its space, not
// even for a moment: other processes could fault on memory that they have not
// reserved.
func TestNoRoom(t *testing.T) {
	dir := proctest.Mount(t, "tmpfs", "size=192m")
	capacity, figure := 256<<20, "it needs 768.0 MiB; "
	if strconv.IntSize == 64 {
		capacity <<= 12
		figure = "it needs 3.0 TiB; "
	}
	huge := &segment.Options{Dir: dir, Capacity: capacity}
	for what, try := range map[string]func() error{
		"Open":   func() error { return closed(segment.Open("x", codec.Bytes(), huge)) },
		"Create": func() error { return closed(segment.Create("x", codec.Bytes(), huge)) },
		"Open where users died": func() error {
			// Open finds a stale segment: no process has it open, and it does
			// not persist.
			s := open(t, "y", codec.Bytes(), &segment.Options{Dir: dir})
			image, err := os.ReadFile(filepath.Join(dir, "y"))
			if err == nil {
				err = os.WriteFile(filepath.Join(dir, "x"), image, 0o600)
			}
			must(t, errors.Join(err, s.Close()))
			return closed(segment.Open("x", codec.Bytes(), huge))
		},
		"OpenBare": func() error { return closed(segment.OpenBare("x", capacity, codec.Bytes(), huge)) },
	} {
		var err error
		if most := peak(t, dir, func() { err = try() }); most > 4<<20 {
			t.Errorf("%s used %d bytes for a moment", what, most)
		}
		noSpace(t, what, err, "is free in "+dir, "is kept for others", "Options.Capacity", "Options.Dir")
		if what != "OpenBare" {
			noSpace(t, what, err, figure)
		}
		if _, err := os.Lstat(filepath.Join(dir, "x")); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s left the file: %v", what, err)
			os.Remove(filepath.Join(dir, "x"))
		}
	}
	// An empty file belongs to a peer that is about to set its size.
	must(t, os.WriteFile(filepath.Join(dir, "x"), nil, 0o600))
	noSpace(t, "OpenBare of an empty file", closed(segment.OpenBare("x", capacity, codec.Bytes(), huge)))
	if info, err := os.Lstat(filepath.Join(dir, "x")); err != nil || info.Size() != 0 {
		t.Errorf("the file of the peer: %v, %v", info, err)
	}
}

// greedy DIR opens more in DIR than the machine has memory for. A limit ends it
// should it get the memory.
func greedy(args []string) error {
	var c complaints
	if err := limitTo(unix.RLIMIT_FSIZE, 8<<20); err != nil {
		return err
	}
	if strconv.IntSize == 32 {
		return nil // it cannot address more than there is
	}
	capacity := 1 << 30
	capacity <<= 20
	err := closed(segment.Open("x", codec.Bytes(), &segment.Options{Dir: args[0], Capacity: capacity}))
	c.Check("Open", err, sharedseg.ErrNoSpace, "it needs 3.0 PiB; ", "of memory is available", "a directory on a disk")
	err = closed(segment.OpenBare("x", capacity, codec.Bytes(), &segment.Options{Dir: args[0]}))
	c.Check("OpenBare", err, sharedseg.ErrNoSpace, "it needs 1.0 PiB; ", "of memory is available", "a directory on a disk")
	if entries, err := os.ReadDir(args[0]); len(entries) != 0 || err != nil {
		c.Add("left: %v, %w", entries, err)
	}
	return c.Err()
}

// A file system in memory can be unlimited, but the memory of the machine is
// limited.
func TestNoMemory(t *testing.T) {
	if proctest.Emulated() {
		t.Skip("the limit would apply to the emulator")
	}
	for kind, options := range map[string]string{"tmpfs": "size=0", "ramfs": ""} {
		t.Run(kind, func(t *testing.T) { proctest.Start(t, "greedy", proctest.Mount(t, kind, options)).Wait() })
	}
}

// memoryGroup creates a memory control group of 64 MiB, and a group below it
// without a limit. It returns the directory of the latter.
func memoryGroup(t *testing.T) string {
	t.Helper()
	for _, version := range []struct{ root, limit string }{
		{"/sys/fs/cgroup/memory", "memory.limit_in_bytes"},
		{"/sys/fs/cgroup", "memory.max"},
	} {
		outer := filepath.Join(version.root, proctest.NamePrefix())
		if _, err := os.Stat(filepath.Join(version.root, "cgroup.procs")); err != nil || os.Mkdir(outer, 0o755) != nil {
			continue
		}
		t.Cleanup(func() { os.Remove(outer) })
		if os.WriteFile(filepath.Join(outer, version.limit), []byte("67108864"), 0) != nil {
			continue
		}
		os.WriteFile(filepath.Join(outer, "cgroup.subtree_control"), []byte("+memory"), 0) // for version 2
		inner := filepath.Join(outer, "inner")
		must(t, os.Mkdir(inner, 0o755))
		t.Cleanup(func() { os.Remove(inner) })
		return inner
	}
	t.Skip("this user may not create a memory control group below /sys/fs/cgroup, or the controller is missing")
	return ""
}

// grouped DIR GROUP opens segments in DIR as a process of the control group
// GROUP.
func grouped(args []string) error {
	var c complaints
	dir, group := args[0], args[1]
	if err := os.WriteFile(filepath.Join(group, "cgroup.procs"), []byte(strconv.Itoa(os.Getpid())), 0); err != nil {
		return err
	}
	err := closed(segment.Open("x", codec.Bytes(), &segment.Options{Dir: dir, Capacity: 40 << 20}))
	c.Check("Open", err, sharedseg.ErrNoSpace, "it needs 120.0 MiB; ", "of the 64.0 MiB that memory control group "+filepath.Dir(group)+" may use",
		"raise the limit")
	err = closed(segment.OpenBare("x", 120<<20, codec.Bytes(), &segment.Options{Dir: dir}))
	c.Check("OpenBare", err, sharedseg.ErrNoSpace, "it needs 120.0 MiB; ", filepath.Dir(group))
	if entries, err := os.ReadDir(dir); len(entries) != 0 || err != nil {
		c.Add("left: %v, %w", entries, err)
	}
	s, err := segment.Open("x", codec.Bytes(), &segment.Options{Dir: dir, Capacity: 4 << 20})
	c.Check("Open of a segment that fits", err, nil)
	if err == nil {
		c.Check("Store", s.Store(make([]byte, 4<<20)), nil)
		c.Check("Close", s.Close(), nil)
	}
	return c.Err()
}

// A process that needs more memory than its control group allows is killed. So
// Open does not take it.
func TestMemoryGroup(t *testing.T) {
	if proctest.Emulated() {
		t.Skip("the memory of the emulator would count")
	}
	dir := proctest.Mount(t, "tmpfs", "size=512m")
	proctest.Start(t, "grouped", dir, memoryGroup(t)).Wait()
}

// A file system of huge pages supports neither write nor other file sizes.
func TestHugePages(t *testing.T) {
	o := &segment.Options{Dir: proctest.Mount(t, "hugetlbfs", "")}
	for what, err := range map[string]error{
		"Open":      closed(segment.Open("x", codec.String(), o)),
		"OpenBare":  closed(segment.OpenBare("x", 8, codec.Bytes(), o)),
		"OpenMutex": kinds("x", o)["OpenMutex"](),
	} {
		want(t, err, errors.ErrUnsupported)
		if err == nil || !strings.Contains(err.Error(), "hugetlbfs") || !strings.Contains(err.Error(), "Options.Dir") {
			t.Errorf("%s: %v", what, err)
		}
	}
	if entries, err := os.ReadDir(o.Dir); len(entries) != 0 || err != nil {
		t.Errorf("left: %v, %v", entries, err)
	}
}

const maxMappings = 1 << 17

// fewMappings DIR opens what DIR contains with no mappings left, and with two.
func fewMappings(args []string) error {
	o := &segment.Options{Dir: args[0]}
	s, err := segment.Open("x", codec.String(), o)
	if err != nil {
		return err
	}
	var c complaints
	c.goesOn(s)
	// A Go process exits if it has no mapping left for its heap or for the
	// description of the heap. So the runtime first gets what the test needs,
	// in objects of all sizes, and does not collect garbage from then on.
	for range 4 {
		var spare []any
		for size := 8; size <= 32<<10; size += max(8, size/8) {
			for n := 0; n < 128<<10; n += size {
				spare = append(spare, make([]byte, size), make([]*byte, size/8))
			}
		}
		runtime.KeepAlive(spare)
		runtime.GC()
	}
	debug.SetGCPercent(-1)
	// Neighbours with different protection are separate mappings.
	filler := make([][]byte, 0, maxMappings)
	for i := 0; i < maxMappings; i++ {
		b, err := unix.Mmap(-1, 0, os.Getpagesize(), []int{unix.PROT_NONE, unix.PROT_READ}[i%2], unix.MAP_PRIVATE|unix.MAP_ANON)
		if err != nil {
			break
		}
		filler = append(filler, b)
	}
	release := func(n int) {
		for ; n > 0; n-- {
			unix.Munmap(filler[len(filler)-1])
			filler = filler[:len(filler)-1]
		}
	}
	texts := []string{"vm.max_map_count", "RLIMIT_AS", "close handles"}
	for kind, name := range map[string]string{"Open": "x", "OpenReader": "x", "OpenBare": "bare", "OpenMutex": "mutex"} {
		c.Check(kind+", with none left", kinds(name, o)[kind](), unix.ENOMEM, texts...)
	}
	release(2) // a Reader needs three, because of the wait page
	c.Check("OpenReader, with two left", closed(segment.OpenReader("x", codec.String(), o)), unix.ENOMEM, texts...)
	release(64)
	c.Check("OpenReader, with mappings", closed(segment.OpenReader("x", codec.String(), o)), nil)
	c.goesOn(s)
	c.Check("Close", s.Close(), nil)
	return c.Err()
}

// The number of mappings of a process is limited, too.
func TestMappingsLimit(t *testing.T) {
	if proctest.Emulated() {
		t.Skip("the limit would apply to the emulator")
	}
	limit, err := os.ReadFile("/proc/sys/vm/max_map_count")
	if n, e := strconv.Atoi(strings.TrimSpace(string(limit))); err != nil || e != nil || n >= maxMappings {
		t.Skipf("the limit is unknown or too high: %s, %v", limit, err)
	}
	proctest.Start(t, "few mappings", proctest.TempDir(t)).Wait()
}

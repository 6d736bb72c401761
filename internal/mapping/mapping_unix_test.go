//go:build unix && !aix

package mapping

import (
	"bytes"
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/sharedseg/sharedseg/internal/layout"
	"github.com/sharedseg/sharedseg/internal/proctest"
	"golang.org/x/sys/unix"
)

// create creates an object for the test. It is closed at the test's end unless
// the test has closed it.
func create(t *testing.T) (*Object, *Place) {
	t.Helper()
	p := &Place{Name: "o", Dir: t.TempDir()}
	o, err := Create(p)
	must(t, err)
	t.Cleanup(func() { o.Close() })
	return o, p
}

func reopen(t *testing.T, p *Place) *Object {
	t.Helper()
	o, err := Open(p, false)
	must(t, err)
	t.Cleanup(func() { o.Close() })
	return o
}

func TestCreateIsExclusive(t *testing.T) {
	o, p := create(t)
	_, err := Create(p)
	want(t, err, fs.ErrExist)
	info, err := o.Info()
	if err != nil || info.Size != 0 || info.Mode != DefaultMode {
		t.Errorf("Info = %+v, %v", info, err)
	}
	other, err := reopen(t, p).Info()
	if err != nil || other.ID != info.ID {
		t.Errorf("IDs %d and %d of one file, %v", other.ID, info.ID, err)
	}
	must(t, o.Unlink())
	_, err = Open(p, false)
	want(t, err, fs.ErrNotExist)
	_, err = Create(&Place{Name: "o", Dir: filepath.Join(p.Dir, "none")})
	want(t, err, fs.ErrNotExist)
}

// TestLockBytes checks that locks belong to the Object: two Objects of one
// process exclude each other, and neither sees its own locks.
func TestLockBytes(t *testing.T) {
	a, p := create(t)
	b := reopen(t, p)
	held := func(slot int) func() (bool, error) { return func() (bool, error) { return b.Held(slot) } }
	ownHeld := func() (bool, error) { return a.Held(3) }
	hold := func(o *Object) func() (bool, error) { return func() (bool, error) { return o.Hold(3) } }

	is(t, "AnyHeld at first", b.AnyHeld, false)
	is(t, "Hold", hold(a), true)
	is(t, "Hold by another", hold(b), false)
	is(t, "Held by itself", ownHeld, false)
	is(t, "AnyHeld by itself", a.AnyHeld, false)
	is(t, "Held by another", held(3), true)
	is(t, "Held, its neighbour", held(2), false)
	is(t, "Held, its neighbour", held(4), false)
	is(t, "AnyHeld", b.AnyHeld, true)
	readers := func(o *Object, want int) {
		t.Helper()
		if n, err := o.Readers(); n != want || err != nil {
			t.Errorf("Readers = %d, %v; want %d", n, err, want)
		}
	}
	readers(b, 0)
	a.Drop(3)
	is(t, "Hold after Drop", hold(b), true)
	b.Drop(3)

	must(t, a.HoldReader())
	must(t, b.HoldReader())
	readers(b, 1)
	is(t, "AnyHeld", b.AnyHeld, true)
	is(t, "Held", held(0), false)
	a.DropReader()
	readers(b, 0)
	readers(a, 1)
	b.DropReader()

	for _, slot := range []int{0, 7, layout.Members - 1} {
		is(t, "Hold", func() (bool, error) { return a.Hold(slot) }, true)
		is(t, "Held", held(slot), true)
		is(t, "AnyHeld", b.AnyHeld, true)
		a.Drop(slot)
		is(t, "AnyHeld after Drop", b.AnyHeld, false)
	}
	is(t, "Hold", hold(a), true)
	must(t, a.HoldReader())
	must(t, a.LockRegistry(0))
	a.Close()
	is(t, "AnyHeld after Close", b.AnyHeld, false)
	must(t, b.LockRegistry(0))
	b.UnlockRegistry()
}

func TestRegistry(t *testing.T) {
	a, p := create(t)
	b := reopen(t, p)
	must(t, a.LockRegistry(0))
	want(t, b.LockRegistry(20*time.Millisecond), os.ErrDeadlineExceeded)
	locked := make(chan error)
	go func() { locked <- b.LockRegistry(proctest.Patience) }()
	a.UnlockRegistry()
	must(t, <-locked)
	want(t, a.LockRegistry(0), os.ErrDeadlineExceeded)
	b.UnlockRegistry()

	// Read-only Objects share the registry.
	r, err := Open(p, true)
	must(t, err)
	defer r.Close()
	r2, err := Open(p, true)
	must(t, err)
	defer r2.Close()
	must(t, r.LockRegistry(0))
	must(t, r2.LockRegistry(0))
	want(t, a.LockRegistry(0), os.ErrDeadlineExceeded)
}

// TestReset checks that Reset reserves all memory, so that no access fails for
// lack of it later, and that the content is zero.
func TestReset(t *testing.T) {
	o, p := create(t)
	const size = 1 << 20
	must(t, os.WriteFile(Path(p), bytes.Repeat([]byte{1}, 2*size), 0o600))
	must(t, o.Reset(&Place{Mode: 0o660}, layout.Mark(false), size))
	var st syscall.Stat_t
	must(t, syscall.Stat(Path(p), &st))
	if st.Size != size || st.Blocks*512 < size || fs.FileMode(st.Mode).Perm() != 0o660 {
		t.Errorf("%d bytes, %d reserved, mode %o", st.Size, st.Blocks*512, st.Mode)
	}
	got, err := os.ReadFile(Path(p))
	must(t, err)
	if !bytes.Equal(got, append(layout.Mark(false), make([]byte, size-len(layout.Mark(false)))...)) {
		t.Error("the content is not the mark and zeros")
	}
	if n, err := o.ReadAt(make([]byte, 16), size-4); n != 4 || err != nil {
		t.Errorf("ReadAt across the end = %d, %v", n, err)
	}
	if n, err := o.ReadAt(make([]byte, 16), size+4); n != 0 || err != nil {
		t.Errorf("ReadAt beyond the end = %d, %v", n, err)
	}
}

// TestFill checks fill, which Reset uses where a file system cannot reserve
// memory.
func TestFill(t *testing.T) {
	o, p := create(t)
	const size = 3<<20 + 5
	must(t, o.write(layout.Mark(false), 0))
	must(t, o.fill(int64(len(layout.Mark(false))), size))
	var st syscall.Stat_t
	must(t, syscall.Stat(Path(p), &st))
	if st.Size != size || st.Blocks*512 < size {
		t.Errorf("%d bytes, %d reserved", st.Size, st.Blocks*512)
	}
}

func TestCurrent(t *testing.T) {
	o, p := create(t)
	is(t, "Current", o.Current, true)
	must(t, o.Unlink())
	is(t, "Current after Unlink", o.Current, false)
	other, err := Create(p)
	must(t, err)
	defer other.Close()
	is(t, "Current after another took its place", o.Current, false)
	is(t, "Current of the other", other.Current, true)
	must(t, os.Rename(Path(p), Path(p)+".moved"))
	must(t, os.Symlink(Path(p)+".moved", Path(p)))
	is(t, "Current through a symbolic link", other.Current, false)
}

// TestRelativeDir changes the current directory before an object is closed.
func TestRelativeDir(t *testing.T) {
	t.Chdir(t.TempDir())
	o, err := Create(&Place{Name: "o", Dir: "."})
	must(t, err)
	defer o.Close()
	t.Chdir(t.TempDir())
	is(t, "Current", o.Current, true)
	must(t, o.Unlink())
}

// TestPlanted checks that a file of another type under the name is refused, and
// blocks no call.
func TestPlanted(t *testing.T) {
	// A socket's address is too short for some absolute paths.
	dir := t.TempDir()
	t.Chdir(dir)
	for what, plant := range map[string]func(path string) error{
		"link":          func(path string) error { return os.Symlink("/etc/passwd", path) },
		"dangling link": func(path string) error { return os.Symlink(path+".target", path) },
		"directory":     func(path string) error { return os.Mkdir(path, 0o700) },
		"fifo":          func(path string) error { return unix.Mkfifo(path, 0o600) },
		"socket":        listen,
	} {
		p := &Place{Name: "o", Dir: dir}
		os.RemoveAll(Path(p))
		must(t, plant(Path(p)))
		for _, readOnly := range []bool{false, true} {
			if _, err := Open(p, readOnly); !errors.Is(err, layout.ErrIncompatible) {
				t.Errorf("%s: %v", what, err)
			}
		}
		_, err := Create(p)
		want(t, err, fs.ErrExist)
	}
}

// listen creates a socket, and leaves it, in the current directory.
func listen(path string) error {
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Base(path), Net: "unix"})
	if err != nil {
		return err
	}
	l.SetUnlinkOnClose(false)
	return l.Close()
}

func TestNames(t *testing.T) {
	_, p := create(t)
	must(t, os.Mkdir(filepath.Join(p.Dir, "dir"), 0o700))
	must(t, os.Symlink("o", filepath.Join(p.Dir, "link")))
	for _, name := range []string{".hidden", "a b", "b"} {
		must(t, os.WriteFile(filepath.Join(p.Dir, name), nil, 0o600))
	}
	if names, err := Names(p); err != nil || !slices.Equal(names, []string{"b", "o"}) {
		t.Errorf("Names = %q, %v", names, err)
	}
	_, err := Names(&Place{Dir: filepath.Join(p.Dir, "none")})
	want(t, err, fs.ErrNotExist)
}

// TestMap checks that two mappings of one object are the same memory.
func TestMap(t *testing.T) {
	o, p := create(t)
	page := PageSize()
	must(t, o.Reset(&Place{}, nil, int64(2*page)))
	a, err := o.Map(2*page, true)
	must(t, err)
	defer a.Unmap()
	b, err := reopen(t, p).Map(page, false)
	must(t, err)
	defer b.Unmap()
	a.Mem[7] = 42
	if b.Mem[7] != 42 || cap(a.Mem) != 2*page || cap(b.Mem) != page {
		t.Errorf("%d of %d bytes", b.Mem[7], cap(b.Mem))
	}
}

// TestRetire checks that Retire replaces the memory at once, while a goroutine
// reads and writes it.
func TestRetire(t *testing.T) {
	o, p := create(t)
	const size = 16 << 20
	must(t, o.Reset(&Place{}, []byte{1, 1}, size))
	view, err := o.Map(size, true)
	must(t, err)
	mem := view.Mem
	if lines, known := proctest.Mappings(Path(p)); known && lines == nil {
		t.Fatal("the system does not list the mapping")
	}
	var stop atomic.Bool
	used := make(chan bool)
	go func() {
		for i := 2; !stop.Load(); i = (i+4099)%(size-2) + 2 {
			mem[i] = mem[1] // 1 from the object, then 0
		}
		close(used)
	}()
	time.Sleep(5 * time.Millisecond)
	must(t, view.Retire())
	if lines, _ := proctest.Mappings(Path(p)); lines != nil {
		t.Error("the file is still mapped:", lines)
	}
	time.Sleep(5 * time.Millisecond)
	stop.Store(true)
	<-used
	if mem[0] != 0 || mem[1] != 0 {
		t.Errorf("the memory holds %v", mem[:2])
	}
	mem[0] = 77
	head := make([]byte, 2)
	if _, err := o.ReadAt(head, 0); err != nil || !bytes.Equal(head, []byte{1, 1}) {
		t.Errorf("the object holds %v, %v", head, err)
	}
	must(t, view.Retire())
	must(t, view.Unmap())
}

func TestUnprotect(t *testing.T) {
	w, p := create(t)
	page := PageSize()
	must(t, w.Reset(&Place{}, nil, int64(2*page)))
	r, err := Open(p, true)
	must(t, err)
	defer r.Close()
	if w.ReadOnly() || !r.ReadOnly() {
		t.Error("ReadOnly is wrong")
	}

	view, err := r.Map(2*page, false)
	must(t, err)
	defer view.Unmap()
	want(t, view.Unprotect(0, page), fs.ErrPermission)
	_, err = r.Map(page, true)
	want(t, err, fs.ErrPermission)

	part, err := w.Map(2*page, false)
	must(t, err)
	defer part.Unmap()
	must(t, part.Unprotect(page, page))
	part.Mem[page] = 1
	if !proctest.Faults(func() { part.Mem[0] = 1 }) {
		t.Error("a page that was not asked for became writable")
	}
}

// TestAgain checks that a call is repeated as long as signals interrupt it, and
// not longer.
func TestAgain(t *testing.T) {
	for _, last := range []error{nil, unix.EIO} {
		calls := 0
		err := again(func() error {
			if calls++; calls < 5 {
				return unix.EINTR
			}
			return last
		})
		if calls != 5 || err != last {
			t.Errorf("%d calls, %v; want 5, %v", calls, err, last)
		}
	}
}

//go:build !sharedseg_portable

package segment_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/sharedseg/sharedseg"
	"github.com/sharedseg/sharedseg/codec"
	"github.com/sharedseg/sharedseg/internal/proctest"
	"github.com/sharedseg/sharedseg/segment"
	"golang.org/x/sys/unix"
)

// punch writes a file again, with holes where it is zero, as cp --sparse=always
// does.
func punch(t *testing.T, path string) {
	t.Helper()
	content, err := os.ReadFile(path)
	if err == nil {
		err = os.Remove(path)
	}
	must(t, err)
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_EXCL, 0o600)
	must(t, err)
	defer f.Close()
	must(t, f.Truncate(int64(len(content))))
	page := make([]byte, 4096)
	for at := 0; at < len(content); at += len(page) {
		if b := content[at:min(at+len(page), len(content))]; !bytes.Equal(b, page[:len(b)]) {
			if _, err := f.WriteAt(b, int64(at)); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// fillUp fills the file system of a directory. The function that it returns
// frees the space.
func fillUp(t *testing.T, dir string) func() {
	t.Helper()
	path := filepath.Join(dir, "full")
	if err := os.WriteFile(path, make([]byte, 64<<20), 0o600); err == nil {
		t.Fatal("the file system is not small")
	}
	return func() {
		if err := os.Remove(path); err != nil {
			t.Error(err)
		}
	}
}

// When a sparse file is opened, its memory is reserved again. If that fails,
// Open returns ErrNoSpace, not ErrCorrupt.
func TestSparseFile(t *testing.T) {
	if proctest.Emulated() {
		t.Skip("the emulator may lack fallocate")
	}
	dir := proctest.Mount(t, "tmpfs", "size=4m")
	o := &segment.Options{Dir: dir, Persist: true, Capacity: 256 << 10}
	s, err := segment.Open("x", codec.Bytes(), o)
	if err == nil {
		err = errors.Join(s.Store([]byte("value")), s.Close())
	}
	must(t, err)
	bare, err := segment.OpenBare("bare", 256<<10, codec.Fixed[[8]byte](), o)
	if err == nil {
		err = errors.Join(bare.Store([8]byte{7}), bare.Close())
	}
	must(t, err)
	punch(t, filepath.Join(dir, "x"))
	punch(t, filepath.Join(dir, "bare"))
	openBare := func() (*segment.Bare[[8]byte], error) {
		return segment.OpenBare("bare", 256<<10, codec.Fixed[[8]byte](), o)
	}

	empty := fillUp(t, dir)
	noSpace(t, "Open", closed(segment.Open("x", codec.Bytes(), o)), "Options.Dir")
	noSpace(t, "OpenReader", closed(segment.OpenReader("x", codec.Bytes(), o)), "Options.Dir")
	noSpace(t, "OpenBare", closed(openBare()), "Options.Dir")
	if info, err := sharedseg.Stat("x", o.Place()); err != nil || info.Capacity != 256<<10 {
		t.Errorf("Stat = %+v, %v", info, err)
	}
	empty()

	s = open(t, "x", codec.Bytes(), o)
	bare, err = openBare()
	must(t, err)
	defer bare.Close()
	defer fillUp(t, dir)()
	if v, err := s.Load(); string(v) != "value" || err != nil {
		t.Errorf("Load = %q, %v", v, err)
	}
	for range 4 {
		if err := s.Store(bytes.Repeat([]byte{1}, 256<<10)); err != nil {
			t.Error("a Store into a full file system:", err)
		}
	}
	if v, err := bare.Load(); v != [8]byte{7} || err != nil {
		t.Errorf("Load = %v, %v", v, err)
	}
	if err := bare.Store([8]byte{8}); err != nil {
		t.Error("a Store into a full file system:", err)
	}
}

// The same for a bare mapping.
func TestSparseBare(t *testing.T) {
	if !trapped() {
		proctest.NeedsFaultAddress(t)
	}
	dir := proctest.Mount(t, "tmpfs", "size=1m")
	b, err := segment.OpenBare("x", 64<<10, codec.Bytes(), &segment.Options{Dir: dir})
	must(t, err)
	defer b.Close()
	// A peer that knows nothing of this library truncates the file and extends
	// it again.
	for _, n := range []int64{0, 64 << 10} {
		must(t, os.Truncate(filepath.Join(dir, "x"), n))
	}
	defer fillUp(t, dir)()
	noSpace(t, "Store", b.Store([]byte("value")), "open the name again")
}

// A value that cannot be stored as a whole, because the file has holes and the
// file system is full, never becomes the current one.
func TestStoreIntoHoles(t *testing.T) {
	if proctest.Emulated() {
		t.Skip("the emulator may lack fallocate")
	}
	const size = 64 << 10
	value := bytes.Repeat([]byte{1}, size)
	for what, store := range map[string]func(s *segment.Segment[[]byte]) error{
		"Store":  func(s *segment.Segment[[]byte]) error { return s.Store(value) },
		"Update": func(s *segment.Segment[[]byte]) error { return s.Update(func(*[]byte) error { return nil }) },
		"Publish": func(s *segment.Segment[[]byte]) error {
			l, err := s.Loan(t.Context())
			if err != nil {
				return err
			}
			_, err = l.Publish(copy(l.Bytes(), value))
			return err
		},
	} {
		t.Run(what, func(t *testing.T) {
			if what == "Publish" && !trapped() {
				t.Skip("the fault would be in the caller's own code")
			}
			dir := proctest.Mount(t, "tmpfs", "size=1m")
			o := &segment.Options{Dir: dir, Capacity: size, Slots: 2}
			s, other := open(t, "x", codec.Bytes(), o), open(t, "x", codec.Bytes(), o)
			for range 2 {
				must(t, s.Store(value))
			}
			// The next value is stored in the last slot, whose middle is a hole.
			f, err := os.OpenFile(filepath.Join(dir, "x"), os.O_RDWR, 0)
			must(t, err)
			defer f.Close()
			info, err := f.Stat()
			must(t, err)
			must(t, unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, info.Size()-size/2, size/4))
			free := fillUp(t, dir)
			noSpace(t, what, store(s), "open the name again")
			free()
			v, err := other.Load()
			if !bytes.Equal(v, value) || other.Version() != 2 || err != nil {
				t.Errorf("version %d has %d bytes, %d of them stored, %v", other.Version(), len(v), bytes.Count(v, value[:1]), err)
			}
			must(t, other.Store(value)) // the lock is free
		})
	}
}

package segment_test

import (
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sharedseg/sharedseg"
	"github.com/sharedseg/sharedseg/codec"
	"github.com/sharedseg/sharedseg/internal/mapping"
	"github.com/sharedseg/sharedseg/internal/proctest"
	"github.com/sharedseg/sharedseg/segment"
)

// registrar NAME DIR holds the registry of the segment NAME in DIR, as a handle
// does while it opens or closes, until the test says something.
func registrar(args []string) error {
	o, err := mapping.Enter(&mapping.Place{Name: args[0], Dir: args[1]}, false, false, proctest.Patience)
	if err != nil {
		return err
	}
	defer o.Close()
	fmt.Println("opening")
	proctest.Await()
	return nil
}

func init() { roles["registrar"] = registrar }

// A handle that is stopped while it opens or closes blocks others for a bounded
// time.
func TestStoppedOpener(t *testing.T) {
	t.Parallel() // it mostly waits
	dir := proctest.TempDir(t)
	o := &segment.Options{Dir: dir}
	s := open(t, "x", codec.String(), o)
	p := proctest.Start(t, "registrar", "x", dir)
	p.Expect("opening")
	_, err := segment.Open("x", codec.String(), o)
	want(t, err, os.ErrDeadlineExceeded)
	if err == nil || !strings.Contains(err.Error(), "stopped") {
		t.Errorf("%v does not name the reason", err)
	}
	if err := s.Store("goes on"); err != nil {
		t.Error(err)
	}
}

// A peer can write a capacity that is too small for the type. A Store must not
// write beyond its slot then.
func TestCapacityBelowType(t *testing.T) {
	type big [1 << 20]byte
	dir := proctest.TempDir(t)
	o := &segment.Options{Dir: dir, Persist: true}
	for _, capacity := range []int{0, 1<<20 - 1} {
		fake := open(t, "x", idOf[big]{codec.Bytes()}, &segment.Options{Dir: dir, Persist: true, Capacity: max(capacity, 1)})
		fake.Close()
		if capacity == 0 {
			patch(t, filepath.Join(dir, "x"), 40, 0)
			patch(t, filepath.Join(dir, "x"), 48, 64) // no room except for the slot's header
		}
		_, err := segment.Open("x", codec.Fixed[big](), o)
		want(t, err, sharedseg.ErrCorrupt)
		_, err = segment.OpenReader("x", codec.Fixed[big](), o)
		want(t, err, sharedseg.ErrCorrupt)
		must(t, sharedseg.Remove("x", o.Place()))
	}
}

// idOf encodes bytes with the ID of Fixed[T].
type idOf[T any] struct{ codec.Codec[[]byte] }

func (idOf[T]) ID() string { return codec.Fixed[T]().ID() }

func patch(t *testing.T, path string, off int64, v uint64) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	must(t, err)
	defer f.Close()
	if _, err := f.WriteAt(binary.NativeEndian.AppendUint64(nil, v), off); err != nil {
		t.Fatal(err)
	}
}

// A peer that writes the identity of this handle into the lock does not block
// Close.
func TestCloseWithForgedOwner(t *testing.T) {
	dir := proctest.TempDir(t)
	s := open(t, "x", codec.String(), &segment.Options{Dir: dir})
	const mutex, generations = 128, 256
	path := filepath.Join(dir, "x")
	b, err := os.ReadFile(path)
	must(t, err)
	slot := uint32(0) // the slot of the first handle
	generation := binary.NativeEndian.Uint32(b[generations+4*slot:])
	patch(t, path, mutex, uint64(generation<<10|slot))
	closed := make(chan error)
	go func() { closed <- s.Close() }()
	select {
	case err := <-closed:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(proctest.Patience):
		t.Fatal("Close hangs")
	}
}

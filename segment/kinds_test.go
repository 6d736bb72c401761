package segment_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"github.com/sharedseg/sharedseg"
	"github.com/sharedseg/sharedseg/codec"
	"github.com/sharedseg/sharedseg/internal/layout"
	"github.com/sharedseg/sharedseg/internal/mapping"
	"github.com/sharedseg/sharedseg/internal/proctest"
	"github.com/sharedseg/sharedseg/segment"
	"github.com/sharedseg/sharedseg/sync"
)

// A mistake of the caller returns an error matching fs.ErrInvalid. ErrCorrupt
// is for states that no correct peer writes.

// kinds returns all ways to open a name.
func kinds(name string, o *segment.Options) map[string]func() error {
	return map[string]func() error{
		"Open":       func() error { return closed(segment.Open(name, codec.String(), o)) },
		"Create":     func() error { return closed(segment.Create(name, codec.String(), o)) },
		"Attach":     func() error { return closed(segment.Attach(name, codec.String(), o)) },
		"OpenReader": func() error { return closed(segment.OpenReader(name, codec.String(), o)) },
		"OpenBare":   func() error { return closed(segment.OpenBare(name, 8, codec.Bytes(), o)) },
		"OpenMutex": func() error {
			return closed(ipcsync.OpenMutex(name, &ipcsync.Options{Dir: o.Dir, Mode: o.Mode}))
		},
		"Stat":       func() error { _, err := sharedseg.Stat(name, o.Place()); return err },
		"Remove":     func() error { return sharedseg.Remove(name, o.Place()) },
		"RemoveBare": func() error { return segment.RemoveBare(name, o) },
	}
}

// TestOpaque reads and stores values of a type of which only the codec ID is
// known.
func TestOpaque(t *testing.T) {
	name := proctest.Name(t)
	s := open(t, name, codec.Fixed[point](), nil)
	must(t, s.Store(point{1, 2}))
	info, err := sharedseg.Stat(name, nil)
	must(t, err)
	r, err := segment.OpenReader(name, codec.Opaque(info.Codec), nil)
	must(t, err)
	b, err := r.Load()
	must(t, errors.Join(err, r.Close()))
	var p point
	if err := codec.Fixed[point]().Decode(b, &p); err != nil || p != (point{1, 2}) {
		t.Errorf("the value is %v, %v", p, err)
	}
	if b, err = codec.Fixed[point]().Append(b[:0], point{3, 4}); err != nil {
		t.Fatal(err)
	}
	w, err := segment.Attach(name, codec.Opaque(info.Codec), nil)
	must(t, err)
	must(t, errors.Join(w.Store(b), w.Close()))
	if p, err = s.Load(); err != nil || p != (point{3, 4}) {
		t.Errorf("Load = %v, %v", p, err)
	}
	_, err = segment.OpenReader(name, codec.Opaque("bytes"), nil)
	want(t, err, sharedseg.ErrIncompatible)
	_, err = segment.Open(proctest.Name(t), codec.Opaque(""), nil)
	want(t, err, fs.ErrInvalid)
}

// closed closes h if it was opened. It returns the error of either.
func closed[H interface{ Close() error }](h H, err error) error {
	if err == nil {
		return h.Close()
	}
	return err
}

// opens opens a name in all ways that take a codec.
func opens[T any](name string, size int, c codec.Codec[T], o *segment.Options) map[string]error {
	return map[string]error{
		"Open":       closed(segment.Open(name, c, o)),
		"Create":     closed(segment.Create(name, c, o)),
		"Attach":     closed(segment.Attach(name, c, o)),
		"OpenReader": closed(segment.OpenReader(name, c, o)),
		"OpenBare":   closed(segment.OpenBare(name, size, c, o)),
	}
}

// sizedCodec is a codec with a given ID and a given size of values.
type sizedCodec struct {
	codec.Codec[[]byte]
	id   string
	size int
}

func (c sizedCodec) ID() string { return c.id }
func (c sizedCodec) Size() int  { return c.size }

// Invalid parameters are refused before a file is created.
func TestInvalid(t *testing.T) {
	o := &segment.Options{Dir: proctest.TempDir(t)}
	invalid := func(what string, err error, texts ...string) {
		t.Helper()
		if !errors.Is(err, fs.ErrInvalid) {
			t.Errorf("%s: %v", what, err)
			return
		}
		for _, text := range texts {
			if !strings.Contains(err.Error(), text) {
				t.Errorf("%s: %q does not contain %q", what, err, text)
			}
		}
	}
	for how, err := range opens("x", 8, codec.Codec[[]byte](sizedCodec{codec.Bytes(), "", 8}), o) {
		invalid(how+" with an empty ID", err, "ID")
	}
	for how, err := range opens("x", 8, codec.Codec[[]byte](sizedCodec{codec.Bytes(), "id", -1}), o) {
		invalid(how+" with a negative size", err, "-1")
	}
	tooLong := strings.Repeat("x", 1<<20+1)
	for how, err := range opens("x", 8, codec.Codec[[]byte](sizedCodec{codec.Bytes(), tooLong, 8}), o) {
		if how != "OpenBare" { // it keeps no ID
			invalid(how+" with a long ID", err, "1048577", "1048576")
		}
	}
	const maxInt = int(^uint(0) >> 1)
	for _, c := range []segment.Options{
		{Capacity: maxInt}, {Capacity: maxInt / 2}, {Capacity: maxInt / 4, Slots: 65536}, {Capacity: maxInt / 65536, Slots: 65536},
		{Capacity: -1}, {Slots: 1}, {Slots: 65537},
	} {
		c.Dir = o.Dir
		for _, how := range []string{"Open", "Create", "Attach", "OpenReader"} {
			invalid(fmt.Sprintf("%s of %d slots of %d bytes", how, c.Slots, c.Capacity), kinds("x", &c)[how]())
		}
	}
	dirs := []string{o.Dir + "\x00", "\x00", strings.Repeat("d/", 1<<15)}
	if runtime.GOOS != "windows" {
		dirs = append(dirs, strings.Repeat("d/", 3000), strings.Repeat("d", 300))
	}
	for _, dir := range dirs {
		for how, do := range kinds("x", &segment.Options{Dir: dir}) {
			invalid(fmt.Sprintf("%s in %.10q", how, dir), do(), "Options.Dir")
		}
		for _, err := range sharedseg.List(&sharedseg.Place{Dir: dir}) {
			invalid(fmt.Sprintf("List of %.10q", dir), err, "sharedseg: list: invalid argument: ", "Options.Dir")
		}
		_, err := sharedseg.Sweep(&sharedseg.Place{Dir: dir})
		invalid(fmt.Sprintf("Sweep of %.10q", dir), err, "sharedseg: sweep: invalid argument: ", "Options.Dir")
	}
	if entries, err := os.ReadDir(o.Dir); len(entries) != 0 || err != nil {
		t.Errorf("left: %v, %v", entries, err)
	}
}

// A struct can have thousands of fields, for example if it is generated, and
// each is part of the codec ID.
func TestManyFields(t *testing.T) {
	c := sizedCodec{codec.Bytes(), "fixed/le:" + strings.Repeat("é", (1<<20-9)/2), 32}
	o := &segment.Options{Dir: proctest.TempDir(t), Persist: true}
	s := open(t, "x", codec.Codec[[]byte](c), o)
	value := []byte(strings.Repeat("v", 32))
	must(t, s.Store(value))
	r, err := segment.OpenReader("x", codec.Codec[[]byte](c), o)
	must(t, err)
	defer r.Close()
	if v, err := r.Load(); string(v) != string(value) || err != nil {
		t.Errorf("Load = %q, %v", v, err)
	}
	if info, err := sharedseg.Stat("x", o.Place()); err != nil || info.Codec != c.id {
		t.Errorf("Stat: an ID of %d bytes, %v", len(info.Codec), err)
	}
	// The text shows where two long IDs differ.
	other := c
	other.id = c.id[:1<<19-1] + "#" + c.id[1<<19:]
	err = closed(segment.Open("x", codec.Codec[[]byte](other), o))
	want(t, err, sharedseg.ErrIncompatible)
	if err != nil && (len(err.Error()) > 4000 || !strings.Contains(err.Error(), "#")) {
		t.Errorf("the text has %d bytes: %.500s", len(err.Error()), err)
	}
}

// A value of another shape is not corruption: a program of another version
// stored it.
func TestValueOfAnotherShape(t *testing.T) {
	o := &segment.Options{Dir: proctest.TempDir(t)}
	old := open(t, "x", codec.JSON[map[string]int](), o)
	must(t, old.Store(map[string]int{"x": 1}))
	s := open(t, "x", codec.JSON[[]string](), o)
	r, err := segment.OpenReader("x", codec.JSON[[]string](), o)
	must(t, err)
	defer r.Close()
	undecodable := func(what string, err error) {
		t.Helper()
		if !errors.Is(err, codec.ErrMalformed) || errors.Is(err, sharedseg.ErrCorrupt) ||
			!strings.Contains(err.Error(), "does not decode as []string; Store replaces it") {
			t.Errorf("%s: %v", what, err)
		}
	}
	for what, h := range map[string]readable[[]string]{"Segment": s, "Reader": r} {
		v, err := h.Load()
		undecodable("Load of a "+what, err)
		if v != nil {
			t.Errorf("the value beside the error is %q", v)
		}
		_, err = h.LoadInto(&v)
		undecodable("LoadInto of a "+what, err)
		for _, err := range h.Watch(t.Context()) {
			undecodable("Watch of a "+what, err)
			break
		}
	}
	undecodable("Update", s.Update(func(*[]string) error { t.Error("Update ran"); return nil }))
	must(t, s.Store([]string{"new"}))
	if v, err := r.Load(); len(v) != 1 || err != nil {
		t.Errorf("Load = %q, %v", v, err)
	}
	_, err = old.Load()
	if !errors.Is(err, codec.ErrMalformed) {
		t.Error(err)
	}

	bare, err := segment.OpenBare("bare", 16, codec.JSON[[]string](), o)
	must(t, err)
	defer bare.Close()
	_, err = bare.Load()
	undecodable("Load of a Bare", err)
}

// A codec of a caller need not wrap ErrMalformed.
func TestForeignDecodeError(t *testing.T) {
	s := open(t, "x", codec.Codec[string](erring{}), &segment.Options{Dir: proctest.TempDir(t)})
	must(t, s.Store("x"))
	_, err := s.Load()
	want(t, err, codec.ErrMalformed)
	want(t, err, errErring)
}

var errErring = errors.New("an error of the codec")

type erring struct{}

func (erring) ID() string                                { return "erring" }
func (erring) Append(b []byte, v string) ([]byte, error) { return append(b, v...), nil }
func (erring) Decode([]byte, *string) error              { return errErring }

// The error about an older version of a type names two remedies, and both work.
func TestOlderType(t *testing.T) {
	type oldType struct{ A, B uint32 }
	type newType struct {
		A, B uint32
		C    uint64
	}
	o := &segment.Options{Dir: proctest.TempDir(t), Persist: true}
	old := open(t, "x", codec.Fixed[oldType](), o)
	must(t, old.Store(oldType{1, 2}))
	err := closed(segment.Open("x", codec.Fixed[newType](), o))
	want(t, err, sharedseg.ErrIncompatible)
	for _, text := range []string{"open it as the old type and copy", "sharedseg.Remove", "oldType", "newType", "C uint64@8"} {
		if err == nil || !strings.Contains(err.Error(), text) {
			t.Errorf("%v does not contain %q", err, text)
		}
	}
	v, err := old.Load()
	must(t, errors.Join(err, old.Close(), sharedseg.Remove("x", o.Place())))
	s := open(t, "x", codec.Fixed[newType](), o)
	if err := s.Store(newType{v.A, v.B, 3}); err != nil {
		t.Error(err)
	}
	if v, err := s.Load(); v != (newType{1, 2, 3}) || err != nil {
		t.Errorf("Load = %v, %v", v, err)
	}
}

// A missing segment has one error, whether it never existed or its users died.
func TestAbsent(t *testing.T) {
	o := &segment.Options{Dir: proctest.TempDir(t)}
	s, err := segment.Open("x", codec.String(), o)
	must(t, err)
	image, err := os.ReadFile(filepath.Join(o.Dir, "x"))
	if err == nil {
		err = errors.Join(s.Close(), os.WriteFile(filepath.Join(o.Dir, "stale"), image, 0o600),
			os.WriteFile(filepath.Join(o.Dir, "begun"), image[:16], 0o600))
	}
	must(t, err)
	const text = ": neither in use nor persistent: file does not exist"
	for _, name := range []string{"never", "stale", "begun"} {
		for how, do := range kinds(name, o) {
			switch how {
			case "Open", "Create", "OpenBare", "OpenMutex", "Remove", "RemoveBare":
				continue
			case "Stat":
				if name == "stale" {
					continue // it describes what the dead left
				}
			}
			if err := do(); !errors.Is(err, fs.ErrNotExist) || !strings.HasSuffix(err.Error(), text) {
				t.Errorf("%s of %q: %v", how, name, err)
			}
		}
	}
	if err := sharedseg.Remove("never", o.Place()); err == nil || !strings.HasSuffix(err.Error(), text) {
		t.Errorf("Remove: %v", err)
	}
	if err := sharedseg.Remove("never", (*ipcsync.Options)(nil).Place()); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Remove: %v", err)
	}
}

// giant creates the file of a persistent segment that is larger than the
// address space of a 32-bit process. The file is sparse.
func giant(t *testing.T, path string) *layout.Geometry {
	t.Helper()
	g := &layout.Geometry{
		Kind: layout.KindSegment, Persist: true, Slots: 3, Capacity: 3 << 30, CodecID: codec.Bytes().ID(), TypeName: "[]uint8",
	}
	must(t, g.Place(mapping.PageSize()))
	head := make([]byte, 16<<10)
	copy(head, layout.Mark(false))
	g.Init(head)
	err := os.WriteFile(path, head, 0o600)
	if err == nil {
		err = os.Truncate(path, g.Size())
	}
	if err != nil {
		t.Skip("the file system has no files of 9 GiB: ", err)
	}
	return g
}

// A segment that is too large for the address space of this process is intact,
// and others can use it.
func TestTooLargeToAddress(t *testing.T) {
	o := &segment.Options{Dir: proctest.TempDir(t)}
	g := giant(t, filepath.Join(o.Dir, "giant"))
	info, err := sharedseg.Stat("giant", o.Place())
	if err != nil || info.Size != g.Size() || info.Capacity != g.Capacity || info.Slots != 3 {
		t.Errorf("Stat = %+v, %v", info, err)
	}
	found := 0
	for info, err := range sharedseg.List(o.Place()) {
		found++
		if err != nil || info.Capacity != g.Capacity {
			t.Errorf("List has %+v, %v", info, err)
		}
	}
	if found != 1 {
		t.Errorf("List has the segment %d times", found)
	}
	if strconv.IntSize == 64 {
		return // 64 bits are enough, but the memory of the machine need not be
	}
	for _, how := range []string{"Open", "Attach", "OpenReader"} {
		err := map[string]error{
			"Open": closed(segment.Open("giant", codec.Bytes(), o)), "Attach": closed(segment.Attach("giant", codec.Bytes(), o)),
			"OpenReader": closed(segment.OpenReader("giant", codec.Bytes(), o)),
		}[how]
		want(t, err, sharedseg.ErrIncompatible)
		if err == nil || !strings.Contains(err.Error(), "32-bit") {
			t.Errorf("%s: %v", how, err)
		}
	}
}

package segment_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/sharedseg/sharedseg"
	"github.com/sharedseg/sharedseg/codec"
	"github.com/sharedseg/sharedseg/internal/proctest"
	"github.com/sharedseg/sharedseg/segment"
	"github.com/sharedseg/sharedseg/sync"
)

type point struct{ X, Y uint64 }

type flags struct {
	On bool
	N  int32
}

// conform checks what holds for every codec, guard and kind of handle. The zero
// value comes before the first Store. All handles load each stored value whole.
// Versions are counted. Update is one step, which an error or a panic undoes.
func conform[T any](t *testing.T, c codec.Codec[T], values ...T) {
	for _, o := range []segment.Options{
		{},
		{LockReads: true},
		{LockReads: true, Slots: 2},
		{Slots: 5, Persist: true, Mode: 0o640, Dir: proctest.TempDir(t)},
	} {
		t.Run(fmt.Sprintf("%T/%+v", c, o), func(t *testing.T) {
			name := proctest.Name(t)
			s := open(t, name, c, &o)
			other := open(t, name, c, &segment.Options{Dir: o.Dir})
			r, err := segment.OpenReader(name, c, &segment.Options{Dir: o.Dir})
			must(t, err)
			defer r.Close()
			defer sharedseg.Remove(name, o.Place())
			if !s.Created() || other.Created() {
				t.Errorf("Created: first %v, second %v", s.Created(), other.Created())
			}
			check := func(want T, version uint64) {
				t.Helper()
				for _, h := range []readable[T]{s, other, r} {
					got, err := h.Load()
					must(t, err)
					if diff := cmp.Diff(want, got); diff != "" {
						t.Errorf("Load (-want +got):\n%s", diff)
					}
					into := values[len(values)-1]
					if v, err := h.LoadInto(&into); err != nil || v != version || !cmp.Equal(into, want) {
						t.Errorf("LoadInto = %v, %d, %v; want %v, %d", into, v, err, want, version)
					}
					if h.Version() != version {
						t.Errorf("Version = %d, want %d", h.Version(), version)
					}
				}
			}
			var zero T
			check(zero, 0)
			version := uint64(0)
			for _, v := range values {
				for _, h := range []*segment.Segment[T]{s, other} {
					must(t, h.Store(v))
					version++
					check(v, version)
				}
			}
			last := values[len(values)-1]
			failure := errors.New("no")
			want(t, s.Update(func(v *T) error { *v = values[0]; return failure }), failure)
			check(last, version)
			func() {
				defer func() {
					if p := recover(); p != "oops" {
						t.Errorf("Update panicked with %v", p)
					}
				}()
				s.Update(func(v *T) error { *v = values[0]; panic("oops") })
			}()
			check(last, version)
			if err := other.Update(func(v *T) error {
				if !cmp.Equal(*v, last) {
					t.Errorf("Update got %v, want %v", *v, last)
				}
				*v = values[0]
				return nil
			}); err != nil {
				t.Fatal(err)
			}
			check(values[0], version+1)
		})
	}
}

func TestConform(t *testing.T) {
	conform(t, codec.Fixed[point](), point{1, 2}, point{math.MaxUint64, 0})
	conform(t, codec.Fixed[flags](), flags{true, -1}, flags{false, 7})
	conform(t, codec.String(), "a", "", "longer than the one before", strings.Repeat("x", 4096))
	conform(t, codec.UTF16(), "a", "", "grüße 𝄞", strings.Repeat("x", 2047))
	conform(t, codec.Bytes(), []byte("abc"), []byte{0}, make([]byte, 4096))
	conform(t, codec.JSON[map[string]int](), map[string]int{"a": 1}, map[string]int{"b": 2})
	conform(t, codec.Gob[[]string](), []string{"a", "b"}, []string{"c"})
	conform(t, codec.Binary[time.Time](), time.Unix(1, 2).UTC(), time.Unix(3, 4).UTC())
}

func TestLoadedBytesAreACopy(t *testing.T) {
	s := open(t, proctest.Name(t), codec.Bytes(), nil)
	stored := []byte("mine")
	must(t, s.Store(stored))
	stored[0] = 'X'
	a, _ := s.Load()
	for range 10 {
		must(t, s.Store([]byte("others")))
	}
	if string(a) != "mine" {
		t.Errorf("a loaded value became %q", a)
	}
}

func TestTooLarge(t *testing.T) {
	for _, c := range []struct {
		codec codec.Codec[string]
		fits  string
	}{
		{codec.String(), strings.Repeat("x", 100)},
		{codec.UTF16(), strings.Repeat("x", 49)},
		{codec.JSON[string](), strings.Repeat("x", 98)},
	} {
		s := open(t, proctest.Name(t), c.codec, &segment.Options{Capacity: 100})
		must(t, s.Store(c.fits))
		for _, long := range []string{c.fits + "x", strings.Repeat(c.fits, 50)} {
			want(t, s.Store(long), sharedseg.ErrTooLarge)
			want(t, s.Update(func(v *string) error { *v = long; return nil }), sharedseg.ErrTooLarge)
			if v, err := s.Load(); v != c.fits || err != nil || s.Version() != 1 {
				t.Errorf("after ErrTooLarge Load = %q, %v, version %d", v, err, s.Version())
			}
		}
	}
}

// The texts of errors are for people: each must tell what exists, what was
// asked for, or what to do.
func TestRefusals(t *testing.T) {
	dir := proctest.TempDir(t)
	o := &segment.Options{Dir: dir}
	fixed := open(t, "fixed", codec.Fixed[struct{ A, B uint64 }](), &segment.Options{Dir: dir, Capacity: 16})
	fixed.Store(struct{ A, B uint64 }{1, 2})
	text := open(t, "text", codec.String(), o)
	text.Store("kept")
	mutex, err := ipcsync.OpenMutex("mutex", &ipcsync.Options{Dir: dir})
	must(t, err)
	defer mutex.Close()
	for name, content := range map[string]string{"foreign": "this is not a segment", "zeros": string(make([]byte, 8192))} {
		must(t, os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600))
	}
	must(t, os.Mkdir(filepath.Join(dir, "directory"), 0o700))

	openText := func(name string, o segment.Options) func() error {
		return func() error {
			o.Dir = dir
			s, err := segment.Open(name, codec.String(), &o)
			if err == nil {
				s.Close()
			}
			return err
		}
	}
	for _, c := range []struct {
		what string
		do   func() error
		is   error
		text []string
	}{
		{"type of equal size", func() error {
			_, err := segment.Open("fixed", codec.Fixed[struct{ A, B float64 }](), o)
			return err
		}, sharedseg.ErrIncompatible, []string{"struct { A uint64; B uint64 }", "struct { A float64; B float64 }", "A uint64@0", "A float64@0"}},
		{"codec", func() error { _, err := segment.Attach("text", codec.UTF16(), o); return err },
			sharedseg.ErrIncompatible, []string{"string/utf-8", "string/utf-16le"}},
		{"reader's codec", func() error { _, err := segment.OpenReader("text", codec.Bytes(), o); return err },
			sharedseg.ErrIncompatible, []string{"string/utf-8", "bytes"}},
		{"capacity", openText("text", segment.Options{Capacity: 8192}), sharedseg.ErrIncompatible, []string{"Capacity is 4096", "8192"}},
		{"slots", openText("text", segment.Options{Slots: 9}), sharedseg.ErrIncompatible, []string{"Slots is 3", "9"}},
		{"LockReads", openText("text", segment.Options{LockReads: true}), sharedseg.ErrIncompatible, []string{"LockReads", "false", "true"}},
		{"persist", openText("text", segment.Options{Persist: true}), sharedseg.ErrIncompatible, []string{"Persist"}},
		{"mode", openText("text", segment.Options{Mode: 0o644}), sharedseg.ErrIncompatible, []string{"-rw-------", "-rw-r--r--"}},
		{"mutex", openText("mutex", segment.Options{}), sharedseg.ErrIncompatible, []string{"mutex, not a segment"}},
		{"segment for a mutex", func() error { _, err := ipcsync.OpenMutex("text", &ipcsync.Options{Dir: dir}); return err },
			sharedseg.ErrIncompatible, []string{"segment, not a mutex"}},
		{"segment for a bare mapping", func() error { _, err := segment.OpenBare("text", 64, codec.UTF16(), o); return err },
			sharedseg.ErrIncompatible, []string{"not a bare mapping"}},
		{"foreign file", openText("foreign", segment.Options{}), sharedseg.ErrIncompatible, []string{"not a sharedseg mapping"}},
		{"file of zeros", openText("zeros", segment.Options{}), sharedseg.ErrIncompatible, []string{"not a sharedseg mapping"}},
		{"directory", openText("directory", segment.Options{}), sharedseg.ErrIncompatible, []string{"directory"}},
		{"exists", func() error { _, err := segment.Create("text", codec.String(), o); return err }, fs.ErrExist, nil},
		{"does not exist", func() error { _, err := segment.Attach("none", codec.String(), o); return err }, fs.ErrNotExist, nil},
		{"nothing to read", func() error { _, err := segment.OpenReader("none", codec.String(), o); return err }, fs.ErrNotExist, nil},
		{"nothing to remove", func() error { return sharedseg.Remove("none", o.Place()) }, fs.ErrNotExist, nil},
		{"no directory", func() error {
			_, err := segment.Open("x", codec.String(), &segment.Options{Dir: filepath.Join(dir, "no", "where")})
			return err
		}, fs.ErrNotExist, []string{"does not exist", "Options.Dir"}},
		{"empty name", openText("", segment.Options{}), fs.ErrInvalid, []string{"1 to 200"}},
		{"long name", openText(strings.Repeat("x", 201), segment.Options{}), fs.ErrInvalid, []string{"1 to 200", "201"}},
		{"dotted name", openText(".hidden", segment.Options{}), fs.ErrInvalid, []string{"dot"}},
		{"path for a name", openText("a/b", segment.Options{}), fs.ErrInvalid, []string{"'/'"}},
		{"NUL in the name", openText("a\x00b", segment.Options{}), fs.ErrInvalid, nil},
		{"umlaut in the name", openText("ä", segment.Options{}), fs.ErrInvalid, nil},
		{"negative capacity", openText("x", segment.Options{Capacity: -1}), fs.ErrInvalid, []string{"-1"}},
		{"huge capacity", openText("x", segment.Options{Capacity: math.MaxInt}), fs.ErrInvalid, nil},
		{"one slot", openText("x", segment.Options{Slots: 1}), fs.ErrInvalid, []string{"Slots is 1"}},
		{"executable mode", openText("x", segment.Options{Mode: 0o700}), fs.ErrInvalid, nil},
		{"mode without its owner", openText("x", segment.Options{Mode: 0o066}), fs.ErrInvalid, nil},
		{"nil codec", func() error { _, err := segment.Open[string]("x", nil, o); return err }, fs.ErrInvalid, []string{"codec is nil"}},
		{"pointer in Fixed", func() error { _, err := segment.Open("x", codec.Fixed[struct{ P *int }](), o); return err },
			codec.ErrType, []string{"P", "*int"}},
		{"capacity below Fixed", func() error {
			_, err := segment.Open("x", codec.Fixed[point](), &segment.Options{Dir: dir, Capacity: 8})
			return err
		}, sharedseg.ErrTooLarge, []string{"8 bytes", "16"}},
	} {
		err := c.do()
		if c.what == "mode" && runtime.GOOS == "windows" {
			c.is, c.text = nil, nil // it has none
		}
		if !errors.Is(err, c.is) {
			t.Errorf("%s: error is %v, want %v", c.what, err, c.is)
			continue
		}
		for _, text := range c.text {
			if !strings.Contains(err.Error(), text) {
				t.Errorf("%s: %q does not contain %q", c.what, err, text)
			}
		}
	}
	if v, err := text.Load(); v != "kept" || err != nil {
		t.Errorf("after all refusals Load = %q, %v", v, err)
	}
	for name := range map[string]bool{"foreign": true, "zeros": true} {
		if b, err := os.ReadFile(filepath.Join(dir, name)); err != nil || string(b) != map[string]string{"foreign": "this is not a segment", "zeros": string(make([]byte, 8192))}[name] {
			t.Errorf("%s changed: %v", name, err)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "x")); !errors.Is(err, fs.ErrNotExist) {
		t.Error("a refused Open left a file:", err)
	}
}

func TestPersist(t *testing.T) {
	name := proctest.Name(t)
	at := &segment.Options{}
	if runtime.GOOS == "windows" {
		_, err := segment.Open(name, codec.String(), &segment.Options{Persist: true})
		want(t, err, errors.ErrUnsupported) // the page file frees it
		at.Dir = proctest.TempDir(t)
	}
	o := &segment.Options{Persist: true, Dir: at.Dir}
	s := open(t, name, codec.String(), o)
	defer sharedseg.Remove(name, o.Place())
	must(t, s.Store("kept"))
	s.Close()
	s, err := segment.Attach(name, codec.String(), at)
	must(t, err)
	defer s.Close()
	if v, err := s.Load(); v != "kept" || err != nil || s.Version() != 1 || s.Created() {
		t.Errorf("Load = %q, %v, version %d, created %v", v, err, s.Version(), s.Created())
	}
	if _, err := segment.Create(name, codec.String(), o); !errors.Is(err, fs.ErrExist) {
		t.Error("Create of a persistent segment:", err)
	}
	if err := sharedseg.Remove(name, o.Place()); runtime.GOOS == "windows" {
		want(t, err, errors.ErrUnsupported)
		s.Close()
		must(t, sharedseg.Remove(name, o.Place()))
		if !open(t, name, codec.Bytes(), at).Created() {
			t.Error("the name was not free after Remove")
		}
		return
	} else if err != nil {
		t.Fatal(err)
	}
	// Open handles go on, and the name is free.
	if err := s.Store("still mine"); err != nil {
		t.Error(err)
	}
	fresh := open(t, name, codec.Bytes(), nil)
	if !fresh.Created() {
		t.Error("the name was not free after Remove")
	}
	s.Close()
	if _, err := sharedseg.Stat(name, nil); err != nil {
		t.Error("closing the removed segment removed the new one:", err)
	}
}

func TestStatAndList(t *testing.T) {
	o := &segment.Options{Dir: proctest.TempDir(t), Capacity: 100, Slots: 4, LockReads: true, Mode: 0o664}
	s := open(t, "a", codec.UTF16(), o)
	s2 := open(t, "a", codec.UTF16(), &segment.Options{Dir: o.Dir})
	must(t, errors.Join(s.Store("1"), s2.Store("2")))
	open(t, "b", codec.String(), &segment.Options{Dir: o.Dir})
	must(t, os.WriteFile(filepath.Join(o.Dir, "foreign"), []byte("x"), 0o600))
	r, err := segment.OpenReader("a", codec.UTF16(), o)
	must(t, err)
	defer r.Close()
	info, err := sharedseg.Stat("a", o.Place())
	must(t, err)
	size := info.Size
	info.Size = 0
	want := sharedseg.Info{Name: "a", Path: filepath.Join(o.Dir, "a"), Codec: "string/utf-16le", Type: "string", Capacity: 100,
		Kind: sharedseg.KindSegment, Slots: 4, LockReads: true, Mode: proctest.Mode(0o664), Version: 2,
		Writers: 2, Holders: []int{os.Getpid(), os.Getpid()}, Readers: 1, Lock: sharedseg.Lock{State: sharedseg.LockFree}}
	if id := os.Getuid(); id >= 0 {
		want.Owner = strconv.Itoa(id)
	}
	if diff := cmp.Diff(want, info); diff != "" || size < 4*100 {
		t.Errorf("Stat (-want +got), size %d:\n%s", size, diff)
	}
	var names []string
	for info, err := range sharedseg.List(&sharedseg.Place{Dir: o.Dir}) {
		if err != nil {
			t.Error(err)
		}
		names = append(names, info.Name)
	}
	if !slices.Equal(names, []string{"a", "b"}) {
		t.Errorf("List gives %v", names)
	}
}

func TestClosed(t *testing.T) {
	s := open(t, proctest.Name(t), codec.Fixed[point](), nil)
	u := open(t, proctest.Name(t), codec.String(), nil)
	must(t, errors.Join(s.Store(point{1, 2}), u.Store("x"), s.Close(), u.Close(), s.Close()))
	ctx := t.Context()
	_, err := s.Load()
	want(t, err, fs.ErrClosed)
	_, err = u.LoadContext(ctx)
	want(t, err, fs.ErrClosed)
	var p point
	_, err = s.LoadInto(&p)
	want(t, err, fs.ErrClosed)
	want(t, s.Store(point{}), fs.ErrClosed)
	want(t, u.StoreContext(ctx, "y"), fs.ErrClosed)
	want(t, s.Update(func(*point) error { t.Error("Update ran"); return nil }), fs.ErrClosed)
	_, err = s.Wait(ctx, 0)
	want(t, err, fs.ErrClosed)
	n := 0
	for _, err := range u.Watch(ctx) {
		want(t, err, fs.ErrClosed)
		n++
	}
	if n != 1 || s.Version() != 0 {
		t.Errorf("%d errors from Watch, version %d", n, s.Version())
	}
	var e *sharedseg.Error
	if !errors.As(err, &e) || e.Op != "wait" || e.Name == "" {
		t.Errorf("%#v is not a *sharedseg.Error with this Op and Name", err)
	}
}

func TestWait(t *testing.T) {
	s := open(t, proctest.Name(t), codec.String(), nil)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() {
		_, err := s.Wait(ctx, 0)
		ended <- err
	}()
	cancel()
	want(t, <-ended, context.Canceled)
	go func() {
		v, err := s.Wait(t.Context(), 1)
		if v != 2 {
			t.Errorf("Wait = %d, want 2", v)
		}
		ended <- err
	}()
	for range 2 {
		must(t, s.Store("x"))
		time.Sleep(time.Millisecond)
	}
	must(t, <-ended)
}

// A thousand watchers through one handle all see the last value, however many
// they miss.
func TestManyWatchers(t *testing.T) {
	s := open(t, proctest.Name(t), codec.Fixed[int](), nil)
	const last = 100
	var wg sync.WaitGroup
	for range 1000 {
		wg.Go(func() {
			seen := 0
			for v, err := range s.Watch(t.Context()) {
				if err != nil {
					t.Error(err)
					return
				}
				if v <= seen {
					t.Errorf("%d after %d", v, seen)
				}
				if seen = v; v == last {
					return
				}
			}
		})
	}
	for i := range last {
		must(t, s.Store(i+1))
		time.Sleep(100 * time.Microsecond)
	}
	wg.Wait()
}

// awkward is a codec that implements the interface in unusual ways.
type awkward struct{}

func (awkward) ID() string { return "test/awkward" }
func (awkward) Append(b []byte, v string) ([]byte, error) {
	switch v {
	case "panic":
		panic("codec")
	case "error":
		return nil, errors.New("cannot encode")
	}
	return []byte(v), nil // not appended in place
}
func (awkward) Decode(b []byte, v *string) error {
	if string(b) == "bad" {
		return errors.New("cannot decode")
	}
	*v = string(b)
	return nil
}

func TestAwkwardCodec(t *testing.T) {
	for _, o := range []segment.Options{{Capacity: 10}, {Capacity: 10}, {Capacity: 10, LockReads: true}} {
		s := open(t, proctest.Name(t), awkward{}, &o)
		must(t, s.Store("good"))
		want(t, s.Store("much too long"), sharedseg.ErrTooLarge)
		if err := s.Store("error"); err == nil || !strings.Contains(err.Error(), "cannot encode") {
			t.Error(err)
		}
		func() {
			defer func() {
				if p := recover(); p != "codec" {
					t.Errorf("panic %v", p)
				}
			}()
			s.Store("panic")
		}()
		if v, err := s.Load(); v != "good" || err != nil {
			t.Errorf("Load = %q, %v", v, err)
		}
		must(t, s.Store("bad"))
		_, err := s.Load()
		want(t, err, codec.ErrMalformed)
		if err == nil || !strings.Contains(err.Error(), "cannot decode") || errors.Is(err, sharedseg.ErrCorrupt) {
			t.Error(err)
		}
		want(t, s.Update(func(*string) error { t.Error("Update ran"); return nil }), codec.ErrMalformed)
		if err := s.Store("mended"); err != nil {
			t.Error(err)
		}
	}
}

//go:build unix && !aix && !race

package segment_test

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/sharedseg/sharedseg"
	"github.com/sharedseg/sharedseg/codec"
	"github.com/sharedseg/sharedseg/internal/proctest"
	"github.com/sharedseg/sharedseg/segment"
)

// Tests of truncation at any moment of a call. The race detector implements
// atomic operations in C, where a fault in a guarded region ends the process.

// whole returns an error unless all bytes of a value are the same, and not 0,
// as in all values that are stored.
func whole(v []byte) error {
	if len(v) != wholeSize || v[0] == 0 || bytes.Count(v, v[:1]) != len(v) {
		return fmt.Errorf("a value of %d bytes was never stored: %.16x…", len(v), v)
	}
	return nil
}

const wholeSize = 10000

// TestTruncatedUnderLoad truncates a file while goroutines use its handles as
// fast as they can. Each call returns a whole value, or an error that says so.
func TestTruncatedUnderLoad(t *testing.T) {
	rounds := 10
	if testing.Short() {
		rounds = 2
	}
	type array = [wholeSize]byte
	under := func(name string, test func(t *testing.T, o *segment.Options)) {
		for _, locked := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/LockReads=%v", name, locked), func(t *testing.T) {
				for range rounds {
					test(t, &segment.Options{Dir: proctest.TempDir(t), LockReads: locked, Capacity: wholeSize})
				}
			})
		}
	}
	under("Fixed", func(t *testing.T, o *segment.Options) {
		truncatedUnderLoad(t, o, codec.Fixed[array](), func(b byte) array { return array(bytes.Repeat([]byte{b}, wholeSize)) },
			func(v array) []byte { return v[:] })
	})
	bytesOf := func(b byte) []byte { return bytes.Repeat([]byte{b}, wholeSize) }
	id := func(v []byte) []byte { return v }
	under("Bytes", func(t *testing.T, o *segment.Options) { truncatedUnderLoad(t, o, codec.Bytes(), bytesOf, id) })
	under("Copied", func(t *testing.T, o *segment.Options) { truncatedUnderLoad(t, o, copying{}, bytesOf, id) })
	under("InPlace", func(t *testing.T, o *segment.Options) { truncatedUnderLoad(t, o, decoding{}, bytesOf, id) })
}

func truncatedUnderLoad[T any](t *testing.T, o *segment.Options, c codec.Codec[T], of func(byte) T, in func(T) []byte) {
	s, other := open(t, "x", c, o), open(t, "x", c, o)
	r, err := segment.OpenReader("x", c, o)
	must(t, err)
	defer r.Close()
	must(t, s.Store(of(1)))
	ctx := during(t, proctest.Patience)

	var users, running sync.WaitGroup
	use := func(what string, call func(n int) error) {
		running.Add(1)
		users.Go(func() {
			for n := 0; ; n++ {
				err := call(n)
				if n == 1 || n == 0 && err != nil {
					running.Done()
				}
				if err != nil && !errors.Is(err, sharedseg.ErrCorrupt) {
					t.Errorf("%s: %v", what, err)
				}
				if err != nil {
					return
				}
			}
		})
	}
	load := func(v T, err error) error {
		if err != nil {
			return err
		}
		return whole(in(v))
	}
	use("Load", func(int) error { return load(s.LoadContext(ctx)) })
	use("Load of a Reader", func(int) error { return load(r.Load()) })
	var into T
	use("LoadInto", func(int) error {
		_, err := other.LoadInto(&into)
		return load(into, err)
	})
	use("Store", func(n int) error { return s.StoreContext(ctx, of(byte(n)|1)) })
	use("Update", func(n int) error {
		return other.UpdateContext(ctx, func(v *T) error {
			if err := whole(in(*v)); err != nil {
				t.Error(err)
			}
			*v = of(byte(n) | 2)
			return nil
		})
	})
	var seen uint64
	use("Wait", func(int) (err error) {
		seen, err = r.Wait(ctx, seen)
		return err
	})
	running.Wait()
	time.Sleep(rand.N(time.Millisecond))
	// A part of the slots, the wait page, the header, everything.
	must(t, os.Truncate(filepath.Join(o.Dir, "x"), []int64{16 << 10, 12 << 10, 4 << 10, 0}[rand.IntN(4)]))
	users.Wait()
}

// copying is a codec that gets private copies.
type copying struct{}

func (copying) ID() string                         { return "test/copying" }
func (copying) Append(b, v []byte) ([]byte, error) { return append(b, v...), nil }
func (copying) Decode(b []byte, v *[]byte) error   { *v = slices.Clone(b); return nil }

// decoding is a codec that decodes in place.
type decoding struct{ copying }

func (decoding) ID() string                              { return "test/decoding" }
func (decoding) DecodeInPlace(b []byte, v *[]byte) error { *v = append((*v)[:0], b...); return nil }

// TestTruncatedUnderCodec truncates a file while a codec runs. A codec that
// works in place sees zeros, or does not return, and the call fails. A private
// copy stays whole.
func TestTruncatedUnderCodec(t *testing.T) {
	for what, call := range map[string]func(s *segment.Segment[[]byte]) error{
		"Load": func(s *segment.Segment[[]byte]) error {
			v, err := s.Load()
			if err == nil {
				err = whole(v)
			}
			return err
		},
		"Store": func(s *segment.Segment[[]byte]) error { return s.Store(bytes.Repeat([]byte{2}, wholeSize)) },
		"Update": func(s *segment.Segment[[]byte]) error {
			return s.Update(func(v *[]byte) error { return whole(*v) })
		},
	} {
		for _, inPlace := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/inPlace=%v", what, inPlace), func(t *testing.T) {
				o := &segment.Options{Dir: proctest.TempDir(t), Capacity: wholeSize}
				h := new(hooked)
				c := codec.Codec[[]byte](h)
				if inPlace {
					c = hookedInPlace{h}
				}
				s := open(t, "x", c, o)
				must(t, s.Store(bytes.Repeat([]byte{1}, wholeSize)))
				h.hook = func() { must(t, os.Truncate(filepath.Join(o.Dir, "x"), 0)) }
				err := call(s)
				if what == "Load" && !inPlace && err == nil {
					return // the copy is older than the truncation
				}
				want(t, err, sharedseg.ErrCorrupt)
				_, err = s.Load()
				want(t, err, sharedseg.ErrCorrupt)
			})
		}
	}
}

// hooked calls hook once in the middle of a value.
type hooked struct {
	copying
	hook func()
}

func (h *hooked) ran() {
	if f := h.hook; f != nil {
		h.hook = nil
		f()
	}
}

func (h *hooked) Append(b, v []byte) ([]byte, error) {
	half := len(v) / 2
	b = append(b, v[:half]...)
	h.ran()
	return append(b, v[half:]...), nil
}

func (h *hooked) Decode(b []byte, v *[]byte) error {
	half := len(b) / 2
	*v = append((*v)[:0], b[:half]...)
	h.ran()
	*v = append(*v, b[half:]...)
	return nil
}

type hookedInPlace struct{ *hooked }

func (h hookedInPlace) DecodeInPlace(b []byte, v *[]byte) error { return h.Decode(b, v) }

//go:build unix && !aix

package segment_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"testing"

	"github.com/sharedseg/sharedseg"
	"github.com/sharedseg/sharedseg/codec"
	"github.com/sharedseg/sharedseg/segment"
	"github.com/sharedseg/sharedseg/sync"
)

// FuzzAttach opens files that are not segments, and patched files of segments.
func FuzzAttach(f *testing.F) {
	dir := tmpfs(f)
	o := &segment.Options{Dir: dir, Persist: true, Capacity: fuzzCapacity}
	look := &segment.Options{Dir: dir}
	path := filepath.Join(dir, "x")
	images := [][]byte{
		imageOf(f, codec.String(), "text", o),
		imageOf(f, codec.Fixed[fixedPoint](), fixedPoint{N: 1}, o),
		imageOf(f, codec.Fixed[toggled](), toggled{On: true}, o),
		imageOf(f, codec.JSON[any](), any([]any{1.5, "a"}), &segment.Options{
			Dir: dir, Persist: true, Capacity: fuzzCapacity, LockReads: true, Slots: 2,
		}),
		imageOfMutex(f, dir),
	}
	for i := range images {
		f.Add(uint8(i), []byte{})
		f.Add(uint8(i), []byte{1, 0x81, 9})                        // held by a dead owner
		f.Add(uint8(i), []byte{1, 0x98, 40, 4})                    // a larger capacity
		f.Add(uint8(i), []byte{1, 0x9E, 0, 14, 1, 0x9A, 1, 12})    // long values, high counters
		f.Add(uint8(i), []byte{1, 0x93, 0, 11, 1, 0x90, 96, 11})   // generations, rotor
		f.Add(uint8(i), []byte{1, 0x93, 1, 11, 1, 0x9A, 128, 14})  // process IDs, counters
		f.Add(uint8(i), []byte{1, 0x9E, 128, 14, 1, 0x9E, 129, 0}) // versions of slots
		f.Add(uint8(i), []byte{1, 0x90, 8, 1})                     // format 1
		f.Add(uint8(i), []byte{2, 0xFF, 0, 2, 0, 0x10, 0})         // truncated, grown
		f.Add(uint8(i), []byte{3, 2, 0, 0, 0, 3, 16, 0, 0x80, 0})  // other geometries
		f.Add(uint8(i), []byte{3, 0, 1, 200, 0, 1, 0x0C, 76, 255}) // and long texts
		f.Add(uint8(i), []byte{1, 0, 8, 0})                        // not ready
		f.Add(uint8(i), []byte{1, 0x10, 20, 0, 0, 0, 0})           // does not persist
	}
	f.Add(uint8(255), []byte("some text"))
	f.Add(uint8(255), []byte{})
	f.Fuzz(func(t *testing.T, base uint8, s []byte) {
		var image []byte
		if kind := int(base & 0x3F); kind < len(images) {
			image = patched(images[kind], s)
		} else {
			image = s
		}
		must(t, os.WriteFile(path, image, 0o600))
		watched(t, func() {
			for _, err := range sharedseg.List(look.Place()) {
				expect(t, "List", err, sharedseg.ErrCorrupt)
			}
			info, err := sharedseg.Stat("x", look.Place())
			expect(t, "Stat", err, sharedseg.ErrCorrupt, sharedseg.ErrIncompatible, fs.ErrNotExist)
			if err == nil && (info.Size != int64(len(image)) || info.Capacity > info.Size || info.Slots > len(image)) {
				t.Fatalf("%+v in %d bytes", info, len(image))
			}
			attach(t, codec.String(), "s", look, func(v string) int { return len(v) })
			attach(t, codec.Fixed[fixedPoint](), fixedPoint{N: 2}, look, nil)
			attach(t, codec.Fixed[toggled](), toggled{On: true}, look, func(v toggled) int {
				if fmt.Sprint(v.On, v.Rows) == "" { // printing an invalid bool can crash
					return math.MaxInt
				}
				return 0
			})
			attach(t, codec.JSON[any](), any("s"), look, func(v any) int { s, _ := v.(string); return len(s) / 3 })
			attachMutex(t, dir)
			b, err := segment.OpenBare("x", 64, codec.String(), o)
			expect(t, "OpenBare", err, sharedseg.ErrIncompatible)
			if err == nil {
				v, err := b.Load()
				if err != nil || len(v) != 64 {
					t.Fatalf("%d bytes, %v", len(v), err)
				}
				expect(t, "Close", b.Close())
			}
			_, err = sharedseg.Sweep(look.Place())
			expect(t, "Sweep", err)
			// Whatever the file was, the name can be used again.
			err = sharedseg.Remove("x", look.Place())
			expect(t, "Remove", err, fs.ErrNotExist, sharedseg.ErrIncompatible)
			if errors.Is(err, sharedseg.ErrIncompatible) {
				expect(t, "RemoveBare", segment.RemoveBare("x", look))
			}
			fresh(t, "x", look)
		})
	})
}

// imageOf returns the file of a segment that was used and closed.
func imageOf[T any](f *testing.F, c codec.Codec[T], v T, o *segment.Options) []byte {
	s, err := segment.Open("image", c, o)
	if err == nil {
		err = errors.Join(s.Store(v), s.Store(v), s.Close())
	}
	return fileOf(f, o.Dir, err)
}

func imageOfMutex(f *testing.F, dir string) []byte {
	m, err := ipcsync.OpenMutex("image", &ipcsync.Options{Dir: dir, Persist: true})
	if err == nil {
		err = m.Close()
	}
	return fileOf(f, dir, err)
}

func fileOf(f *testing.F, dir string, err error) []byte {
	b, e := os.ReadFile(filepath.Join(dir, "image"))
	must(f, errors.Join(err, e, sharedseg.Remove("image", &sharedseg.Place{Dir: dir})))
	return b
}

// patched applies a script to the image of a file.
func patched(image []byte, s script) []byte {
	image = bytes.Clone(image)
	at := fieldsOf(image)
	for len(s) > 0 {
		switch op := s.byte() & 3; op {
		case 0, 1:
			if len(image) >= textOff+1024 {
				at.size = len(image)
				p := s.patch(at)
				p.apply(image)
			}
		case 2: // another length
			n := int(s.uint(2))
			if n < len(image) {
				image = image[:n]
			} else {
				image = append(image, make([]byte, n-len(image))...)
			}
		case 3: // another geometry, which is consistent
			slots, capacity := max(s.uint(2)%512, 2), s.uint(2)%2048
			if len(image) < textOff || at.wait == 0 {
				continue
			}
			stride := slotHeader + (capacity+63)/64*64
			page := uint64(binary.NativeEndian.Uint32(image[72:]))
			if page < 1024 || page > 1<<16 {
				continue
			}
			size := (uint64(at.slotArea) + slots*stride + page - 1) / page * page
			if size > 1<<18 {
				continue
			}
			binary.NativeEndian.PutUint32(image[28:], uint32(slots))
			binary.NativeEndian.PutUint64(image[32:], size)
			binary.NativeEndian.PutUint64(image[40:], capacity)
			binary.NativeEndian.PutUint64(image[48:], stride)
			image = append(image, make([]byte, max(int(size)-len(image), 0))...)[:size]
			at.slots, at.stride = int(slots), int(stride)
		}
	}
	return image
}

// attach opens the file for writing and for reading, and uses it. size returns
// a lower bound of the bytes from which a value was decoded.
func attach[T any](t *testing.T, c codec.Codec[T], v T, o *segment.Options, size func(T) int) {
	t.Helper()
	r, err := segment.OpenReader("x", c, o)
	expect(t, "OpenReader", err, sharedseg.ErrCorrupt, sharedseg.ErrIncompatible, fs.ErrNotExist)
	if err == nil {
		read[T](t, r, size, segment.DefaultCapacity)
		expect(t, "Close", r.Close())
	}
	s, err := segment.Attach("x", c, &segment.Options{Dir: o.Dir})
	expect(t, "Attach", err, sharedseg.ErrCorrupt, sharedseg.ErrIncompatible, fs.ErrNotExist)
	if err == nil {
		write(t, s, v, size, segment.DefaultCapacity)
		expect(t, "Close", s.Close())
	}
}

// read makes all calls of a Reader, with contexts if they can wait.
func read[T any](t *testing.T, r readable[T], size func(T) int, capacity int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), brief)
	defer cancel()
	v, err := r.LoadContext(ctx)
	expect(t, "Load", err, sharedseg.ErrCorrupt, codec.ErrMalformed, context.DeadlineExceeded)
	if err == nil && size != nil && size(v) > capacity*3/2 {
		t.Fatalf("a value of %d bytes", size(v))
	}
	if version := r.Version(); version != 0 {
		_, err = r.Wait(ctx, version-1)
		expect(t, "Wait", err, sharedseg.ErrCorrupt, context.DeadlineExceeded)
	}
}

func write[T any](t *testing.T, s *segment.Segment[T], v T, size func(T) int, capacity int) {
	t.Helper()
	read[T](t, s, size, capacity)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	err := s.UpdateContext(ctx, func(*T) error { return nil })
	// The old value need not fit into the present capacity.
	expect(t, "Update", err, sharedseg.ErrCorrupt, codec.ErrMalformed, sharedseg.ErrTooLarge)
	err = s.StoreContext(ctx, v)
	expect(t, "Store", err, sharedseg.ErrTooLarge)
	if err != nil {
		return
	}
	got, err := s.LoadContext(ctx)
	if fmt.Sprint(got) != fmt.Sprint(v) || err != nil {
		t.Fatalf("stored %v, loaded %v, %v", v, got, err)
	}
}

func attachMutex(t *testing.T, dir string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	repair := func() error { return nil }
	m, err := ipcsync.OpenMutex("x", &ipcsync.Options{Dir: dir, Persist: true, Repair: repair})
	expect(t, "OpenMutex", err, sharedseg.ErrCorrupt, sharedseg.ErrIncompatible)
	if err == nil {
		// No other process is there that could hold the lock.
		must(t, errors.Join(m.Lock(ctx), m.Unlock(), m.Close()))
	}
}

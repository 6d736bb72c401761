//go:build unix && !aix

package segment_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"
	"unsafe"

	"github.com/sharedseg/sharedseg"
	"github.com/sharedseg/sharedseg/codec"
	"github.com/sharedseg/sharedseg/internal/proctest"
	"github.com/sharedseg/sharedseg/segment"
)

// room is a segment whose handles stay open while scripts are played on it, one
// after the other.
type room[T any] struct {
	dir, name string
	codec     codec.Codec[T]
	value     T
	size      func(T) int
	lockReads bool
	options   segment.Options

	segments [2]*segment.Segment[T]
	reader   *segment.Reader[T]
	*memory
}

func openRoom[T any](f *testing.F, dir, name string, o segment.Options, c codec.Codec[T], v T, size func(T) int) *room[T] {
	o.Dir = dir
	if _, sized := c.(codec.Sizer); !sized {
		o.Capacity = fuzzCapacity
	}
	r := &room[T]{dir: dir, name: name, codec: c, value: v, size: size, lockReads: o.LockReads, options: o}
	r.segments = [2]*segment.Segment[T]{open(f, name, c, &o), open(f, name, c, &o)}
	var err error
	if r.reader, err = segment.OpenReader(name, c, &segment.Options{Dir: dir}); err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { r.reader.Close() })
	for _, s := range r.segments {
		must(f, s.Store(v))
	}
	for _, h := range []borrows[T]{r.segments[0], r.segments[1], r.reader} {
		b, err := h.Borrow(f.Context())
		if err == nil {
			err = b.Release()
		}
		must(f, err)
	}
	r.memory = mapped(f, filepath.Join(dir, name), 2)
	return r
}

// play runs a script. If beside is set, the peer writes during the calls, and
// writes all its patches again and again.
func (r *room[T]) play(t *testing.T, s script, beside bool) {
	copy(r.mem, r.good)
	if beside {
		stop := r.scribble(&s)
		defer stop()
	}
	for steps, blocked := 0, 0; len(s) > 0 && steps < 16 && blocked < 2; steps++ {
		op := s.byte()
		if op&1 != 0 && !beside {
			p := s.patch(r.fields)
			p.apply(r.mem)
			continue
		}
		before := r.still()
		if err := r.call(t, int(op>>1), &s, beside); errors.Is(err, context.DeadlineExceeded) {
			blocked++
		}
		if !beside && op>>1%calls != truncation && !bytes.Equal(before, r.still()) {
			t.Fatalf("call %d wrote into the header", op>>1)
		}
	}
}

const (
	calls      = 20
	truncation = 15
)

// call makes one of the calls that a program could make.
func (r *room[T]) call(t *testing.T, op int, s *script, beside bool) (err error) {
	seg := r.segments[op/calls%2]
	ctx, cancel := context.WithTimeout(t.Context(), brief)
	defer cancel()
	limits := []error{sharedseg.ErrCorrupt, codec.ErrMalformed, context.DeadlineExceeded}
	begun := time.Now()
	var v T
	switch op % calls {
	case 0:
		v, err = seg.LoadContext(ctx)
		expect(t, "Load", err, limits...)
	case 1:
		if r.lockReads {
			break // it has no context, and the peer can withhold the lock
		}
		_, err = seg.LoadInto(&v)
		expect(t, "LoadInto", err, sharedseg.ErrCorrupt, codec.ErrMalformed)
	case 2:
		err = seg.StoreContext(ctx, r.value)
		expect(t, "Store", err, limits...)
	case 3:
		err = seg.UpdateContext(ctx, func(p *T) error { v = *p; *p = r.value; return nil })
		expect(t, "Update", err, limits...)
	case 4:
		seg.Version()
		r.reader.Version()
	case 5, 6:
		after := seg.Version() - uint64(s.byte()&1) // the version before, or the current one
		var version uint64
		if op%calls == 5 {
			version, err = seg.Wait(ctx, after)
		} else {
			version, err = r.reader.Wait(ctx, after)
		}
		expect(t, "Wait", err, limits...)
		if err == nil && version <= after {
			t.Fatalf("Wait for a version after %d returned %d", after, version)
		}
	case 7:
		v, err = r.reader.LoadContext(ctx)
		expect(t, "Load of a Reader", err, limits...)
	case 8:
		_, err = r.reader.LoadInto(&v)
		expect(t, "LoadInto of a Reader", err, sharedseg.ErrCorrupt, codec.ErrMalformed)
	case 9:
		for value, e := range seg.Watch(ctx) {
			if v, err = value, e; err == nil {
				break
			}
			expect(t, "Watch", err, limits...)
		}
	case 10:
		err = r.visit(t, ctx)
	case 11:
		var other *segment.Reader[T]
		other, err = segment.OpenReader(r.name, r.codec, &segment.Options{Dir: r.dir})
		expect(t, "OpenReader", err, sharedseg.ErrCorrupt, sharedseg.ErrIncompatible)
		if err == nil {
			v, err = other.LoadContext(ctx)
			expect(t, "Load of a new Reader", err, limits...)
			expect(t, "Close of a new Reader", other.Close())
		}
	case 12:
		info, e := sharedseg.Stat(r.name, &sharedseg.Place{Dir: r.dir})
		expect(t, "Stat", e, sharedseg.ErrCorrupt, sharedseg.ErrIncompatible, fs.ErrNotExist)
		if e == nil && info.Size != int64(len(r.mem)) {
			t.Fatalf("%+v", info)
		}
	case 13:
		_, e := sharedseg.Sweep(&sharedseg.Place{Dir: r.dir})
		expect(t, "Sweep", e)
	case 14:
		for i, err := range []error{
			seg.UpdateContext(ctx, func(*T) error { return fs.ErrExist }),
			seg.StoreContext(ctx, r.value),
		} {
			expect(t, "Update that fails", err, append(limits, fs.ErrExist)...)
			if i == 0 && err == nil {
				t.Fatal("the error of the function was lost")
			}
		}
	case 16, 17:
		var b *segment.Borrowed[T]
		if op%calls == 16 {
			b, err = seg.Borrow(ctx)
		} else {
			b, err = r.reader.Borrow(ctx)
		}
		expect(t, "Borrow", err, limits...)
		if err == nil {
			sum := 0
			for _, c := range b.Bytes() {
				sum += int(c)
			}
			if r.size != nil && (len(b.Bytes()) > fuzzCapacity || cap(b.Bytes()) != len(b.Bytes())) {
				t.Fatalf("borrowed %d bytes of %d", len(b.Bytes()), cap(b.Bytes()))
			}
			if at := uintptr(unsafe.Pointer(unsafe.SliceData(b.Bytes()))); at%8 != 0 {
				t.Fatalf("borrowed at %#x, sum %d", at, sum)
			}
			expect(t, "Store beside a Borrow", seg.StoreContext(ctx, r.value), limits...)
			expect(t, "Release", b.Release())
		}
	case 18:
		var l *segment.Loan[T]
		l, err = seg.Loan(ctx)
		expect(t, "Loan", err, limits...)
		if err == nil {
			clear(l.Bytes())
			n := int(s.byte())
			if sized, ok := r.codec.(codec.Sizer); ok {
				n = sized.Size()
			}
			if n >= 128 && n <= len(l.Bytes()) {
				_, err = l.Publish(n)
				expect(t, "Publish", err, sharedseg.ErrCorrupt)
			}
			expect(t, "Discard", l.Discard(), sharedseg.ErrCorrupt)
		}
	case 19:
		taken := 0
		for next, e := range r.reader.Follow(ctx, seg.Version()-uint64(s.byte())) {
			v = next.Value
			if _, missed := errors.AsType[*segment.MissedError](e); e != nil && !missed {
				err = e
				expect(t, "Follow", e, limits...)
			}
			if taken++; taken == 8 {
				break
			}
		}
	case truncation:
		if beside || proctest.Emulated() {
			break // the fault would kill the peer or the emulator
		}
		err = r.truncate(t, ctx, int64(s.uint(2))%int64(len(r.mem)), s.byte())
	}
	if err == nil && r.size != nil && r.size(v) > fuzzCapacity*3/2 {
		t.Fatalf("call %d returned a value of %d bytes", op, r.size(v))
	}
	if took := time.Since(begun); took > 10*time.Second {
		t.Fatalf("call %d took %v", op, took)
	}
	return err
}

// visit opens another handle, uses it and closes it.
func (r *room[T]) visit(t *testing.T, ctx context.Context) error {
	other, err := segment.Open(r.name, r.codec, &segment.Options{Dir: r.dir})
	expect(t, "Open", err, sharedseg.ErrCorrupt, sharedseg.ErrIncompatible)
	if err != nil {
		return err
	}
	v, err := other.LoadContext(ctx)
	expect(t, "Load of a new handle", err, sharedseg.ErrCorrupt, codec.ErrMalformed, context.DeadlineExceeded)
	if err == nil && r.size != nil && r.size(v) > len(r.mem) {
		t.Fatalf("a value of %d bytes", r.size(v))
	}
	expect(t, "Store of a new handle", other.StoreContext(ctx, r.value), sharedseg.ErrCorrupt, sharedseg.ErrTooLarge, context.DeadlineExceeded)
	// Close waits a second if the peer made this handle the owner of the lock.
	clear(r.mem[mutexOff : mutexOff+4])
	expect(t, "Close of a new handle", other.Close())
	return nil
}

// truncate makes one call on a truncated copy of the room's file. It is a copy
// because handles whose memory vanished cannot be used again.
func (r *room[T]) truncate(t *testing.T, ctx context.Context, n int64, which byte) (err error) {
	name := r.name + ".cut"
	path := filepath.Join(r.dir, name)
	seg, e := segment.Open(name, r.codec, &r.options)
	expect(t, "Open", e)
	defer os.Remove(path)
	defer seg.Close()
	reader, e := segment.OpenReader(name, r.codec, &segment.Options{Dir: r.dir})
	expect(t, "OpenReader", e)
	defer reader.Close()
	file, e := os.OpenFile(path, os.O_RDWR, 0)
	expect(t, "OpenFile", e)
	defer file.Close()
	if _, err := file.WriteAt(r.mem, 0); err != nil {
		t.Fatal(err)
	}
	must(t, file.Truncate(n))
	limits := []error{sharedseg.ErrCorrupt, codec.ErrMalformed, context.DeadlineExceeded}
	switch which % 5 {
	case 0:
		_, err = seg.LoadContext(ctx)
	case 1:
		err = seg.StoreContext(ctx, r.value)
	case 2:
		err = seg.UpdateContext(ctx, func(p *T) error { return nil })
	case 3:
		_, err = reader.LoadContext(ctx)
	case 4:
		_, err = segment.OpenReader(name, r.codec, &segment.Options{Dir: r.dir})
		if err == nil {
			t.Fatal("a Reader opened a truncated file")
		}
		limits = append(limits, sharedseg.ErrIncompatible, fs.ErrNotExist)
	}
	expect(t, "a call after a truncation", err, limits...)
	return err
}

// recover restores the content of the segment and checks that all handles still
// work.
func (r *room[T]) recover(t *testing.T) {
	t.Helper()
	copy(r.mem, r.good)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for _, s := range r.segments {
		before := s.Version()
		if err := s.StoreContext(ctx, r.value); err != nil {
			t.Fatal("after the script: ", err)
		}
		for what, handle := range map[string]interface {
			LoadContext(context.Context) (T, error)
			Version() uint64
		}{
			"first": r.segments[0], "second": r.segments[1], "reader": r.reader,
		} {
			v, err := handle.LoadContext(ctx)
			if version := handle.Version(); err != nil || version != before+1 || fmt.Sprint(v) != fmt.Sprint(r.value) {
				t.Fatalf("after the script, %s has %v, version %d after %d, %v", what, v, version, before, err)
			}
		}
	}
}

// FuzzLive plays scripts on segments with open handles.
func FuzzLive(f *testing.F) {
	dir := tmpfs(f)
	o, mutex := segment.Options{}, segment.Options{LockReads: true, Slots: 2}
	text := func(v string) int { return len(v) }
	raw := func(v []byte) int { return len(v) }
	tree := func(v any) int { list, _ := v.([]any); return len(list) }
	type player interface {
		play(t *testing.T, s script, beside bool)
		recover(t *testing.T)
	}
	rooms := []player{
		openRoom(f, dir, "string", o, codec.String(), "text", text),
		openRoom(f, dir, "string-mutex", mutex, codec.String(), "text", text),
		openRoom(f, dir, "utf16", o, codec.UTF16(), "日本🎈 and so on", text),
		openRoom(f, dir, "bytes", segment.Options{Slots: 7}, codec.Bytes(), []byte("bytes"), raw),
		openRoom(f, dir, "point", o, codec.Fixed[fixedPoint](), fixedPoint{N: 1, Data: [8]uint64{7: 8}}, nil),
		openRoom(f, dir, "point-mutex", mutex, codec.Fixed[fixedPoint](), fixedPoint{N: 1}, nil),
		openRoom(f, dir, "toggle", o, codec.Fixed[toggled](), toggled{On: true, Rows: [6]bool{5: true}}, nil),
		openRoom(f, dir, "json", o, codec.JSON[any](), any([]any{1.5, "a", map[string]any{"k": nil}}), tree),
		openRoom(f, dir, "json-mutex", mutex, codec.JSON[any](), any([]any{1.5, "a"}), tree),
	}
	all := make([]byte, 0, 64)
	for op := range byte(16) {
		all = append(all, 2*op, 1)
	}
	for i := range rooms {
		for _, beside := range []bool{false, true} {
			f.Add(uint8(i), beside, []byte{4, 0, 2, 6, 0x24, 0x22})
			f.Add(uint8(i), beside, []byte{1, 0x9E, 2, 14, 0, 14, 2, 0})           // a long value
			f.Add(uint8(i), beside, []byte{1, 0x9A, 0, 14, 0, 16, 10, 1, 4, 0})    // begin
			f.Add(uint8(i), beside, []byte{1, 0x9A, 1, 14, 0, 16, 12, 1, 4, 0, 6}) // end
			f.Add(uint8(i), beside, []byte{1, 0xC2, 1, 1, 0, 14, 6})               // end, one more
			f.Add(uint8(i), beside, []byte{1, 0xE1, 0, 0, 4, 20})                  // locked by a live handle
			f.Add(uint8(i), beside, []byte{1, 0x81, 9, 4, 0, 6})                   // locked by a dead handle
			f.Add(uint8(i), beside, []byte{1, 0x83, 0, 3, 4, 20, 20})              // generations
			f.Add(uint8(i), beside, []byte{1, 0x83, 1, 3, 4, 20, 24})              // process IDs
			f.Add(uint8(i), beside, []byte{1, 0x9A, 128, 14, 4, 20, 24})           // counters
			f.Add(uint8(i), beside, []byte{1, 0x9E, 130, 14, 0, 14, 4, 0})         // versions of slots
			f.Add(uint8(i), beside, []byte{1, 0x98, 8, 3, 20, 22, 24, 26, 0})      // the header
			f.Add(uint8(i), beside, []byte{1, 0x85, 1, 4, 10, 0, 18})              // the flag
			f.Add(uint8(i), beside, []byte{1, 0x1F, 2, 0, 2, 2, 2, 2, 2, 2, 2, 2, 0, 14, 6, 18, 16})
			f.Add(uint8(i), beside, []byte{30, 0, 0, 0, 4, 30, 0, 0x10, 1, 4, 30, 0, 0x30, 2, 0, 30, 0, 0, 3, 30, 0, 0, 4})
		}
		f.Add(uint8(i), false, []byte{32, 1, 0x9D, 0, 14, 34, 1, 0x9D, 1, 14, 32, 4, 36, 38, 0}) // rows
		f.Add(uint8(i), true, []byte{1, 0x9D, 1, 14, 0x95, 0, 14, 32, 34, 36, 200, 4, 38, 9})    // and which rows are used
		f.Add(uint8(i), false, []byte{1, 0x9E, 200, 14, 38, 3, 1, 0x8D, 0, 1, 4, 36, 200, 32})   // the version before
		f.Add(uint8(i), false, all)
		f.Add(uint8(i), true, []byte{1, 1, 8, 0, 0, 0, 1, 0, 0, 0, 0, 4, 4, 4, 6, 6, 0, 0, 20, 20, 28}) // locked by a dead owner, and unlocked
	}
	look := &segment.Options{Dir: dir}
	f.Fuzz(func(t *testing.T, which uint8, beside bool, s []byte) {
		watched(t, func() {
			r := rooms[int(which)%len(rooms)]
			r.play(t, s, beside)
			r.recover(t)
			fresh(t, "fresh", look)
		})
	})
}

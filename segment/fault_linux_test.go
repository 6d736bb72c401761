package segment_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/sharedseg/sharedseg"
	"github.com/sharedseg/sharedseg/codec"
	"github.com/sharedseg/sharedseg/internal/fault"
	"github.com/sharedseg/sharedseg/internal/proctest"
	"github.com/sharedseg/sharedseg/segment"
	"golang.org/x/sys/unix"
)

// Tests that need the means of Linux: small file systems, threads and limits.

// The memory is reserved when the segment is created. So a full file system is
// an error of Open, and not a SIGBUS later.
func TestFullMemory(t *testing.T) {
	dir := proctest.Mount(t, "tmpfs", "size=256k")
	o := &segment.Options{Dir: dir, Capacity: 1 << 20}
	_, err := segment.Open("big", codec.Bytes(), o)
	want(t, err, sharedseg.ErrNoSpace)
	want(t, err, unix.ENOSPC)
	_, err = segment.OpenBare("big", 1<<20, codec.Bytes(), o)
	want(t, err, sharedseg.ErrNoSpace)
	if entries, _ := os.ReadDir(dir); len(entries) != 0 {
		t.Errorf("a failed Open left %v", entries)
	}
	o.Capacity = 1000
	s := open(t, "small", codec.Bytes(), o)
	var segs []*segment.Segment[[]byte]
	for i := 0; err == nil || len(segs) == 0; i++ {
		var s *segment.Segment[[]byte]
		if s, err = segment.Open(fmt.Sprint("fill", i), codec.Bytes(), o); err == nil {
			segs = append(segs, s)
		}
	}
	want(t, err, sharedseg.ErrNoSpace)
	for range 10 {
		if err := s.Store(make([]byte, 1000)); err != nil {
			t.Error("a Store into a full file system:", err)
		}
	}
	for _, s := range segs {
		s.Close()
	}
}

// If a file is truncated under a borrowed value or a Loan, Release or Publish
// returns an error and the process goes on, although the access is in the
// caller's own code.
func TestTruncatedUnderBorrowed(t *testing.T) {
	dir := proctest.TempDir(t)
	if !trapped() {
		t.Skip("faults are not trapped here")
	}
	o := &segment.Options{Dir: dir, Capacity: 1 << 20}
	value := bytes.Repeat([]byte{7}, 1<<20)
	for what, use := range map[string]func(s *segment.Segment[[]byte], r *segment.Reader[[]byte], cut func()){
		"Release": func(s *segment.Segment[[]byte], r *segment.Reader[[]byte], cut func()) {
			a, b := borrow(t, s), borrow(t, r)
			read, other := a.Bytes(), b.Bytes()
			cut()
			for _, b := range [][]byte{read, other} {
				if sum := bytes.Count(b[len(b)/2:], []byte{7}); sum != 0 {
					t.Errorf("%d bytes still have their value", sum)
				}
			}
			want(t, a.Release(), sharedseg.ErrCorrupt)
			want(t, b.Release(), sharedseg.ErrCorrupt)
			_, err := s.Borrow(t.Context())
			want(t, err, sharedseg.ErrCorrupt)
		},
		"Publish": func(s *segment.Segment[[]byte], r *segment.Reader[[]byte], cut func()) {
			l := loan(t, s)
			room := l.Bytes()
			cut()
			for i := range room {
				room[i] = 9
			}
			_, err := l.Publish(len(room))
			want(t, err, sharedseg.ErrCorrupt)
		},
		"Discard": func(s *segment.Segment[[]byte], r *segment.Reader[[]byte], cut func()) {
			l := loan(t, s)
			cut()
			clear(l.Bytes())
			want(t, l.Discard(), sharedseg.ErrCorrupt)
		},
		"Follow": func(s *segment.Segment[[]byte], r *segment.Reader[[]byte], cut func()) {
			cut()
			var last error
			for _, err := range r.Follow(t.Context(), 0) {
				last = err
			}
			want(t, last, sharedseg.ErrCorrupt)
		},
	} {
		t.Run(what, func(t *testing.T) {
			s := open(t, what, codec.Bytes(), o)
			must(t, s.Store(value))
			r := reader(t, what, codec.Bytes(), &segment.Options{Dir: dir})
			use(s, r, func() {
				must(t, os.Truncate(dir+"/"+what, 0))
			})
		})
	}
}

// trapped reports whether faults in mappings of this process are trapped.
func trapped() bool {
	mem, err := unix.Mmap(-1, 0, os.Getpagesize(), unix.PROT_READ, unix.MAP_PRIVATE|unix.MAP_ANON)
	if err != nil {
		return false
	}
	defer unix.Munmap(mem)
	r := fault.Watch(mem)
	defer r.Forget()
	return !r.Guarded()
}

// A thousand watchers share one parked thread.
func TestWatchersShareAThread(t *testing.T) {
	s := open(t, proctest.Name(t), codec.String(), nil)
	threads := func() int {
		entries, err := os.ReadDir("/proc/self/task")
		must(t, err)
		return len(entries)
	}
	before := threads() // Go keeps the threads that earlier tests needed
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	for range 1000 {
		go func() {
			_, err := s.Wait(ctx, 0)
			done <- err
		}()
	}
	time.Sleep(50 * time.Millisecond)
	if after := threads(); after > before+50 {
		t.Errorf("%d threads, before %d", after, before)
	}
	cancel()
	for range 1000 {
		<-done
	}
}

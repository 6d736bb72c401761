package segment_test

import (
	"context"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/sharedseg/sharedseg"
	"github.com/sharedseg/sharedseg/codec"
	"github.com/sharedseg/sharedseg/internal/proctest"
	"github.com/sharedseg/sharedseg/segment"
	"golang.org/x/sys/unix"
)

// What can only be brought about, or seen, with the means of Linux: small file systems, threads, limits.

// The memory is taken when the segment is created, so a full place is an error then and not a SIGBUS later.
func TestFullMemory(t *testing.T) {
	dir := smallTmpfs(t)
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
			t.Error("a Store into a full place:", err)
		}
	}
	for _, s := range segs {
		s.Close()
	}
}

// smallTmpfs mounts a tmpfs of 256 KiB, which takes a user who may mount.
func smallTmpfs(t *testing.T) string {
	dir := proctest.TempDir(t)
	if err := unix.Mount("sharedseg-test", dir, "tmpfs", 0, "size=256k"); err != nil {
		t.Skip("this user may not mount a small tmpfs:", err)
	}
	t.Cleanup(func() {
		// Retired mappings hold no file, so nothing keeps it busy.
		if err := unix.Unmount(dir, 0); err != nil {
			t.Error(err)
			unix.Unmount(dir, unix.MNT_DETACH)
		}
	})
	return dir
}

// A thousand watchers cost one parked thread.
func TestWatchersShareAThread(t *testing.T) {
	s := open(t, proctest.Name(t), codec.String(), nil)
	threads := func() int {
		entries, err := os.ReadDir("/proc/self/task")
		if err != nil {
			t.Fatal(err)
		}
		return len(entries)
	}
	before := threads() // which earlier tests needed, and Go keeps
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

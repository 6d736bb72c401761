package segment_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
	"strconv"
	"testing"
	"time"

	"github.com/sharedseg/sharedseg/codec"
	"github.com/sharedseg/sharedseg/internal/park"
	"github.com/sharedseg/sharedseg/internal/proctest"
	"github.com/sharedseg/sharedseg/segment"
)

func init() { roles["watches many"] = watchesMany }

const (
	mostThreads = 64 // of a process that watches any number of segments
	lastStored  = 3  // in each segment
)

// watchesMany BASE N opens N segments and watches each until it has the last
// value. It writes a line when all are open, and another when all have that
// value, and watches on until the test ends.
func watchesMany(args []string) error {
	debug.SetMaxThreads(mostThreads)
	n, err := strconv.Atoi(args[1])
	if err != nil {
		return err
	}
	seen := make(chan error, n)
	for i := range n {
		s, err := segment.Open(args[0]+strconv.Itoa(i), codec.Fixed[int64](), nil)
		if err != nil {
			return err
		}
		defer s.Close()
		go func() {
			last := int64(0)
			for v, err := range s.Watch(context.Background()) {
				if err == nil && v <= last {
					err = fmt.Errorf("segment %d: %d after %d", i, v, last)
				}
				if err != nil {
					seen <- err
					return
				}
				if last = v; v == lastStored {
					seen <- nil
				}
			}
		}()
	}
	fmt.Println("open")
	for range n {
		if err := <-seen; err != nil {
			return err
		}
	}
	fmt.Println("seen")
	proctest.Await()
	return nil
}

// However many segments a process watches, it has few threads, each watcher
// gets the last version, and the process is nearly idle while nothing is
// stored.
func TestWatchManySegments(t *testing.T) {
	t.Parallel() // it mostly waits
	n, rest := 2000, 2*time.Second
	if testing.Short() {
		n, rest = 300, time.Second
	}
	if proctest.Emulated() {
		n = 50
	}
	proctest.AllowFiles(t, 2*n+100)
	base := proctest.Name(t) + "."
	p := proctest.Start(t, "watches many", base, strconv.Itoa(n))
	p.Expect("open")
	segments := make([]*segment.Segment[int64], n)
	for i := range segments {
		s, err := segment.Attach(base+strconv.Itoa(i), codec.Fixed[int64](), nil)
		must(t, err)
		segments[i] = s
	}
	threads := func() []string {
		tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", p.Pid()))
		must(t, err)
		return tasks
	}
	cpu := func() (used time.Duration) {
		for _, path := range threads() {
			var onCPU time.Duration
			if text, err := os.ReadFile(path); err == nil {
				fmt.Sscan(string(text), (*int64)(&onCPU))
			}
			used += onCPU
		}
		return used
	}
	for v := range int64(lastStored) {
		for _, s := range segments {
			must(t, s.Store(v+1))
		}
	}
	p.Expect("seen")
	if got := len(threads()); got > mostThreads && !proctest.Emulated() {
		t.Errorf("%d threads", got)
	}
	most := rest / 50
	if park.Words() == 0 { // all segments are polled
		most = rest / 4
	}
	// Parks grow to a second within two seconds, or later if other tests keep
	// the processors busy.
	proctest.Eventually(t, "the process is nearly idle", func() bool {
		before := cpu()
		time.Sleep(rest)
		used := cpu() - before
		t.Logf("%d segments: %d threads, %.3f %% of a processor", n, len(threads()), 100*float64(used)/float64(rest))
		return used <= most || proctest.Emulated()
	})
	p.Wait()
	for _, s := range segments {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
}

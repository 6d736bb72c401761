package segment_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/sharedseg/sharedseg"
	"github.com/sharedseg/sharedseg/codec"
	"github.com/sharedseg/sharedseg/internal/proctest"
	"github.com/sharedseg/sharedseg/segment"
)

func init() { roles["churner"] = churner }

// churner opens and closes NAME in DIR all the time, with an encoding that
// changes, until its input ends.
func churner(args []string) error {
	n := 0
	return proctest.Repeat(func() error {
		n++
		s, err := segment.Open(args[0], codec.Bytes(), &segment.Options{Dir: args[1], Capacity: n % 3 << 20})
		if errors.Is(err, sharedseg.ErrIncompatible) {
			return nil // another has just created it
		}
		if err != nil {
			return err
		}
		return s.Close()
	})
}

// A segment that comes and goes is there or is not, but it is never called
// corrupt, or another's file, or left behind by processes that died.
func TestStatBesideOpenAndClose(t *testing.T) {
	o := &segment.Options{Dir: proctest.TempDir(t)}
	procs := proctest.StartGroup(t, 2, "churner", "x", o.Dir)
	procs.Expect("ready")
	duration := time.Second
	if testing.Short() {
		duration = 300 * time.Millisecond
	}
	var looks, found int
	var mu sync.Mutex
	var wg sync.WaitGroup
	end := time.Now().Add(duration)
	for range 2 {
		wg.Go(func() {
			n, there := 0, 0
			for ; time.Now().Before(end); n++ {
				info, err := sharedseg.Stat("x", o.Place())
				if err == nil {
					there++
					if info.Codec != "bytes" || info.Slots != segment.DefaultSlots {
						t.Errorf("Stat = %+v", info)
					}
				} else if !errors.Is(err, fs.ErrNotExist) {
					t.Error(err)
				}
			}
			mu.Lock()
			defer mu.Unlock()
			looks, found = looks+n, found+there
		})
	}
	wg.Wait()
	procs.StopRepeating()
	t.Logf("%d looks, of which %d found it", looks, found)
}

// What List costs follows the handles that are open, not those that could be.
func TestListMany(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("Windows has a kernel object for each place of a handle, and no question for all of them")
	}
	n := 400
	proctest.AllowFiles(t, n+100)
	o := &segment.Options{Dir: proctest.TempDir(t), Slots: 2}
	for i := range n {
		open(t, fmt.Sprint("s", i), codec.Fixed[uint64](), o)
	}
	var reading, listing time.Duration // the shortest of each
	for try := range 5 {
		start := time.Now()
		for i := range n {
			if _, err := os.ReadFile(filepath.Join(o.Dir, fmt.Sprint("s", i))); err != nil {
				t.Fatal(err)
			}
		}
		plain := time.Since(start)
		start = time.Now()
		listed := 0
		for info, err := range sharedseg.List(o.Place()) {
			if err != nil || info.Writers != 1 {
				t.Fatalf("%+v, %v", info, err)
			}
			listed++
		}
		if listed != n {
			t.Fatalf("%d of %d are listed", listed, n)
		}
		took := time.Since(start)
		t.Logf("to list them takes %v, to read the files %v", took, plain)
		if try == 0 {
			reading, listing = plain, took
		}
		reading, listing = min(reading, plain), min(listing, took)
	}
	if listing > 8*reading { // as long, if each holder is asked after; 25 times, if each place is
		t.Errorf("to list %d segments takes %v, to read their files %v", n, listing, reading)
	}
}

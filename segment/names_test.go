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

// churner NAME DIR opens and closes the segment NAME in DIR again and again,
// with a changing capacity, until the test says something.
func churner(args []string) error {
	n := 0
	return proctest.Repeat(func() error {
		n++
		s, err := segment.Open(args[0], codec.Bytes(), &segment.Options{Dir: args[1], Capacity: n % 3 << 20})
		if errors.Is(err, sharedseg.ErrIncompatible) {
			return nil // the other churner has just created it
		}
		if err != nil {
			return err
		}
		return s.Close()
	})
}

// A segment that is opened and closed all the time exists or does not. It is
// never reported as corrupt, as the file of another user, or as left by dead
// processes.
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
	t.Logf("%d of %d calls of Stat found it", found, looks)
}

// The cost of List depends on the number of open handles, not on the possible
// number.
func TestListMany(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("Windows has a kernel object for each member slot, and no query for all of them")
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
			t.Fatalf("List has %d of %d segments", listed, n)
		}
		took := time.Since(start)
		t.Logf("listing takes %v, reading the files %v", took, plain)
		if try == 0 {
			reading, listing = plain, took
		}
		reading, listing = min(reading, plain), min(listing, took)
	}
	if listing > 8*reading { // about 1 if List asks about each open handle; 25 if it asks about each member slot
		t.Errorf("listing %d segments takes %v, reading their files %v", n, listing, reading)
	}
}

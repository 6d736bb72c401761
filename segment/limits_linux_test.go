package segment_test

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/sharedseg/sharedseg"
	"github.com/sharedseg/sharedseg/codec"
	"github.com/sharedseg/sharedseg/internal/proctest"
	"github.com/sharedseg/sharedseg/segment"
	"golang.org/x/sys/unix"
)

// Each role sets a limit of its process. Limits differ between systems, but the
// code that handles them does not.

func init() {
	roles["few files"] = fewFiles
	roles["short files"] = shortFiles
	roles["few addresses"] = fewAddresses
	roles["addresses for four"] = addressesForFour
}

// complaints collects the failures of a role that uses segments.
type complaints struct{ proctest.Complaints }

// loads checks the results of a Load.
func (c *complaints) loads(v string, err error) {
	if v != "value" || err != nil {
		c.Add("load = %q, %w", v, err)
	}
}

func limitTo(resource int, n uint64) error {
	return unix.Setrlimit(resource, &unix.Rlimit{Cur: n, Max: n})
}

// limitAddresses limits the address space of this process to n bytes more than
// it uses.
func limitAddresses(n uint64) error {
	used, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return err
	}
	var pages uint64
	fmt.Sscan(string(used), &pages)
	return limitTo(unix.RLIMIT_AS, pages*uint64(os.Getpagesize())+n)
}

// goesOn checks that a handle works.
func (c *complaints) goesOn(s *segment.Segment[string]) {
	c.Check("store", s.Store("value"), nil)
	c.loads(s.Load())
	soon, cancel := context.WithTimeout(context.Background(), 10*time.Millisecond)
	defer cancel()
	_, err := s.Wait(soon, s.Version())
	c.Check("wait", err, context.DeadlineExceeded)
}

// fewFiles DIR opens segments in DIR until the limit of open files is reached.
func fewFiles(args []string) error {
	var c complaints
	o := &segment.Options{Dir: args[0], Persist: true}
	s, err := segment.Open("first", codec.String(), o)
	if err != nil {
		return err
	}
	time.Sleep(time.Nanosecond) // the Go runtime needs descriptors for its first timer, and exits if there are none
	before, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return err
	}
	const limit = 40
	if err := limitTo(unix.RLIMIT_NOFILE, limit); err != nil {
		return err
	}
	var segs []*segment.Segment[string]
	for err == nil && len(segs) < limit {
		var s *segment.Segment[string]
		if s, err = segment.Open(fmt.Sprint("x", len(segs)), codec.String(), o); err == nil {
			segs = append(segs, s)
		}
	}
	c.Check("Open", err, unix.EMFILE, "RLIMIT_NOFILE", "ulimit -n", "close some")
	for kind, do := range kinds("other", o) {
		c.Check(kind, do(), unix.EMFILE, "RLIMIT_NOFILE", "ulimit -n", "close some")
	}
	_, err = sharedseg.Sweep(o.Place())
	c.Check("Sweep", err, unix.EMFILE, "RLIMIT_NOFILE")
	c.goesOn(s)
	c.Check("Close", s.Close(), nil)
	c.Check("Open after a Close", closed(segment.Open("new", codec.String(), &segment.Options{Dir: args[0]})), nil)
	for _, s := range segs {
		c.Check("Close", s.Close(), nil)
	}
	after, err := os.ReadDir("/proc/self/fd")
	if err != nil || len(after) != len(before)-1 {
		c.Add("%d descriptors before, %d after, %w", len(before), len(after), err)
	}
	return c.Err()
}

// Each handle needs a descriptor. Without one, every way to open fails with an
// error, and open handles go on.
func TestFileLimit(t *testing.T) {
	dir := proctest.TempDir(t)
	open(t, "other", codec.String(), &segment.Options{Dir: dir})
	proctest.Start(t, "few files", dir).Wait()
}

// shortFiles DIR opens and creates segments in DIR while it may not write files
// of two pages.
func shortFiles(args []string) error {
	var c complaints
	if err := limitTo(unix.RLIMIT_FSIZE, 4096); err != nil {
		return err
	}
	o := &segment.Options{Dir: args[0]}
	s, err := segment.Attach("there", codec.String(), o)
	if err != nil {
		return err
	}
	c.goesOn(s)
	c.Check("Close", s.Close(), nil)
	for _, kind := range []string{"Open", "Create", "OpenMutex"} {
		c.Check(kind, kinds("new", o)[kind](), sharedseg.ErrNoSpace, "RLIMIT_FSIZE", "ulimit -f")
	}
	c.Check("OpenBare", closed(segment.OpenBare("new", 8192, codec.Bytes(), o)), sharedseg.ErrNoSpace, "RLIMIT_FSIZE", "ulimit -f")
	_, err = os.Lstat(args[0] + "/new")
	c.Check("the file of a failed Open", err, fs.ErrNotExist)
	return c.Err()
}

// The limit of the file size leads to an error, not to a signal.
func TestFileSizeLimit(t *testing.T) {
	if proctest.Emulated() {
		t.Skip("the limit would apply to the emulator")
	}
	dir := proctest.TempDir(t)
	open(t, "there", codec.String(), &segment.Options{Dir: dir})
	proctest.Start(t, "short files", dir).Wait()
}

// fewAddresses DIR opens segments in DIR that are larger than the address space
// that is left.
func fewAddresses(args []string) error {
	var c complaints
	s, err := segment.Open("small", codec.String(), &segment.Options{Dir: args[0]})
	if err != nil {
		return err
	}
	if err := limitAddresses(120 << 20); err != nil {
		return err
	}
	o := &segment.Options{Dir: args[0], Capacity: 64 << 20, Slots: 2}
	_, err = segment.Open("new", codec.Bytes(), o)
	c.Check("Open", err, unix.ENOMEM, "RLIMIT_AS", "ulimit -v", "close")
	_, err = segment.Attach("large", codec.Bytes(), o)
	c.Check("Attach", err, unix.ENOMEM, "RLIMIT_AS", "ulimit -v", "close")
	_, err = segment.OpenReader("large", codec.Bytes(), o)
	c.Check("OpenReader", err, unix.ENOMEM, "RLIMIT_AS", "ulimit -v", "close")
	_, err = segment.OpenBare("bare", 128<<20, codec.Bytes(), o)
	c.Check("OpenBare", err, unix.ENOMEM, "RLIMIT_AS", "ulimit -v", "close")
	for _, name := range []string{"new", "bare"} {
		_, err = os.Lstat(args[0] + "/" + name)
		c.Check("the file "+name+" of a failed call", err, fs.ErrNotExist)
	}
	c.goesOn(s)
	c.Check("Close", s.Close(), nil)
	return c.Err()
}

// A mapping that does not fit into the address space fails with an error, and
// does not affect others.
func TestAddressLimit(t *testing.T) {
	if proctest.Emulated() {
		t.Skip("the limit would apply to the emulator")
	}
	dir := proctest.TempDir(t)
	large := open(t, "large", codec.Bytes(), &segment.Options{Dir: dir, Capacity: 64 << 20, Slots: 2})
	proctest.Start(t, "few addresses", dir).Wait()
	if info, err := sharedseg.Stat("large", &sharedseg.Place{Dir: dir}); err != nil || info.Writers != 1 || info.Readers != 0 {
		t.Errorf("Stat = %+v, %v", info, err)
	}
	if err := large.Store([]byte("value")); err != nil {
		t.Error(err)
	}
}

// addressesForFour DIR KIB opens and closes large segments in DIR, one after
// the other. The address space has room for four of them and KIB.
func addressesForFour(args []string) error {
	more, err := strconv.ParseUint(args[1], 10, 64)
	if err != nil {
		return err
	}
	if err := limitAddresses(512<<20 + more<<10); err != nil {
		return err
	}
	for range 6 {
		s, err := segment.Open("x", codec.Bytes(), &segment.Options{Dir: args[0], Capacity: 64 << 20, Slots: 2})
		if err != nil {
			return err
		}
		if err := s.Close(); err != nil {
			return err
		}
	}
	return nil
}

// The addresses of closed handles are reused before so few are left that the
// garbage collector cannot work.
func TestAddressSpace(t *testing.T) {
	if proctest.Emulated() {
		t.Skip("the limit would apply to the emulator")
	}
	for more := 0; more < 2048; more += 256 {
		proctest.Start(t, "addresses for four", proctest.TempDir(t), strconv.Itoa(more)).Wait()
	}
}

// The member table has room for 1024 writable handles. The number of Readers is
// not limited.
func TestTooManyHandles(t *testing.T) {
	const members = 1024
	proctest.AllowFiles(t, members+200)
	o := &segment.Options{Dir: proctest.TempDir(t), Capacity: 1}
	var segs []*segment.Segment[string]
	for range members {
		segs = append(segs, open(t, "x", codec.String(), o))
	}
	for _, kind := range []string{"Open", "Attach"} {
		err := kinds("x", o)[kind]()
		want(t, err, sharedseg.ErrTooManyMembers)
		if err == nil || !strings.Contains(err.Error(), "1024") {
			t.Errorf("%s: %v does not name the limit", kind, err)
		}
	}
	if err := kinds("x", o)["OpenReader"](); err != nil {
		t.Error(err)
	}
	if info, err := sharedseg.Stat("x", o.Place()); info.Writers != members || err != nil {
		t.Errorf("Stat = %+v, %v", info, err)
	}
	if err := segs[0].Store("x"); err != nil {
		t.Error(err)
	}
	segs[500].Close()
	last := open(t, "x", codec.String(), o)
	if v, err := last.Load(); v != "x" || err != nil {
		t.Errorf("Load = %q, %v", v, err)
	}
}

// A file system can run out of inodes.
func TestNoFilesLeft(t *testing.T) {
	dir := proctest.Mount(t, "tmpfs", "nr_inodes=3")
	o := &segment.Options{Dir: dir}
	a, b := open(t, "a", codec.String(), o), open(t, "b", codec.String(), o)
	_, err := segment.Open("c", codec.String(), o)
	want(t, err, sharedseg.ErrNoSpace)
	a.Close()
	open(t, "c", codec.String(), o).Close()
	b.Close()
}

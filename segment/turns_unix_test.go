//go:build unix && !aix

package segment_test

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"github.com/sharedseg/sharedseg/codec"
	"github.com/sharedseg/sharedseg/internal/proctest"
	"github.com/sharedseg/sharedseg/segment"
)

func init() { roles["visitors"] = visitors }

// visitors NAME DIR KIND opens and closes the segment NAME in DIR again and
// again, for writing or, if KIND is "reads", for reading.
func visitors(args []string) error {
	o := &segment.Options{Dir: args[1], Mode: 0o644}
	visit := func() error { return closed(segment.Open(args[0], codec.String(), o)) }
	if args[2] == "reads" {
		visit = func() error { return closed(segment.OpenReader(args[0], codec.String(), o)) }
	}
	return proctest.Repeat(visit)
}

// Two streams of short-lived handles open and close a segment. The readers are
// another user, which may not write. All handles get their turns, and so does a
// new handle.
func TestTurns(t *testing.T) {
	each := 24
	if testing.Short() {
		each = 6
	}
	dir, err := os.MkdirTemp("", proctest.NamePrefix())
	must(t, err)
	defer os.RemoveAll(dir)
	must(t, os.Chmod(dir, 0o755))
	o := &segment.Options{Dir: dir, Mode: 0o644}
	open(t, "x", codec.String(), o)
	ps := proctest.StartGroup(t, each, "visitors", "x", dir, "writes")
	var readers []*exec.Cmd
	for range each {
		readers = append(readers, proctest.Command("visitors", "x", dir, "reads"))
	}
	proctest.AsNobody(t, readers...)
	for _, cmd := range readers {
		ps = append(ps, proctest.StartCmd(t, cmd))
	}
	ps.Expect("ready")
	for range 10 {
		if err := errors.Join(
			closed(segment.Open("x", codec.String(), o)),
			closed(segment.OpenReader("x", codec.String(), o)),
		); err != nil {
			t.Fatal(err)
		}
	}
	ps.StopRepeating()
}

// If all users of a name are stopped for longer than any of them waits, and
// then continued, none of them fails, and nothing is left.
func TestAllStopped(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes as long as Open waits for a stopped process")
	}
	t.Parallel() // it mostly waits
	o := &segment.Options{Dir: proctest.TempDir(t)}
	ps := proctest.StartGroup(t, 6, "visitors", "x", o.Dir, "writes")
	ps.Expect("ready")
	time.Sleep(200 * time.Millisecond)
	for _, p := range ps {
		p.Signal(syscall.SIGSTOP)
	}
	time.Sleep(5500 * time.Millisecond)
	for _, p := range ps {
		p.Signal(syscall.SIGCONT)
	}
	time.Sleep(200 * time.Millisecond)
	ps.StopRepeating()
	if _, err := segment.Attach("x", codec.String(), o); !errors.Is(err, fs.ErrNotExist) {
		t.Error("Attach:", err)
	}
	if files, err := os.ReadDir(o.Dir); len(files) != 0 || err != nil {
		t.Errorf("left: %v, %v", files, err)
	}
}

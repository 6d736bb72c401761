//go:build unix && !aix

package segment_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/sharedseg/sharedseg/codec"
	"github.com/sharedseg/sharedseg/internal/proctest"
	"github.com/sharedseg/sharedseg/segment"
)

func init() { roles["visitors"] = visitors }

// visitors opens and closes the segment NAME in DIR, as one that writes or as
// one that reads, again and again, until its input says something. Then it says
// how often it did.
func visitors(args []string) error {
	o := &segment.Options{Dir: args[1], Mode: 0o644}
	visit := func() error { return closed(segment.Open(args[0], codec.String(), o)) }
	if args[2] == "reads" {
		visit = func() error { return closed(segment.OpenReader(args[0], codec.String(), o)) }
	}
	over := make(chan struct{})
	go func() {
		proctest.Await()
		close(over)
	}()
	fmt.Println("ready")
	for n := 0; ; n++ {
		select {
		case <-over:
			fmt.Println(n)
			return nil
		default:
			if err := visit(); err != nil {
				return fmt.Errorf("after %d visits: %w", n, err)
			}
		}
	}
}

// visited fails the test unless each of the visitors has opened and closed the
// segment.
func visited(t *testing.T, ps []*proctest.Proc) {
	t.Helper()
	for _, p := range ps {
		p.Say("over")
	}
	for _, p := range ps {
		var n int
		if _, err := fmt.Sscan(p.Line(), &n); err != nil || n == 0 {
			t.Errorf("%d visits, %v", n, err)
		}
		p.Wait()
	}
}

// Beside two streams of short-lived handles, of which those that read are
// another user's that may not write, all get their turns, and so does a handle
// that comes.
func TestTurns(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can become another user; internal/mapping has the test of handles that may not write")
	}
	if proctest.Emulated() {
		t.Skip("the visitors would have to start the emulator")
	}
	each := 24
	if testing.Short() {
		each = 6
	}
	dir, err := os.MkdirTemp("", proctest.NamePrefix())
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	o := &segment.Options{Dir: dir, Mode: 0o644}
	open(t, "x", codec.String(), o)
	var ps []*proctest.Proc
	for range each {
		ps = append(ps, proctest.Start(t, "visitors", "x", dir, "writes"))
		cmd := proctest.Command("visitors", "x", dir, "reads")
		executable(t, cmd)
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
		ps = append(ps, proctest.StartCmd(t, cmd))
	}
	for _, p := range ps {
		p.Expect("ready")
	}
	for range 10 {
		if err := errors.Join(
			closed(segment.Open("x", codec.String(), o)),
			closed(segment.OpenReader("x", codec.String(), o)),
		); err != nil {
			t.Fatal(err)
		}
	}
	visited(t, ps)
}

// If all users of a name are stopped for longer than anybody waits, and then go
// on, none of them fails, and nothing is left.
func TestAllStopped(t *testing.T) {
	if testing.Short() {
		t.Skip("takes as long as Open waits for a process that is stopped")
	}
	o := &segment.Options{Dir: proctest.TempDir(t)}
	var ps []*proctest.Proc
	for range 6 {
		p := proctest.Start(t, "visitors", "x", o.Dir, "writes")
		p.Expect("ready")
		ps = append(ps, p)
	}
	time.Sleep(200 * time.Millisecond)
	for _, p := range ps {
		p.Signal(syscall.SIGSTOP)
	}
	time.Sleep(5500 * time.Millisecond)
	for _, p := range ps {
		p.Signal(syscall.SIGCONT)
	}
	time.Sleep(200 * time.Millisecond)
	visited(t, ps)
	if _, err := segment.Attach("x", codec.String(), o); !errors.Is(err, fs.ErrNotExist) {
		t.Error("Attach:", err)
	}
	if files, err := os.ReadDir(o.Dir); len(files) != 0 || err != nil {
		t.Errorf("left: %v, %v", files, err)
	}
}

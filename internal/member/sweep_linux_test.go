package member

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/sharedseg/sharedseg/internal/mapping"
	"github.com/sharedseg/sharedseg/internal/proctest"
	"golang.org/x/sys/unix"
)

func init() { roles["asker"] = asker }

// asker prints whether the first byte of the file args[0] is locked, each time
// it is asked.
func asker(args []string) error {
	file, err := os.Open(args[0])
	if err != nil {
		return err
	}
	for proctest.Await() != "" {
		lock := unix.Flock_t{Type: unix.F_WRLCK, Len: 1}
		err := unix.FcntlFlock(file.Fd(), unix.F_GETLK, &lock)
		fmt.Println(lock.Type != unix.F_UNLCK, err)
	}
	return nil
}

// TestSweepAllKeepsLocks checks that a background sweep does not open a file
// that this process has open. Closing any descriptor of a file drops the POSIX
// locks that the process has on it.
func TestSweepAllKeepsLocks(t *testing.T) {
	dir := proctest.TempDir(t)
	path := filepath.Join(dir, "database")
	file, err := os.Create(path)
	must(t, err)
	defer file.Close()
	_, err = file.WriteString("not a segment")
	must(t, err)
	must(t, unix.FcntlFlock(file.Fd(), unix.F_SETLK, &unix.Flock_t{Type: unix.F_WRLCK, Start: 0, Len: 1}))
	asker := proctest.Start(t, "asker", path)
	for _, sweep := range []func(){func() {}, func() { sweepAll(mapping.Place{Dir: dir}, 4096, time.Minute) }} {
		sweep()
		asker.Say("locked?")
		asker.Expect("true <nil>")
	}
}

// TestSweepAllIsShort checks that the limit of a background sweep includes the
// files that this process has open. To find out takes long if it has many.
func TestSweepAllIsShort(t *testing.T) {
	dir := proctest.TempDir(t)
	const files = 300
	proctest.AllowFiles(t, files+100)
	for i := range files {
		file, err := os.Create(filepath.Join(dir, fmt.Sprint("file", i)))
		must(t, err)
		defer file.Close()
		_, err = file.WriteString("not a segment")
		must(t, err)
	}
	sweep := func(limit time.Duration) time.Duration {
		start := time.Now()
		sweepAll(mapping.Place{Dir: dir}, 4096, limit)
		return time.Since(start)
	}
	long, short := sweep(time.Minute), sweep(time.Millisecond)
	for tries := 0; short > long/4 && tries < 10; tries++ { // the process was not running for a while
		short = min(short, sweep(time.Millisecond))
	}
	if short > long/4 {
		t.Errorf("a sweep of %d open files takes %v with a limit of a millisecond, %v with a minute", files, short, long)
	}
}

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

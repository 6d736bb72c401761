package proctest

import (
	"testing"

	"golang.org/x/sys/unix"
)

// AllowFiles raises the limit of open files to n while the test runs. The test
// is skipped if that is not permitted.
func AllowFiles(t testing.TB, n int) {
	t.Helper()
	var old unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &old); err != nil {
		t.Fatal(err)
	}
	if old.Cur >= uint64(n) {
		return
	}
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: uint64(n), Max: max(old.Max, uint64(n))}); err != nil {
		t.Skipf("this user may not have %d files open: %v", n, err)
	}
	t.Cleanup(func() { unix.Setrlimit(unix.RLIMIT_NOFILE, &old) })
}

package proctest

import (
	"testing"

	"golang.org/x/sys/unix"
)

// Mount mounts a file system for the test, and unmounts it when the test ends.
// It returns the directory. The test is skipped if this user may not mount.
func Mount(t testing.TB, kind, options string) string {
	t.Helper()
	dir := TempDir(t)
	if err := unix.Mount("sharedseg-test", dir, kind, 0, options); err != nil {
		t.Skipf("this user may not mount a %s: %v", kind, err)
	}
	t.Cleanup(func() {
		// Retired mappings hold no file, so nothing keeps the file system busy.
		if err := unix.Unmount(dir, 0); err != nil {
			t.Error(err)
			unix.Unmount(dir, unix.MNT_DETACH)
		}
	})
	return dir
}

// Used returns how many bytes of the file system of dir are in use.
func Used(t testing.TB, dir string) int64 {
	t.Helper()
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		t.Error(err)
	}
	return int64(st.Blocks-st.Bfree) * int64(st.Bsize)
}

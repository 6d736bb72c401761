package proctest

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

// TempDir returns a directory that is removed when the test ends, as
// testing.TB.TempDir does. It removes the files one by one, because Wine does
// not implement what os.RemoveAll asks of Windows.
func TempDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "sharedseg-test")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := removeAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

func removeAll(dir string) error {
	var dirs []string
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err == nil && e.IsDir() {
			dirs = append(dirs, path)
			return nil
		}
		return errors.Join(err, os.Remove(path))
	})
	for i := len(dirs) - 1; i >= 0; i-- {
		err = errors.Join(err, os.Remove(dirs[i]))
	}
	return err
}

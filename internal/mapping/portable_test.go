//go:build unix && !aix && (!linux || sharedseg_portable)

package mapping

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestDescriptors checks that a process has at most two descriptors of a file
// that an Object has open, however often others open and close it, and none
// when all Objects are closed.
func TestDescriptors(t *testing.T) {
	a, p := create(t)
	f := a.file
	for i := range 10 {
		o, err := Open(p, i%2 == 0)
		must(t, err)
		must(t, o.Close())
	}
	if len(f.descriptors) != 2 || f.users != 1 || len(files) != 1 {
		t.Errorf("%d descriptors, %d users, %d files", len(f.descriptors), f.users, len(files))
	}
	must(t, a.Close())
	want(t, a.Close(), os.ErrClosed)
	_, err := a.Hold(0)
	want(t, err, os.ErrClosed)
	_, err = a.AnyHeld()
	want(t, err, os.ErrClosed)
	if len(files) != 0 {
		t.Errorf("%d files are open", len(files))
	}
}

// TestReplaced checks that a removed file and its successor of the same name
// are kept apart, even if both are open.
func TestReplaced(t *testing.T) {
	a, p := create(t)
	is(t, "Hold", func() (bool, error) { return a.Hold(0) }, true)
	must(t, a.Unlink())
	b, err := Create(p)
	must(t, err)
	defer b.Close()
	is(t, "Hold in the other", func() (bool, error) { return b.Hold(0) }, true)
	must(t, a.Close())
	is(t, "Held by itself", func() (bool, error) { return b.Held(0) }, false)
	is(t, "Held", func() (bool, error) { return reopen(t, p).Held(0) }, true)
}

func TestPrivateDir(t *testing.T) {
	tmp := t.TempDir()
	t.Setenv("TMPDIR", tmp)
	p := &Place{Name: "o"}
	dir := filepath.Dir(Path(p))
	if filepath.Dir(dir) != tmp {
		t.Errorf("the default directory is %s", dir)
	}

	// Looking creates nothing.
	_, err := Open(p, false)
	want(t, err, fs.ErrNotExist)
	if names, err := Names(p); names != nil || err != nil {
		t.Errorf("Names = %q, %v", names, err)
	}
	_, err = os.Lstat(dir)
	want(t, err, fs.ErrNotExist)

	o, err := Create(p)
	must(t, err)
	must(t, o.Close())
	info, err := os.Lstat(dir)
	must(t, err)
	if info.Mode() != fs.ModeDir|0o700 {
		t.Errorf("the directory has mode %v", info.Mode())
	}
	if names, err := Names(p); len(names) != 1 || err != nil {
		t.Errorf("Names = %q, %v", names, err)
	}

	refused := func(text string) {
		t.Helper()
		for what, do := range map[string]func() error{
			"Open":   func() error { _, err := Open(p, true); return err },
			"Create": func() error { _, err := Create(&Place{Name: "another"}); return err },
			"Names":  func() error { _, err := Names(p); return err },
		} {
			err := do()
			want(t, err, fs.ErrPermission)
			if err == nil || !strings.Contains(err.Error(), dir+" "+text) || !strings.Contains(err.Error(), "Options.Dir") {
				t.Errorf("%s: %v, want in it: %s", what, err, text)
			}
		}
	}
	for _, mode := range []fs.FileMode{0o710, 0o701, 0o777} {
		must(t, os.Chmod(dir, mode))
		refused("has mode " + mode.String())
	}
	must(t, os.Chmod(dir, 0o700))
	if os.Geteuid() == 0 {
		must(t, os.Chown(dir, 1, -1))
		refused("belongs to user 1, this process is user 0")
		must(t, os.Chown(dir, 0, -1))
	}
	o, err = Open(p, false)
	must(t, err)
	must(t, o.Close())

	must(t, os.Rename(dir, dir+".moved"))
	must(t, os.Symlink(dir+".moved", dir))
	refused("is not a directory")
	must(t, os.Remove(dir))
	must(t, os.WriteFile(dir, nil, 0o600))
	refused("is not a directory")

	// A directory that the Place names may belong to any user.
	must(t, os.Chmod(tmp, 0o755))
	o, err = Create(&Place{Name: "o", Dir: tmp})
	must(t, err)
	must(t, o.Close())

	t.Setenv("TMPDIR", filepath.Join(tmp, "none"))
	_, err = Create(p)
	want(t, err, fs.ErrNotExist)
}

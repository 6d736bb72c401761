package mapping

import (
	"fmt"
	"io/fs"
	"os"
	"runtime"
	"testing"

	"github.com/sharedseg/sharedseg/internal/layout"
	"github.com/sharedseg/sharedseg/internal/proctest"
	"golang.org/x/sys/unix"
)

// TestCreateThatFails checks that a file does not stay if it cannot be used
// although it could be created. The server of a network file system may give a
// file of root to another user.
func TestCreateThatFails(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can create files for another user")
	}
	dir, err := os.MkdirTemp("", proctest.NamePrefix())
	must(t, err)
	defer os.RemoveAll(dir)
	must(t, os.Chmod(dir, 0o777))
	p := &Place{Name: "x", Dir: dir}
	for what, do := range map[string]func() (*Object, error){
		"Create": func() (*Object, error) { return Create(p) },
		"Enter":  func() (*Object, error) { return Enter(p, true, false, proctest.Patience) },
	} {
		runtime.LockOSThread()
		must(t, unix.Setfsuid(proctest.Nobody))
		_, err := do()
		must(t, unix.Setfsuid(0))
		runtime.UnlockOSThread()
		want(t, err, fs.ErrPermission)
		if entries, err := os.ReadDir(dir); len(entries) != 0 || err != nil {
			t.Errorf("after %s: left are %v, %v", what, entries, err)
		}
	}
}

// TestAbandon checks that abandon removes a file that nothing else uses, and no
// other.
func TestAbandon(t *testing.T) {
	for _, c := range []struct {
		what  string
		use   func(t *testing.T, o *Object, p *Place)
		stays bool
	}{
		{"unused", func(*testing.T, *Object, *Place) {}, false},
		{"locked", func(t *testing.T, o *Object, p *Place) { must(t, reopen(t, p).LockRegistry(0)) }, true},
		{"with content", func(t *testing.T, o *Object, p *Place) { must(t, o.write([]byte("x"), 0)) }, true},
		{"replaced", func(t *testing.T, o *Object, p *Place) {
			must(t, os.Remove(Path(p)))
			must(t, os.WriteFile(Path(p), nil, 0o600))
		}, true},
		{"of another", func(t *testing.T, o *Object, p *Place) { o.created = false }, true},
	} {
		t.Run(c.what, func(t *testing.T) {
			o, p := create(t)
			c.use(t, o, p)
			o.abandon()
			if _, err := os.Lstat(Path(p)); err == nil != c.stays {
				t.Errorf("stays: %v, want %v", fmt.Sprint(err), c.stays)
			}
			if c.what == "unused" {
				is(t, "the registry", func() (bool, error) { return o.set(unix.F_WRLCK, layout.RegistryByte) }, true)
			}
		})
	}
}

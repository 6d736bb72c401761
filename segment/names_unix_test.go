//go:build unix && !aix

package segment_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/sharedseg/sharedseg"
	"github.com/sharedseg/sharedseg/codec"
	"github.com/sharedseg/sharedseg/internal/proctest"
	"github.com/sharedseg/sharedseg/segment"
	"golang.org/x/sys/unix"
)

// Names that lead to nothing, to the file of another user, or to a file that
// may not be written.

// When the file of a segment is unlinked or renamed, its handles go on among
// themselves. Later opens of the name get a new segment. Neither side removes
// the file of the other.
func TestUnlinkedUnderLiveHandles(t *testing.T) {
	for what, take := range map[string]func(path string) error{
		"unlinked": os.Remove,
		"moved":    func(path string) error { return os.Rename(path, path+".moved") },
	} {
		t.Run(what, func(t *testing.T) {
			o := &segment.Options{Dir: proctest.TempDir(t)}
			path := filepath.Join(o.Dir, "x")
			a, b := open(t, "x", codec.String(), o), open(t, "x", codec.String(), o)
			r, err := segment.OpenReader("x", codec.String(), o)
			must(t, err)
			defer r.Close()
			bare, err := segment.OpenBare("bare", 64, codec.UTF16(), o)
			must(t, err)
			defer bare.Close()
			must(t, errors.Join(a.Store("old"), take(path), take(filepath.Join(o.Dir, "bare"))))
			if _, err := segment.Attach("x", codec.String(), o); !errors.Is(err, fs.ErrNotExist) {
				t.Error("Attach to an unlinked name: ", err)
			}
			fresh := open(t, "x", codec.String(), o)
			if err := fresh.Store("new"); err != nil || !fresh.Created() {
				t.Error("the next Open did not create a segment: ", err)
			}
			freshBare, err := segment.OpenBare("bare", 64, codec.UTF16(), o)
			must(t, err)
			defer freshBare.Close()
			must(t, errors.Join(freshBare.Store("new"), bare.Store("old")))

			values := make(chan string)
			go func() {
				for v, err := range r.Watch(t.Context()) {
					if err == nil {
						values <- v
					}
				}
				close(values)
			}()
			if v := <-values; v != "old" {
				t.Errorf("the Reader loads %q", v)
			}
			if err := b.Store("older"); err != nil {
				t.Error(err)
			}
			if v := <-values; v != "older" {
				t.Errorf("the Reader loads %q", v)
			}
			if v, err := a.Load(); v != "older" || err != nil {
				t.Errorf("Load of the old segment = %q, %v", v, err)
			}
			if v, err := bare.Load(); v != "old" || err != nil {
				t.Errorf("Load of the old bare mapping = %q, %v", v, err)
			}
			for _, h := range []interface{ Close() error }{a, b, r, bare} {
				if err := h.Close(); err != nil {
					t.Error(err)
				}
			}
			<-values
			late, err := segment.Attach("x", codec.String(), o)
			if err != nil {
				t.Fatal("the old handles removed the new segment: ", err)
			}
			defer late.Close()
			if v, err := late.Load(); v != "new" || err != nil {
				t.Errorf("Load of the new segment = %q, %v", v, err)
			}
			if v, err := freshBare.Load(); v != "new" || err != nil {
				t.Errorf("Load of the new bare mapping = %q, %v", v, err)
			}
			if removed, err := sharedseg.Sweep(o.Place()); err != nil || what == "moved" && !slices.Equal(removed, []string{"x.moved"}) {
				t.Errorf("Sweep = %v, %v", removed, err)
			}
		})
	}
}

// plants are files that another user can put at a name, and what opening the
// name returns.
var plants = map[string]struct {
	is   error
	text string
	stat error // for root, which may inspect it
}{
	"empty":     {fs.ErrPermission, "belongs to user", fs.ErrNotExist},
	"text":      {fs.ErrPermission, "belongs to user", sharedseg.ErrIncompatible},
	"mark":      {fs.ErrPermission, "belongs to user", fs.ErrNotExist},
	"left":      {fs.ErrPermission, "belongs to user", nil},
	"trap":      {fs.ErrPermission, "belongs to user", nil},
	"link":      {sharedseg.ErrIncompatible, "symbolic link", sharedseg.ErrIncompatible},
	"dangling":  {sharedseg.ErrIncompatible, "symbolic link", sharedseg.ErrIncompatible},
	"trap-link": {sharedseg.ErrIncompatible, "symbolic link", sharedseg.ErrIncompatible},
	"directory": {sharedseg.ErrIncompatible, " is ", sharedseg.ErrIncompatible},
	"fifo":      {sharedseg.ErrIncompatible, "not a regular file", sharedseg.ErrIncompatible},
	// A hard link makes the file of another user look like a segment.
	"hard-link":  {sharedseg.ErrIncompatible, "several names", sharedseg.ErrIncompatible},
	"empty-link": {sharedseg.ErrIncompatible, "several names", sharedseg.ErrIncompatible},
}

// plant creates the plants of a user in a directory in which no other user can
// remove them. "trap" is a segment that persists, "left" is one whose users
// died.
func plant(t *testing.T, user int) (dir string) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root can give files away")
	}
	dir = proctest.TempDir(t)
	in := func(name string) string { return filepath.Join(dir, name) }
	write := func(name, content string) error {
		return errors.Join(os.WriteFile(in(name), []byte(content), 0o666), os.Chmod(in(name), 0o666)) // because of the umask
	}
	open(t, "trap", codec.String(), &segment.Options{Dir: dir, Persist: true}).Close()
	dies := proctest.Start(t, "holder", "left", "lost", dir)
	dies.Expect("holding true")
	dies.Kill()
	gone(t, "left", &segment.Options{Dir: dir}, 0)
	if err := errors.Join(
		write("precious", "precious"),
		write("empty", ""),
		write("own", ""),
		os.Link(in("own"), in("empty-link")),
		write("text", "some text"),
		write("mark", "sharedsg"),
		os.Symlink(in("precious"), in("link")),
		os.Symlink(in("nowhere"), in("dangling")),
		os.Symlink(in("trap"), in("trap-link")),
		os.Mkdir(in("directory"), 0o777),
		unix.Mkfifo(in("fifo"), 0o666),
		os.Link(in("precious"), in("hard-link")),
		os.Chmod(in("trap"), 0o666),
		os.Chmod(in("left"), 0o666),
	); err != nil {
		t.Fatal(err)
	}
	for name := range plants {
		if strings.Contains(name, "-link") && name != "trap-link" {
			continue
		}
		must(t, os.Lchown(in(name), user, user))
	}
	must(t, os.Chmod(dir, 0o777|fs.ModeSticky))
	return dir
}

// state returns the metadata of all files of a directory.
func state(dir string) (map[string]string, error) {
	entries, err := os.ReadDir(dir)
	all := map[string]string{}
	for _, e := range entries {
		info, e := e.Info()
		if e != nil {
			return nil, e
		}
		st := info.Sys().(*syscall.Stat_t)
		all[info.Name()] = fmt.Sprint(st.Ino, st.Size, st.Mode, st.Uid, info.ModTime())
	}
	return all, err
}

// In a directory that all users may write to, such as /dev/shm, a file that
// another user put at a name is neither used nor changed, and delays no call.
// Root may inspect it, and sweeps what dead processes left.
func TestPlantedByAnother(t *testing.T) {
	dir := plant(t, proctest.Nobody)
	o := &segment.Options{Dir: dir}
	before, err := state(dir)
	must(t, err)
	for name, plant := range plants {
		for kind, do := range kinds(name, o) {
			err := do()
			switch {
			case kind == "Stat" && plant.stat == nil:
				if err != nil {
					t.Errorf("Stat of %s: %v", name, err)
				}
			case kind == "Stat":
				want(t, err, plant.stat)
			case !errors.Is(err, plant.is) || !strings.Contains(err.Error(), plant.text):
				t.Errorf("%s of %s: %v", kind, name, err)
			}
		}
	}
	var names []string
	for info, err := range sharedseg.List(o.Place()) {
		if err != nil {
			t.Errorf("List gives %+v, %v", info, err)
		}
		names = append(names, info.Name)
	}
	if !slices.Equal(names, []string{"left", "trap"}) {
		t.Errorf("root's List gives %v", names)
	}
	if names, err := sharedseg.Leftovers(o.Place()); !slices.Equal(names, []string{"left", "mark"}) || err != nil {
		t.Errorf("Leftovers = %v, %v", names, err)
	}
	if removed, err := sharedseg.Sweep(o.Place()); !slices.Equal(removed, []string{"left", "mark"}) || err != nil {
		t.Errorf("root's Sweep = %v, %v", removed, err)
	}
	for _, name := range []string{"left", "mark"} {
		delete(before, name)
	}
	if after, err := state(dir); err != nil || !maps.Equal(before, after) {
		t.Errorf("files are\n%v, %v, before they were\n%v", after, err, before)
	}
}

func init() { roles["victim"] = victim }

// victim DIR uses the names in DIR, whose files belong to another user.
func victim(args []string) error {
	dir := args[0]
	o := &segment.Options{Dir: dir}
	before, err := state(dir)
	if err != nil {
		return err
	}
	var c proctest.Complaints
	for name, plant := range plants {
		for kind, do := range kinds(name, o) {
			c.Check(kind+" of "+name, do(), plant.is, plant.text)
		}
	}
	for info, e := range sharedseg.List(o.Place()) {
		c.Add("List gives %+v, %v", info, e)
	}
	removed, e := sharedseg.Sweep(o.Place())
	c.Check("Sweep", e, nil)
	if removed != nil {
		c.Add("Sweep: it removes %v", removed)
	}

	// With a Mode it may open what others left, but may not remove it, and
	// reports that.
	removed, e = sharedseg.Sweep(&sharedseg.Place{Dir: dir, Mode: 0o666})
	c.Check("Sweep with Mode", e, fs.ErrPermission, "sweep left: ", "sweep mark: ", "only the owner of the file")
	if removed != nil {
		c.Add("Sweep with Mode: it reports %v as removed", removed)
	}
	c.Check("Remove with Mode", sharedseg.Remove("left", &sharedseg.Place{Dir: dir, Mode: 0o666}), fs.ErrPermission, "only the owner of the file")
	after, e := state(dir)
	c.Check("ReadDir", e, nil)
	if !maps.Equal(before, after) {
		c.Add("files: they are\n%v, they were\n%v", after, before)
	}
	return c.Err()
}

// The same for a user other than root.
func TestPlantedByRoot(t *testing.T) {
	dir := plant(t, 0)
	cmd := proctest.Command("victim", dir)
	proctest.AsNobody(t, cmd)
	proctest.StartCmd(t, cmd).Wait()
	for name, what := range map[string]string{"precious": "precious", "own": ""} {
		if b, err := os.ReadFile(filepath.Join(dir, name)); string(b) != what || err != nil {
			t.Errorf("%s holds %q, %v", name, b, err)
		}
	}
}

// Remove does not remove a file that is not a segment or a lock. RemoveBare
// does not remove a segment.
func TestRemoveForeign(t *testing.T) {
	o := &segment.Options{Dir: proctest.TempDir(t)}
	path := filepath.Join(o.Dir, "notes")
	must(t, os.WriteFile(path, []byte("what I did today"), 0o600))
	err := sharedseg.Remove("notes", o.Place())
	if !errors.Is(err, sharedseg.ErrIncompatible) || !strings.Contains(err.Error(), "it is neither a segment nor a lock") || !strings.Contains(err.Error(), "segment.RemoveBare") {
		t.Errorf("Remove of a file of notes: %v", err)
	}
	if b, err := os.ReadFile(path); string(b) != "what I did today" || err != nil {
		t.Errorf("the file of notes holds %q, %v", b, err)
	}
	open(t, "x", codec.String(), o)
	err = segment.RemoveBare("x", o)
	if !errors.Is(err, sharedseg.ErrIncompatible) || !strings.Contains(err.Error(), "sharedseg.Remove") {
		t.Errorf("RemoveBare of a segment: %v", err)
	}
	if _, err := sharedseg.Stat("x", o.Place()); err != nil {
		t.Error(err)
	}
	if err := segment.RemoveBare("notes", o); err != nil {
		t.Error(err)
	}
	want(t, segment.RemoveBare("notes", o), fs.ErrNotExist)
	want(t, segment.RemoveBare(".notes", nil), fs.ErrInvalid)
}

// clerk DIR tries what a user may do with files and directories in DIR that it
// may not write to.
func clerk(args []string) error {
	dir := args[0]
	o := &segment.Options{Dir: dir}
	var c proctest.Complaints
	path := filepath.Join(dir, "kept")
	s, e := segment.Open("kept", codec.String(), &segment.Options{Dir: dir, Persist: true})
	if e != nil {
		return e
	}
	c.Check("store", s.Store("value"), nil)
	c.Check("close", s.Close(), nil)

	// A file that may only be read.
	c.Check("chmod", os.Chmod(path, 0o444), nil)
	for kind, do := range kinds("kept", o) {
		switch kind {
		case "Stat", "OpenReader":
			c.Check(kind+" of a read-only file", do(), nil)
		default:
			c.Check(kind+" of a read-only file", do(), fs.ErrPermission, path, "-r--r--r--", "OpenReader")
		}
	}
	r, e := segment.OpenReader("kept", codec.String(), o)
	c.Check("reader of a read-only file", e, nil)
	if e != nil {
		return c.Err()
	}
	v, e := r.Load()
	c.Check("load", e, nil)
	if v != "value" {
		c.Add("the Reader loads %q", v)
	}
	soon, cancel := context.WithTimeout(context.Background(), 10*time.Millisecond)
	defer cancel()
	_, e = r.Wait(soon, 1)
	c.Check("wait", e, context.DeadlineExceeded)
	c.Check("close of the reader", r.Close(), nil)

	// One that may not even be read.
	c.Check("chmod", os.Chmod(path, 0), nil)
	for kind, do := range kinds("kept", o) {
		c.Check(kind+" of a forbidden file", do(), fs.ErrPermission, path, "----------")
	}
	for info, e := range sharedseg.List(o.Place()) {
		c.Add("List gives %+v, %v", info, e)
	}

	// A directory in which nothing may be created, and one that may not be
	// entered.
	c.Check("chmod", os.Chmod(dir, 0o500), nil)
	for _, kind := range []string{"Open", "Create", "OpenBare", "OpenMutex"} {
		c.Check(kind+" in a read-only directory", kinds("x", o)[kind](), fs.ErrPermission, dir, "Options.Dir")
	}
	c.Check("chmod", os.Chmod(dir, 0), nil)
	for kind, do := range kinds("x", o) {
		c.Check(kind+" in a forbidden directory", do(), fs.ErrPermission, dir, "Options.Dir")
	}
	_, e = sharedseg.Sweep(o.Place())
	c.Check("sweep of a forbidden directory", e, fs.ErrPermission, dir, "Options.Dir")
	c.Check("chmod", os.Chmod(dir, 0o700), nil)
	return c.Err()
}

func init() { roles["clerk"] = clerk }

func TestReadOnlyFile(t *testing.T) {
	dir := proctest.TempDir(t)
	p := asNobody(t, "clerk", dir)
	p.Wait()
}

// asNobody starts a role that owns DIR, its first argument. If this user is
// root, which permissions do not restrict, the role runs as another user.
func asNobody(t *testing.T, role, dir string, args ...string) *proctest.Proc {
	t.Helper()
	cmd := proctest.Command(role, append([]string{dir}, args...)...)
	if os.Geteuid() == 0 {
		must(t, os.Chown(dir, proctest.Nobody, proctest.Nobody))
		proctest.AsNobody(t, cmd)
	}
	return proctest.StartCmd(t, cmd)
}

// The directory is a file, or does not exist.
func TestNoDirectory(t *testing.T) {
	dir := proctest.TempDir(t)
	file := filepath.Join(dir, "file")
	must(t, os.WriteFile(file, nil, 0o600))
	for place, is := range map[string]error{file: fs.ErrInvalid, filepath.Join(dir, "none"): fs.ErrNotExist} {
		o := &segment.Options{Dir: place}
		doings := kinds("x", o)
		doings["Sweep"] = func() error { _, err := sharedseg.Sweep(o.Place()); return err }
		doings["List"] = func() (err error) {
			for _, err = range sharedseg.List(o.Place()) {
			}
			return err
		}
		for kind, do := range doings {
			if err := do(); !errors.Is(err, is) || !strings.Contains(err.Error(), place) || !strings.Contains(err.Error(), "Options.Dir") {
				t.Errorf("%s in %s: %v", kind, place, err)
			}
		}
	}
}

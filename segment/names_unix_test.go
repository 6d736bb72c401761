//go:build unix && !aix

package segment_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
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

// What a name may lead to, and what may become of it: nothing any more,
// another's file, one that may not be written.

// Those whose file lost its name, to another or to none, go on among
// themselves; those who open the name then have another segment; and neither
// takes the other's name away in the end.
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
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			bare, err := segment.OpenBare("bare", 64, codec.UTF16(), o)
			if err != nil {
				t.Fatal(err)
			}
			defer bare.Close()
			if err := errors.Join(a.Store("old"), take(path), take(filepath.Join(o.Dir, "bare"))); err != nil {
				t.Fatal(err)
			}
			if _, err := segment.Attach("x", codec.String(), o); !errors.Is(err, fs.ErrNotExist) {
				t.Error("attach to a name that leads nowhere: ", err)
			}
			fresh := open(t, "x", codec.String(), o)
			if err := fresh.Store("new"); err != nil || !fresh.Created() {
				t.Error("the next to open it did not begin anew: ", err)
			}
			freshBare, err := segment.OpenBare("bare", 64, codec.UTF16(), o)
			if err != nil {
				t.Fatal(err)
			}
			defer freshBare.Close()
			if err := errors.Join(freshBare.Store("new"), bare.Store("old")); err != nil {
				t.Fatal(err)
			}

			news := make(chan string)
			go func() {
				for v, err := range r.Watch(t.Context()) {
					if err == nil {
						news <- v
					}
				}
				close(news)
			}()
			if v := <-news; v != "old" {
				t.Errorf("the reader sees %q", v)
			}
			if err := b.Store("older"); err != nil {
				t.Error(err)
			}
			if v := <-news; v != "older" {
				t.Errorf("the reader sees %q", v)
			}
			if v, err := a.Load(); v != "older" || err != nil {
				t.Errorf("Load of the old one = %q, %v", v, err)
			}
			if v, err := bare.Load(); v != "old" || err != nil {
				t.Errorf("Load of the old bare one = %q, %v", v, err)
			}
			for _, h := range []interface{ Close() error }{a, b, r, bare} {
				if err := h.Close(); err != nil {
					t.Error(err)
				}
			}
			<-news
			late, err := segment.Attach("x", codec.String(), o)
			if err != nil {
				t.Fatal("the old handles took the new one's name: ", err)
			}
			defer late.Close()
			if v, err := late.Load(); v != "new" || err != nil {
				t.Errorf("Load of the new one = %q, %v", v, err)
			}
			if v, err := freshBare.Load(); v != "new" || err != nil {
				t.Errorf("Load of the new bare one = %q, %v", v, err)
			}
			if removed, err := sharedseg.Sweep(o.Place()); err != nil || what == "moved" && !slices.Equal(removed, []string{"x.moved"}) {
				t.Errorf("Sweep = %v, %v", removed, err)
			}
		})
	}
}

// plants are what another user may have put in the place of a name, and what
// becomes of those who use the name.
var plants = map[string]struct {
	is   error
	text string
	stat error // for root, who may look at it
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
	// A hard link is another's way to have one's own file used for what it is
	// not.
	"hard-link":  {sharedseg.ErrIncompatible, "several names", sharedseg.ErrIncompatible},
	"empty-link": {sharedseg.ErrIncompatible, "several names", sharedseg.ErrIncompatible},
}

// plant puts the plants of a user into a directory in which nobody removes the
// files of others. A segment that persists is "trap", one that its users left
// when they died is "left".
func plant(t *testing.T, user int) (dir string) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root can give files away")
	}
	dir = proctest.TempDir(t)
	in := func(name string) string { return filepath.Join(dir, name) }
	write := func(name, content string) error {
		return errors.Join(os.WriteFile(in(name), []byte(content), 0o666), os.Chmod(in(name), 0o666)) // whatever the umask
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
		if err := os.Lchown(in(name), user, user); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(dir, 0o777|fs.ModeSticky); err != nil {
		t.Fatal(err)
	}
	return dir
}

// state is what all files of a directory are.
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

// In a directory that everyone may write, as /dev/shm is, what another user has
// put in the place of a name is neither used nor changed, whatever it is, and
// holds nobody up. Root may look at it, and sweeps what the dead have left.
func TestPlantedByAnother(t *testing.T) {
	dir := plant(t, 65534)
	o := &segment.Options{Dir: dir}
	before, err := state(dir)
	if err != nil {
		t.Fatal(err)
	}
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

// victim uses the names in DIR, whose files belong to another user.
func victim(args []string) (err error) {
	dir := args[0]
	o := &segment.Options{Dir: dir}
	before, err := state(dir)
	if err != nil {
		return err
	}
	check := checking(&err)
	for name, plant := range plants {
		for kind, do := range kinds(name, o) {
			check(kind+" of "+name, do(), plant.is, plant.text)
		}
	}
	for info, e := range sharedseg.List(o.Place()) {
		check(fmt.Sprint("List gives ", info), e, nil, "nothing")
	}
	removed, e := sharedseg.Sweep(o.Place())
	check("Sweep", e, nil)
	if removed != nil {
		check("Sweep", fmt.Errorf("it removes %v", removed), nil)
	}

	// With a Mode it may open what others left, but not remove it, and says so.
	removed, e = sharedseg.Sweep(&sharedseg.Place{Dir: dir, Mode: 0o666})
	check("Sweep with Mode", e, fs.ErrPermission, "sweep left: ", "sweep mark: ", "only the owner of the file")
	if removed != nil {
		check("Sweep with Mode", fmt.Errorf("it reports %v as removed", removed), nil)
	}
	check("Remove with Mode", sharedseg.Remove("left", &sharedseg.Place{Dir: dir, Mode: 0o666}), fs.ErrPermission, "only the owner of the file")
	after, e := state(dir)
	check("ReadDir", e, nil)
	if !maps.Equal(before, after) {
		check("files", fmt.Errorf("they are\n%v, they were\n%v", after, before), nil)
	}
	return err
}

// The same for a user who is not root.
func TestPlantedByRoot(t *testing.T) {
	dir := plant(t, 0)
	cmd := proctest.Command("victim", dir)
	if proctest.Emulated() {
		t.Skip("another user would have to start the emulator")
	}
	executable(t, cmd)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	proctest.StartCmd(t, cmd).Wait()
	for name, what := range map[string]string{"precious": "precious", "own": ""} {
		if b, err := os.ReadFile(filepath.Join(dir, name)); string(b) != what || err != nil {
			t.Errorf("%s holds %q, %v", name, b, err)
		}
	}
}

// What is no segment and no lock is not removed as one, and the other way
// round.
func TestRemoveForeign(t *testing.T) {
	o := &segment.Options{Dir: proctest.TempDir(t)}
	path := filepath.Join(o.Dir, "notes")
	if err := os.WriteFile(path, []byte("what I did today"), 0o600); err != nil {
		t.Fatal(err)
	}
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

// checking returns what wants an error to be another one and to say all texts,
// and adds to *all what is not so.
func checking(all *error) func(what string, got, want error, texts ...string) {
	return func(what string, got, want error, texts ...string) {
		if !errors.Is(got, want) {
			*all = errors.Join(*all, fmt.Errorf("%s: %v, want %v", what, got, want))
		}
		for _, text := range texts {
			if got == nil || !strings.Contains(got.Error(), text) {
				*all = errors.Join(*all, fmt.Errorf("%s: %q does not say %q", what, got, text))
			}
		}
	}
}

// clerk tries what a user may do with files and directories in DIR that
// permissions keep it from writing.
func clerk(args []string) (err error) {
	dir := args[0]
	o := &segment.Options{Dir: dir}
	check := checking(&err)
	path := filepath.Join(dir, "kept")
	s, e := segment.Open("kept", codec.String(), &segment.Options{Dir: dir, Persist: true})
	if e != nil {
		return e
	}
	check("store", s.Store("value"), nil)
	check("close", s.Close(), nil)

	// A file that may only be read.
	check("chmod", os.Chmod(path, 0o444), nil)
	for kind, do := range kinds("kept", o) {
		switch kind {
		case "Stat", "OpenReader":
			check(kind+" of a read-only file", do(), nil)
		default:
			check(kind+" of a read-only file", do(), fs.ErrPermission, path, "-r--r--r--", "OpenReader")
		}
	}
	r, e := segment.OpenReader("kept", codec.String(), o)
	check("reader of a read-only file", e, nil)
	if e != nil {
		return err
	}
	v, e := r.Load()
	check("load", e, nil)
	if v != "value" {
		err = errors.Join(err, fmt.Errorf("the reader loads %q", v))
	}
	soon, cancel := context.WithTimeout(context.Background(), 10*time.Millisecond)
	defer cancel()
	_, e = r.Wait(soon, 1)
	check("wait", e, context.DeadlineExceeded)
	check("close of the reader", r.Close(), nil)

	// One that may not even be read.
	check("chmod", os.Chmod(path, 0), nil)
	for kind, do := range kinds("kept", o) {
		check(kind+" of a forbidden file", do(), fs.ErrPermission, path, "----------")
	}
	for info, e := range sharedseg.List(o.Place()) {
		check(fmt.Sprint("list gives ", info), e, nil, "nothing")
	}

	// A directory in which nothing may be created, and one that may not be
	// entered.
	check("chmod", os.Chmod(dir, 0o500), nil)
	for _, kind := range []string{"Open", "Create", "OpenBare", "OpenMutex"} {
		check(kind+" in a read-only directory", kinds("x", o)[kind](), fs.ErrPermission, dir, "Options.Dir")
	}
	check("chmod", os.Chmod(dir, 0), nil)
	for kind, do := range kinds("x", o) {
		check(kind+" in a forbidden directory", do(), fs.ErrPermission, dir, "Options.Dir")
	}
	_, e = sharedseg.Sweep(o.Place())
	check("sweep of a forbidden directory", e, fs.ErrPermission, dir, "Options.Dir")
	check("chmod", os.Chmod(dir, 0o700), nil)
	return err
}

func init() { roles["clerk"] = clerk }

func TestReadOnlyFile(t *testing.T) {
	dir := proctest.TempDir(t)
	p := asNobody(t, "clerk", dir)
	p.Wait()
}

// asNobody starts a role that owns DIR, its first argument, as a user whom
// permissions count for: another one, if this is root.
func asNobody(t *testing.T, role, dir string, args ...string) *proctest.Proc {
	t.Helper()
	cmd := proctest.Command(role, append([]string{dir}, args...)...)
	if os.Geteuid() == 0 {
		if proctest.Emulated() {
			t.Skip("another user would have to start the emulator")
		}
		const nobody = 65534
		if err := os.Chown(dir, nobody, nobody); err != nil {
			t.Fatal(err)
		}
		executable(t, cmd)
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	}
	return proctest.StartCmd(t, cmd)
}

// executable makes the program of a command one that another user may execute,
// by a copy.
func executable(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	dir := proctest.TempDir(t)
	exe := filepath.Join(dir, "program")
	self, err := os.ReadFile(cmd.Path)
	cmd.Path = exe
	if err == nil {
		err = os.WriteFile(exe, self, 0o755)
	}
	if err := errors.Join(err, os.Chmod(exe, 0o755), os.Chmod(dir, 0o755)); err != nil {
		t.Fatal(err)
	}
}

// A place that is no directory.
func TestNoDirectory(t *testing.T) {
	dir := proctest.TempDir(t)
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
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

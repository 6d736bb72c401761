package segment_test

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/sharedseg/sharedseg"
	"github.com/sharedseg/sharedseg/codec"
	"github.com/sharedseg/sharedseg/internal/mapping"
	"github.com/sharedseg/sharedseg/internal/proctest"
	"github.com/sharedseg/sharedseg/segment"
	"github.com/sharedseg/sharedseg/sync"
	"golang.org/x/sys/unix"
)

// Processes with different process IDs, clocks and file systems, as in
// containers.

func init() {
	roles["contained"] = contained
	roles["read-only mount"] = readOnlyMount
	roles["no shared memory"] = noSharedMemory
	roles["sweeper"] = sweeper
}

// contained DIR stays in an Update of the segment "x" in DIR, with the mutex
// "m" locked, until the test says something. Then it waits for a version of "x"
// after that of the Update, and writes its value.
func contained(args []string) error {
	o := &segment.Options{Dir: args[0]}
	s, err := segment.Open("x", codec.String(), o)
	if err != nil {
		return err
	}
	defer s.Close()
	m, err := ipcsync.OpenMutex("m", &ipcsync.Options{Dir: args[0], Repair: func() error { return nil }})
	if err != nil {
		return err
	}
	defer m.Close()
	if err := m.Lock(context.Background()); err != nil {
		return err
	}
	var version uint64
	err = s.Update(func(v *string) error {
		version = s.Version() + 1
		*v = "contained"
		fmt.Println(os.Getpid(), "holds both")
		proctest.Await()
		return nil
	})
	if err != nil {
		return err
	}
	if err := m.Unlock(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), proctest.Patience)
	defer cancel()
	if _, err := s.Wait(ctx, version); err != nil {
		return err
	}
	v, err := s.Load()
	if err != nil {
		return err
	}
	fmt.Println(v)
	return nil
}

// share tests processes, started by start, that share a segment and a mutex
// with this one. Their death is noticed, they are not taken for dead while they
// live, and in the end one of them waits for a version. They report pid, if it
// is not empty.
func share(t *testing.T, pid string, start func(dir string) *proctest.Proc) {
	dir := proctest.TempDir(t)
	o := &segment.Options{Dir: dir}
	s := open(t, "x", codec.String(), o)
	m, err := ipcsync.OpenMutex("m", &ipcsync.Options{Dir: dir})
	must(t, err)
	defer m.Close()
	must(t, s.Store("old"))
	begin := func() *proctest.Proc {
		t.Helper()
		p := start(dir)
		line := p.Line()
		if !strings.HasSuffix(line, " holds both") || pid != "" && line != pid+" holds both" {
			t.Fatalf("the process wrote %q", line)
		}
		return p
	}
	for range 3 {
		p := begin()
		soon, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		want(t, s.StoreContext(soon, "taken from a live owner"), context.DeadlineExceeded)
		want(t, m.Lock(soon), context.DeadlineExceeded)
		cancel()
		if info, err := sharedseg.Stat("x", o.Place()); info.Writers != 2 || err != nil {
			t.Errorf("Stat = %+v, %v", info, err)
		}
		p.Kill()
		ctx := patient(t)
		want(t, m.Lock(ctx), sharedseg.ErrOwnerDied)
		if v, err := s.Load(); v != "old" || err != nil {
			t.Errorf("Load = %q, %v", v, err)
		}
		must(t, s.StoreContext(ctx, "old"))
	}

	// One process is killed while another of its namespace kind waits for its
	// locks.
	dies, lives := begin(), start(dir)
	time.Sleep(10 * time.Millisecond)
	dies.Kill()
	if line := lives.Line(); !strings.HasSuffix(line, " holds both") {
		t.Fatalf("the process wrote %q", line)
	}
	after := s.Version()
	lives.Say("go on")
	ctx := patient(t)
	if _, err := s.Wait(ctx, after); err != nil {
		t.Fatal(err)
	}
	if v, err := s.Load(); v != "contained" || err != nil {
		t.Errorf("Load = %q, %v", v, err)
	}
	must(t, s.Store("end"))
	lives.Expect("end")
	lives.Wait()
}

// Processes in different PID namespaces, each of which is process 1 in its own,
// tell each other apart, and the dead from the living.
func TestPIDNamespaces(t *testing.T) {
	share(t, "1", func(dir string) *proctest.Proc {
		return proctest.StartIn(t, syscall.CLONE_NEWPID, "contained", dir)
	})
}

// Processes do not exchange clock readings: they work together even if their
// monotonic clocks are weeks apart.
func TestTimeNamespaces(t *testing.T) {
	if proctest.Emulated() {
		t.Skip("the program would have to start the emulator")
	}
	share(t, "", func(dir string) *proctest.Proc { return proctest.StartAhead(t, "3000000", "contained", dir) })
}

// privateMounts hides the mounts of this process from all others.
func privateMounts() error { return unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, "") }

// mounting starts a role that mounts file systems, in a mount namespace of its
// own. The role writes "mounted" if that succeeded.
func mounting(t *testing.T, role string, args ...string) {
	t.Helper()
	p := proctest.StartIn(t, syscall.CLONE_NEWNS, role, args...)
	if line := p.Line(); line != "mounted" {
		t.Skip("this user, or this container, may not mount: ", line)
	}
	p.Wait()
}

// readOnlyMount DIR makes DIR read-only and works in it.
func readOnlyMount(args []string) error {
	dir := args[0]
	o := &segment.Options{Dir: dir}
	err := privateMounts()
	if err == nil {
		err = unix.Mount("sharedseg-test", dir, "tmpfs", 0, "size=1m")
	}
	if err != nil {
		fmt.Println(err)
		return nil
	}
	s, err := segment.Open("x", codec.String(), &segment.Options{Dir: dir, Persist: true})
	if err != nil {
		return err
	}
	if err := s.Store("value"); err != nil {
		return err
	}
	if err := s.Close(); err != nil {
		return err
	}
	if err := unix.Mount("", dir, "", unix.MS_REMOUNT|unix.MS_RDONLY, ""); err != nil {
		fmt.Println(err)
		return nil
	}
	fmt.Println("mounted")
	var c complaints
	for _, name := range []string{"x", "new"} {
		for kind, do := range kinds(name, o) {
			switch {
			case kind == "OpenReader" || kind == "Stat" || name == "new" && (kind == "Attach" || kind == "Remove" || kind == "RemoveBare"):
			default:
				c.Check(kind+" of "+name, do(), fs.ErrPermission, dir, "Options.Dir", "read-only")
			}
		}
	}
	r, err := segment.OpenReader("x", codec.String(), o)
	c.Check("OpenReader", err, nil)
	if err != nil {
		return c.Err()
	}
	c.loads(r.Load())
	c.Check("close", r.Close(), nil)
	c.Check("Stat", kinds("x", o)["Stat"](), nil)
	return c.Err()
}

func TestReadOnlyMount(t *testing.T) { mounting(t, "read-only mount", proctest.TempDir(t)) }

// noSharedMemory works without a /dev/shm.
func noSharedMemory([]string) error {
	dir := mapping.Path(&mapping.Place{Name: "x"})
	if !strings.HasPrefix(dir, "/dev/shm/") {
		fmt.Println("this build has its segments in", dir)
		return nil
	}
	err := privateMounts()
	if err == nil {
		err = unix.Mount("sharedseg-test", "/dev", "tmpfs", 0, "size=64k")
	}
	if err != nil {
		fmt.Println(err)
		return nil
	}
	fmt.Println("mounted")
	var c complaints
	doings := kinds("x", &segment.Options{})
	doings["Sweep"] = func() error { _, err := sharedseg.Sweep(nil); return err }
	for kind, do := range doings {
		c.Check(kind, do(), fs.ErrNotExist, "directory /dev/shm does not exist", "create it", "Options.Dir")
	}
	if err := os.Mkdir("/dev/shm", 0o777); err != nil {
		return err
	}
	c.Check("Open once it is there", closed(segment.Open("x", codec.String(), nil)), nil)
	return c.Err()
}

func TestNoSharedMemory(t *testing.T) { mounting(t, "no shared memory") }

// sweeper DIR SWEEP creates a name in a shared memory of its own, which
// contains a segment that dead users left and one that persists. It prepares
// them in DIR.
func sweeper(args []string) error {
	dir, sweeps := args[0], args[1]
	if path := mapping.Path(&mapping.Place{Name: "x"}); path != "/dev/shm/x" {
		fmt.Println("this build has its segments in", path)
		return nil
	}
	if err := os.Setenv("SHAREDSEG_SWEEP", sweeps); err != nil {
		return err
	}
	err := privateMounts()
	if err == nil {
		err = unix.Mount("sharedseg-test", "/dev/shm", "tmpfs", 0, "size=8m")
	}
	if err != nil {
		fmt.Println(err)
		return nil
	}
	fmt.Println("mounted")
	var c complaints
	// plant copies the file of an open segment to where no process has it open.
	plant := func(name string, o *segment.Options) {
		s, err := segment.Create(name, codec.String(), o)
		c.Check("Create in DIR", err, nil)
		image, err := os.ReadFile(dir + "/" + name)
		c.Check("ReadFile", err, nil)
		c.Check("WriteFile", os.WriteFile("/dev/shm/"+name, image, 0o600), nil)
		c.Check("Close", s.Close(), nil)
	}
	plant("left", &segment.Options{Dir: dir})
	plant("kept", &segment.Options{Dir: dir, Persist: true})
	there := func(name string) bool {
		_, err := os.Stat("/dev/shm/" + name)
		return err == nil
	}
	// stays waits as long as a sweep may take, and expects none.
	stays := func(when string) {
		for start := time.Now(); time.Since(start) < 200*time.Millisecond; time.Sleep(10 * time.Millisecond) {
			if !there("left") {
				c.Check("swept "+when, fs.ErrNotExist, nil)
				return
			}
		}
	}
	c.Check("Attach", closed(segment.Attach("kept", codec.String(), nil)), nil)
	c.Check("OpenReader", closed(segment.OpenReader("kept", codec.String(), nil)), nil)
	stays("after Attach and OpenReader")
	c.Check("Create", closed(segment.Create("new", codec.String(), nil)), nil)
	if sweeps == "off" {
		stays("although sweeping is off")
	} else {
		for start := time.Now(); there("left"); time.Sleep(time.Millisecond) {
			if time.Since(start) > proctest.Patience {
				c.Check("not swept", fs.ErrExist, nil)
				break
			}
		}
	}
	if !there("kept") || there("new") {
		c.Check("the persistent and the closed segment", fmt.Errorf("exist: %v, %v", there("kept"), there("new")), nil)
	}
	return c.Err()
}

// When a process creates its first name in the shared memory, it sweeps that,
// unless the environment says otherwise.
func TestSweepInBackground(t *testing.T) {
	for _, sweeps := range []string{"", "off"} {
		t.Run("SHAREDSEG_SWEEP="+sweeps, func(t *testing.T) { mounting(t, "sweeper", proctest.TempDir(t), sweeps) })
	}
}

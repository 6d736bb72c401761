//go:build unix

package fault

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"github.com/sharedseg/sharedseg/internal/proctest"
	"golang.org/x/sys/unix"
)

func init() {
	roles["vanish"] = vanish
	roles["under load"] = underLoad
}

const off = "SHAREDSEG_TRAP=off"

// outcome is how a scenario ended, and what it wrote to both outputs.
type outcome struct {
	state *os.ProcessState
	out   string
}

// play runs a scenario to its end. The scenario does less in short mode, and
// under an emulator, which is slow.
func play(t *testing.T, role string, env ...string) outcome {
	t.Helper()
	var args []string
	if testing.Short() || proctest.Emulated() {
		args = append(args, few)
	}
	command := func() *exec.Cmd {
		c := proctest.Command(role, args...)
		c.Env = append(c.Env, "TMPDIR="+t.TempDir(), "GORACE="+os.Getenv("GORACE")+" atexit_sleep_ms=0")
		c.Env = append(c.Env, env...)
		return c
	}
	o, err := tryRun(command())
	if errors.Is(err, errStuck) && proctest.Emulated() {
		// qemu-user can hang in a Go program: golang.org/issue/70329.
		t.Logf("%s runs again: %v under this emulator\n%s", role, err, o.out)
		o, err = tryRun(command())
	}
	if err != nil {
		t.Fatalf("%s: %v\n%s", role, err, o.out)
	}
	return o
}

// errStuck means that a process did not even end on SIGQUIT, on which a Go
// program writes its stacks and ends.
var errStuck = errors.New("SIGQUIT did not end the process")

// tryRun runs a command to its end. If it hangs, it writes its stacks.
func tryRun(c *exec.Cmd) (outcome, error) {
	const grace = 20 * time.Second
	var stuck atomic.Bool
	quit := time.AfterFunc(proctest.Patience, func() { c.Process.Signal(syscall.SIGQUIT) })
	defer quit.Stop()
	kill := time.AfterFunc(proctest.Patience+grace, func() {
		stuck.Store(true)
		c.Process.Kill()
	})
	defer kill.Stop()
	c.Stderr = nil
	c.WaitDelay = grace // a process that it left behind may keep the output open
	out, err := c.CombinedOutput()
	o := outcome{c.ProcessState, string(out)}
	switch {
	case o.state == nil || errors.Is(err, exec.ErrWaitDelay):
		return o, err
	case stuck.Load():
		return o, errStuck
	}
	return o, nil
}

// passes runs a scenario that must succeed, and logs its output.
func passes(t *testing.T, role string, env ...string) {
	t.Helper()
	o := play(t, role, env...)
	if !o.state.Success() {
		t.Fatalf("%s %v: %v\n%s", role, env, o.state, o.out)
	}
	if o.out != "" {
		t.Log(strings.TrimSuffix(o.out, "\n"))
	}
}

const few = "few"

// rounds returns n, or less if the scenario is to be short.
func rounds(n int) int {
	if len(os.Args) > 1 && os.Args[1] == few {
		n = max(1, n/20)
	}
	return n
}

// check ends the process of a scenario with a message unless ok.
func check(ok bool, format string, args ...any) {
	if !ok {
		fmt.Fprintf(os.Stderr, format+"\n", args...)
		os.Exit(1)
	}
}

func must(err error) { check(err == nil, "%v", err) }

var (
	page = os.Getpagesize()

	// The compiler cannot remove stores to these.
	sink    atomic.Int64
	text    string
	private = make([]byte, 2*page)
)

// file is a mapped file that is watched.
type file struct {
	*os.File
	*Region
	mem []byte
}

// create creates a file of some pages without a name.
func create(pages int) *os.File {
	f, err := os.CreateTemp("", "fault")
	must(err)
	must(os.Remove(f.Name()))
	must(f.Truncate(int64(pages * page)))
	return f
}

// open creates a file of some pages, maps it and watches it.
func open(pages int) *file {
	f := create(pages)
	mem := mmap(f, pages, unix.PROT_READ|unix.PROT_WRITE)
	return &file{f, Watch(mem), mem}
}

func mmap(f *os.File, pages, prot int) []byte {
	mem, err := unix.Mmap(int(f.Fd()), 0, pages*page, prot, unix.MAP_SHARED)
	must(err)
	return mem
}

// cut truncates the file to some pages.
func (f *file) cut(pages int) { must(f.Truncate(int64(pages * page))) }

func (f *file) close() {
	f.Forget()
	must(unix.Munmap(f.mem))
	must(f.File.Close())
}

// again maps and watches the file once more.
func (f *file) again() *file {
	fd, err := unix.Dup(int(f.Fd()))
	must(err)
	g := os.NewFile(uintptr(fd), f.Name())
	mem := mmap(g, len(f.mem)/page, unix.PROT_READ|unix.PROT_WRITE)
	return &file{g, Watch(mem), mem}
}

// elsewhere returns memory that has vanished and is not watched.
func elsewhere() []byte {
	f := create(1)
	defer f.Close()
	mem := mmap(f, 1, unix.PROT_READ|unix.PROT_WRITE)
	must(f.Truncate(0))
	return mem
}

func (f *file) word(offset int) *uint64 { return (*uint64)(unsafe.Pointer(&f.mem[offset])) }

// fill is not inlined, so that the compiler knows nothing about b.
//
//go:noinline
func fill(b []byte, v byte) {
	for i := range b {
		b[i] = v
	}
}

//go:noinline
func sum(b []byte) (n int) {
	for _, c := range b {
		n += int(c)
	}
	return n
}

func all(b []byte, v byte) bool {
	for _, c := range b {
		if c != v {
			return false
		}
	}
	return true
}

// modes runs a scenario of Guard in both modes.
func modes(t *testing.T, role string, env ...string) {
	t.Run("trapped", func(t *testing.T) { passes(t, role, env...) })
	t.Run("guarded", func(t *testing.T) {
		proctest.NeedsFaultAddress(t)
		passes(t, role, append(env, off)...)
	})
}

// TestVanish checks that Guard returns ErrLost in both modes, whichever access
// finds that the memory has vanished.
func TestVanish(t *testing.T) { modes(t, "vanish") }

func vanish([]string) error {
	accesses := map[string]func(f *file){
		"load":             func(f *file) { sink.Add(int64(f.mem[page])) },
		"store":            func(f *file) { f.mem[2*page-1] = 1 },
		"copy out":         func(f *file) { copy(private, f.mem) },
		"copy in":          func(f *file) { copy(f.mem[100:], private) },
		"append":           func(f *file) { private = append([]byte(nil), f.mem...) },
		"string":           func(f *file) { text = string(f.mem) },
		"load atomically":  func(f *file) { sink.Add(int64(atomic.LoadUint64(f.word(page + 64)))) },
		"store atomically": func(f *file) { atomic.StoreUint64(f.word(page+64), 1) },
		"compare and swap": func(f *file) { atomic.CompareAndSwapUint64(f.word(page+64), 0, 1) },
		"add":              func(f *file) { atomic.AddUint64(f.word(page+64), 1) },
		"swap":             func(f *file) { atomic.SwapUint64(f.word(page+64), 1) },
		"last byte":        func(f *file) { sink.Add(int64(f.mem[2*page-1])) },
	}
	broken := errors.New("broken")
	for what, access := range accesses {
		f, bystander := open(2), open(1)
		second := f.again()
		guard := func(err error) error {
			return f.Guard(func() error { access(f); return err })
		}
		check(guard(nil) == nil, "%s: an error before the memory has vanished", what)
		check(guard(broken) == broken, "%s: an error other than f's", what)
		fill(f.mem, 7)
		fill(bystander.mem, 7)
		f.State().Or(Closed)
		f.cut(1)
		check(f.State().Load() == Closed, "%s: lost before it was touched", what)
		for range 2 {
			before := faultSetting()
			check(guard(nil) == ErrLost, "%s: no ErrLost", what)
			check(guard(broken) == ErrLost, "%s: f's error instead of ErrLost", what)
			check(faultSetting() == before, "%s: SetPanicOnFault is %v", what, !before)
			check(f.State().Load() == Closed|Lost, "%s: the state is %d", what, f.State().Load())
		}

		// The page that is left is still shared.
		f.mem[0] = 9
		check(second.mem[0] == 9 && all(second.mem[1:100], 7), "%s: the first page changed", what)
		check(second.State().Load() == 0, "%s: a mapping that was not accessed is lost", what)
		check(bystander.State().Load() == 0 && all(bystander.mem, 7), "%s: another region is affected", what)
		access2 := func() error { access(second); return nil }
		check(second.Guard(access2) == ErrLost, "%s: no ErrLost of the second mapping", what)
		check(f.Guard(func() error { return nil }) == ErrLost, "%s: the loss was forgotten", what)
		f.close()
		second.close()
		bystander.close()
	}

	// This region reuses the address and the state of a lost one.
	f := open(1)
	check(f.State().Load() == 0, "a new region's state is %d", f.State().Load())
	check(f.Guard(func() error { f.mem[0]++; return nil }) == nil, "a new region is lost")
	f.close()

	// A fault outside of the region is not recovered.
	f = open(1)
	other := elsewhere()
	func() {
		if !proctest.Emulated() { // else the fault has no address
			defer func() {
				p, ok := recover().(interface{ Addr() uintptr })
				check(ok && p.Addr() == uintptr(unsafe.Pointer(&other[8])), "a fault outside of the region became %v", p)
			}()
		} else {
			defer func() { check(recover() != nil, "no panic") }()
		}
		defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
		f.Guard(func() error { sink.Add(int64(other[8])); return nil })
		check(false, "a fault outside of the region did not panic")
	}()
	check(f.State().Load() == 0, "a fault outside of the region set Lost")

	// Guards can be nested. Only the outer region is lost.
	inner := open(1)
	f.cut(0)
	innerRuns := func() error { sink.Add(int64(f.mem[0])); return nil }
	err := f.Guard(func() error { return inner.Guard(innerRuns) })
	check(err == ErrLost && inner.State().Load() == 0, "nested: %v", err)
	f.close()
	inner.close()
	return nil
}

// TestVanishUnderLoad checks that goroutines that load and store all the time
// learn of the loss, each in its next Guard, and that no others do.
func TestVanishUnderLoad(t *testing.T) {
	modes(t, "under load")
	if _, err := os.Stat("/dev/shm"); err == nil {
		t.Run("dir=shm", func(t *testing.T) { modes(t, "under load", "TMPDIR=/dev/shm") })
	}
}

func underLoad([]string) error {
	bystander := open(4)
	fill(bystander.mem, 7)
	for r := range rounds(100) {
		f := open(4)
		keep := r % 4
		fill(f.mem, 1)
		var users, running sync.WaitGroup
		for g := range 4 {
			running.Add(1)
			users.Go(func() {
				for i := 0; ; i++ {
					err := f.Guard(func() error {
						if g%2 == 0 {
							sink.Add(int64(sum(f.mem)))
						} else {
							fill(f.mem[keep*page:], byte(i))
						}
						return nil
					})
					if i == 1 {
						running.Done()
					}
					if err != nil {
						check(err == ErrLost && f.State().Load() == Lost, "Guard = %v", err)
						break
					}
					runtime.Gosched()
				}
			})
		}
		running.Wait()
		f.cut(keep)
		users.Wait()
		check(all(f.mem[:keep*page], 1), "a page that was left is affected")
		f.close()
	}
	check(bystander.State().Load() == 0 && all(bystander.mem, 7), "another region is affected")
	return nil
}

// TestAllocs checks that Guard does not allocate.
func TestAllocs(t *testing.T) {
	f := open(1)
	defer f.close()
	for _, r := range []*Region{f.Region, guarded(t)} {
		var got byte
		n := proctest.Allocs(0, func() {
			i := int(got) % page
			if r.Guard(func() error { got += f.mem[i]; return nil }) != nil {
				t.Fatal("lost")
			}
		})
		if n != 0 {
			t.Errorf("Guard allocates %v times; trapped: %v", n, !r.Guarded())
		}
	}
}

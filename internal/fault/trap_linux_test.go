//go:build (amd64 || arm64 || 386 || riscv64) && !sharedseg_portable

package fault

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"os/signal"
	"reflect"
	"regexp"
	"runtime"
	"runtime/debug"
	"runtime/pprof"
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
	for role, scenario := range map[string]func(){
		"readers and writers": readersAndWriters,
		"garbage":             garbage,
		"cas":                 cas,
		"memmove":             memmove,
		"futex":               futex,
		"straddle":            straddle,
		"threads":             threads,
		"churn":               churn,
		"many":                many,
		"full":                full,
		"read-only":           readOnly,
		"system calls":        systemCalls,
		"profile":             profile,
		"no zeros":            noZeros,
		"late":                late,
		"stopped":             stopped,
		"forged":              forged,
		"own setting":         ownSetting,
		"nil":                 nilDereference,
		"outside, recovered":  outsideRecovered,
		"notify":              func() { notify(false) },
		"notify first":        func() { notify(true) },
		"replaced":            replaced,
		"foreign":             func() { foreign(reflect.ValueOf(foreign).Pointer()) },
		"default":             func() { foreign(sigDfl) },
		"ignored":             func() { foreign(sigIgn) },
		"turned off":          isOff,
		"turned on":           func() { trapped(1) },
		"exec":                execs,
		"kill":                kill,
		"tgkill":              tgkill,
		"outside":             outside,
		"nil, not recovered":  nilPanic,
		"retire":              retire,
	} {
		roles[role] = func([]string) error { scenario(); return nil }
	}
}

// SIG_DFL and SIG_IGN of signal(7).
const sigDfl, sigIgn = 0, 1

// trapped opens a file whose region must be trapped.
func trapped(pages int) *file {
	f := open(pages)
	check(!f.Guarded(), "the region is guarded")
	return f
}

// vanished returns a trapped file that was truncated to nothing.
func vanished(pages int) *file {
	f := trapped(pages)
	f.cut(0)
	return f
}

// TestLayout pins the offsets that the kernel gives, and the size of an entry,
// which is a cache line. The handler refers to the others by name.
func TestLayout(t *testing.T) {
	word := unsafe.Sizeof(uintptr(0))
	for what, c := range map[string]struct{ got, want uintptr }{
		"si_signo":      {unsafe.Offsetof(siginfo{}.signo), 0},
		"si_errno":      {unsafe.Offsetof(siginfo{}.errno), 4},
		"si_code":       {unsafe.Offsetof(siginfo{}.code), 8},
		"si_addr":       {unsafe.Offsetof(siginfo{}.addr), 8 + word},
		"sa_handler":    {unsafe.Offsetof(sigaction{}.handler), 0},
		"sa_flags":      {unsafe.Offsetof(sigaction{}.flags), word},
		"sa_mask":       {unsafe.Offsetof(sigaction{}.mask), map[bool]uintptr{false: 3, true: 2}[runtime.GOARCH == "riscv64"] * word},
		"entry":         {unsafe.Sizeof(entry{}), cacheLine},
		"table.entries": {unsafe.Offsetof(table{}.entries), cacheLine},
	} {
		if c.got != c.want {
			t.Errorf("%s is %d, want %d", what, c.got, c.want)
		}
	}
}

func TestJudge(t *testing.T) {
	var act sigaction
	if err := rtSigaction(nil, &act); err != nil {
		t.Fatal(err)
	}
	runtimes := act.handler
	if installed != 0 && runtimes == installed { // by another test
		runtimes = regions.next
	}
	const trap, good = 0x7abc, saSigInfo | saOnStack
	other := reflect.ValueOf(TestJudge).Pointer() // Go code, but not of the runtime
	for _, c := range []struct {
		what                         string
		handler, flags, trap, former uintptr
		want                         verdict
	}{
		{"the runtime's, at first", runtimes, act.flags, 0, 0, put},
		{"the trap", trap, act.flags, trap, runtimes, active},
		{"the runtime's again", runtimes, act.flags, trap, runtimes, put},
		{"the default at first", sigDfl, good, 0, 0, refuse},
		{"the default later", sigDfl, good, trap, runtimes, refuse},
		{"ignored at first", sigIgn, good, 0, 0, refuse},
		{"ignored later", sigIgn, good, trap, runtimes, refuse},
		{"another's at first", other, good, 0, 0, refuse},
		{"another's later", other, good, trap, runtimes, refuse},
		{"another of the runtime's later", runtimes, good, trap, other, refuse},
		{"not a function's beginning", runtimes + 1, good, 0, 0, refuse},
		{"no Go code", 0x1000, good, 0, 0, refuse},
		{"the runtime's without siginfo", runtimes, saOnStack, 0, 0, refuse},
		{"the runtime's on any stack", runtimes, saSigInfo, 0, 0, refuse},
		{"the runtime's for once", runtimes, good | saResetHand, 0, 0, refuse},
		{"the trap without siginfo", trap, saOnStack, trap, runtimes, refuse},
	} {
		if got := judge(sigaction{handler: c.handler, flags: c.flags}, c.trap, c.former); got != c.want {
			t.Errorf("%s: %d, want %d", c.what, got, c.want)
		}
	}
}

// TestReadersAndWriters checks that a truncation is noticed in every mapping
// that is accessed beyond the end, by all that access it, and in no other
// mapping. It repeats this with one processor, and without the signals that
// preempt goroutines.
func TestReadersAndWriters(t *testing.T) {
	for _, env := range []string{"GOMAXPROCS=4", "GOMAXPROCS=1", "GODEBUG=asyncpreemptoff=1"} {
		t.Run(env, func(t *testing.T) { passes(t, "readers and writers", env) })
	}
	if _, err := os.Stat("/dev/shm"); err == nil {
		t.Run("dir=shm", func(t *testing.T) { passes(t, "readers and writers", "TMPDIR=/dev/shm") })
	}
}

func readersAndWriters() { truncations(rounds(100)) }

func truncations(n int) {
	other := trapped(64)
	fill(other.mem, 7)
	for r := range n {
		f := trapped(16)
		fill(f.mem, 1)
		second := f.again()
		var users, running sync.WaitGroup
		for g := range 4 {
			running.Add(1)
			users.Go(func() {
				for i, after := 0, 0; after < 20; i++ {
					if g%2 == 0 {
						sink.Add(int64(sum(f.mem)))
					} else {
						fill(f.mem[3*page:], byte(i))
					}
					if i == 1 {
						running.Done()
					}
					if f.lost() {
						after++
					}
					runtime.Gosched()
				}
			})
		}
		running.Wait()
		keep := r % 4
		f.cut(keep)
		users.Wait()
		check(!second.lost(), "a mapping that was not touched is lost")
		check(!other.lost(), "another region is lost")
		check(all(f.mem[:keep*page], 1) && all(second.mem[:keep*page], 1), "a page that was left is affected")
		if keep > 0 {
			f.mem[0] = 9
			check(second.mem[0] == 9, "a page that was left is not shared any more")
		}
		check(second.mem[15*page] == 0 && second.lost(), "the second mapping is not lost")
		second.close()
		f.close()
	}
	check(all(other.mem, 7), "another region is affected")
}

// TestGarbage faults while the collector moves the stacks of the faulting
// goroutines and scans all memory.
func TestGarbage(t *testing.T) { passes(t, "garbage") }

func garbage() {
	debug.SetGCPercent(1)
	stop := make(chan bool)
	var allocating sync.WaitGroup
	for range 2 {
		allocating.Go(func() {
			var keep [][]byte
			for {
				select {
				case <-stop:
					return
				default:
				}
				keep = append(keep, make([]byte, rand.IntN(4096)))
				if len(keep) > 200 {
					keep = nil
				}
				var growing sync.WaitGroup
				growing.Go(func() { deep(rand.IntN(200)) })
				growing.Wait()
				runtime.Gosched()
			}
		})
	}
	truncations(rounds(30))
	close(stop)
	allocating.Wait()
}

func deep(n int) int {
	var a [256]byte
	if n == 0 {
		return int(a[3])
	}
	return deep(n-1) + int(a[n%256])
}

// TestCompareAndSwap checks that an atomic operation that faults is done once,
// on the zeros.
func TestCompareAndSwap(t *testing.T) { passes(t, "cas") }

func cas() {
	for range rounds(200) {
		f := trapped(1)
		var users sync.WaitGroup
		for range 4 {
			users.Go(func() {
				for !f.lost() {
					v := atomic.LoadUint64(f.word(64))
					atomic.CompareAndSwapUint64(f.word(64), v, v+1)
					atomic.AddUint64(f.word(128), 1)
					runtime.Gosched()
				}
			})
		}
		for atomic.LoadUint64(f.word(128)) < 100 {
			runtime.Gosched()
		}
		f.cut(0)
		users.Wait()
		f.close()

		for what, access := range map[string]func(f *file){
			"CompareAndSwap": func(f *file) { check(atomic.CompareAndSwapUint64(f.word(64), 0, 5), "the memory is not zeros") },
			"Add":            func(f *file) { atomic.AddUint64(f.word(64), 5) },
			"Swap":           func(f *file) { check(atomic.SwapUint64(f.word(64), 5) == 0, "the memory is not zeros") },
			"Store":          func(f *file) { atomic.StoreUint64(f.word(64), 5) },
			"Or":             func(f *file) { atomic.OrUint64(f.word(64), 5) },
		} {
			f := vanished(1)
			access(f)
			check(f.lost() && atomic.LoadUint64(f.word(64)) == 5, "%s was lost, or made twice", what)
			f.close()
		}
	}
}

// TestMemmove checks that a copy continues where it faulted, in either
// direction, even in the runtime's own functions.
func TestMemmove(t *testing.T) { passes(t, "memmove") }

func memmove() {
	pages := (1 << 20) / page
	n, half := pages*page, pages/2*page
	buf := make([]byte, n)
	for range rounds(50) {
		f := trapped(pages)
		fill(f.mem, 3)
		f.cut(pages / 2)
		copy(buf, f.mem)
		check(f.lost() && all(buf[:half], 3) && all(buf[half:], 0), "copy out")
		f.close()

		f = trapped(pages)
		fill(f.mem, 3)
		f.cut(pages / 2)
		fill(buf, 4)
		copy(f.mem, buf)
		check(f.lost() && all(f.mem, 4), "copy in")
		f.close()

		f = trapped(pages)
		fill(f.mem, 3)
		f.cut(pages / 2)
		copy(f.mem[100:], f.mem)
		check(f.lost() && all(f.mem[:half], 3) && all(f.mem[half+100:], 0), "copy backwards")
		f.close()

		f = vanished(pages)
		private = append([]byte(nil), f.mem...)
		check(f.lost() && len(private) == n && all(private, 0), "append")
		f.close()

		f = vanished(pages)
		text = string(f.mem)
		check(f.lost() && strings.Count(text, "\x00") == n, "string")
		f.close()

		f = vanished(pages)
		check(bytes.Equal(f.mem, make([]byte, n)) && f.lost(), "compare")
		f.close()

		f = vanished(pages)
		check(bytes.IndexByte(f.mem, 1) == -1 && f.lost(), "index")
		f.close()

		f = vanished(pages)
		clear(f.mem)
		check(f.lost(), "clear")
		f.close()

		f = trapped(pages)
		fill(f.mem, 3)
		done := make(chan bool)
		go func() {
			for !f.lost() {
				copy(buf, f.mem)
				runtime.Gosched() // a copy is not preempted
			}
			close(done)
		}()
		time.Sleep(200 * time.Microsecond)
		f.cut(0)
		<-done
		f.close()
	}
}

// TestStraddle checks that an access across the end of the memory that is left
// reads the rest as zeros.
func TestStraddle(t *testing.T) { passes(t, "straddle") }

func straddle() {
	f := trapped(2)
	fill(f.mem, 0xff)
	f.cut(1)
	p := (*uint64)(unsafe.Add(unsafe.Pointer(unsafe.SliceData(f.mem)), page-4))
	check(*p == 0xffffffff, "%x", *p)
	check(f.lost() && f.mem[page-1] == 0xff, "not lost, or too much is")
	f.cut(0) // below the zeros
	check(f.mem[0] == 0 && f.mem[page] == 0, "the first page is not zeros")
	f.close()
}

// TestThreads checks that threads that fault on one page at the same time all
// continue.
func TestThreads(t *testing.T) { passes(t, "threads") }

func threads() {
	const n = 64
	for range rounds(200) {
		f := vanished(1)
		var ready, users sync.WaitGroup
		var start atomic.Bool
		ready.Add(n)
		for range n {
			users.Go(func() {
				runtime.LockOSThread()
				defer runtime.UnlockOSThread()
				ready.Done()
				for !start.Load() {
					runtime.Gosched()
				}
				check(f.mem[0] == 0 && f.lost(), "not lost")
			})
		}
		ready.Wait()
		start.Store(true)
		users.Wait()
		check(f.entry.busy.Load() == 0, "the entry is still in use")
		f.close()
	}
}

// TestChurn watches and forgets regions at the same addresses, beside private
// memory that no handler may change.
func TestChurn(t *testing.T) { passes(t, "churn") }

func churn() {
	var users sync.WaitGroup
	end := time.Now().Add(time.Duration(rounds(2000)) * time.Millisecond)
	var losses atomic.Int64
	for g := range 6 {
		mine := byte(g + 1)
		users.Go(func() {
			for first := true; first || time.Now().Before(end); first = false {
				pages := 1 + rand.IntN(4)
				canary, err := unix.Mmap(-1, 0, pages*page, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
				must(err)
				fill(canary, mine)
				f := trapped(pages)
				check(f.State().Load() == 0, "the state is a former region's")
				fill(f.mem, mine)
				if first || rand.IntN(2) == 0 {
					f.cut(0)
					var readers sync.WaitGroup
					for range 2 {
						readers.Go(func() { sink.Add(int64(sum(f.mem))) })
					}
					readers.Wait()
					check(f.lost() && all(f.mem, 0), "not lost")
					losses.Add(1)
				} else {
					check(!f.lost() && all(f.mem, mine), "a region that did not vanish is changed")
				}
				f.State().Or(Closed)
				f.close()
				check(all(canary, mine), "other memory was changed")
				must(unix.Munmap(canary))
			}
		})
	}
	users.Wait()
	fmt.Println(losses.Load(), "losses")
	check(entries() <= 6, "%d entries were used for 6 regions at a time", entries())
}

// entries returns how many entries of the table have ever been used.
func entries() int { return int(regions.used.Load()) }

// TestMany checks that ten thousand regions, a hundred for each file, are told
// apart, and that their entries are reused.
func TestMany(t *testing.T) { passes(t, "many") }

func many() {
	const each = 100
	n := rounds(10000)
	var files []*os.File
	var regions []*file
	for range n / each {
		f := trapped(1)
		fill(f.mem, 7)
		files = append(files, f.File)
		regions = append(regions, f)
		for range each - 1 {
			g := f.again()
			must(g.File.Close()) // a process has few descriptors
			regions = append(regions, g)
		}
	}
	touched := map[*file]bool{}
	var took []time.Duration
	for i, f := range files {
		if i%2 == 1 {
			continue
		}
		must(f.Truncate(0))
		for range each / 2 {
			r := regions[each*i+rand.IntN(each)]
			touched[r] = true
			start := time.Now()
			check(r.mem[0] == 0, "a region of a file that was cut is not zeros")
			took = append(took, time.Since(start))
		}
	}
	fmt.Println("the first loss took", took[0], "and the last", took[len(took)-1])
	for i, r := range regions {
		check(r.lost() == touched[r], "region %d is lost: %v", i, r.lost())
		check(i/each%2 == 0 || r.mem[0] == 7, "region %d is changed", i)
	}
	rand.Shuffle(n, func(i, j int) { regions[i], regions[j] = regions[j], regions[i] })
	for _, r := range regions {
		r.Forget()
		must(unix.Munmap(r.mem))
	}
	f := trapped(1)
	for range n {
		Watch(f.mem).Forget()
	}
	check(entries() == n, "%d entries were used for %d regions", entries(), n)
}

// TestFull checks that regions are guarded when the table is full, until an
// entry is free again.
func TestFull(t *testing.T) { passes(t, "full") }

func full() {
	regions.used.Store(maxRegions - 1)
	last := trapped(1)
	beyond := open(1)
	check(beyond.Guarded(), "a region has no entry, and is trapped")
	check(beyond.Guard(func() error { beyond.mem[0] = 1; return nil }) == nil, "a guarded region is lost")
	last.cut(0)
	start := time.Now()
	check(last.mem[0] == 0, "the last region is not zeros")
	fmt.Println("a loss with a full table took", time.Since(start))
	check(last.lost() && !beyond.lost(), "the wrong region is lost")
	last.close()
	check(trapped(1).State().Load() == 0, "the state is the former region's")
}

// TestReadOnly checks that a read-only mapping becomes zeros too. They can be
// written, as a region may be writable in part.
func TestReadOnly(t *testing.T) { passes(t, "read-only") }

func readOnly() {
	f := vanished(2)
	mem := mmap(f.File, 2, unix.PROT_READ)
	r := Watch(mem)
	check(!r.Guarded() && mem[page] == 0 && r.lost() && mem[0] == 0, "not lost")
	mem[page] = 1
	check(mem[page] == 1 && f.mem[page] == 0, "the zeros are not private")
	f.close()
}

// TestSystemCalls checks that system calls return EFAULT where the memory has
// vanished: no handler runs.
func TestSystemCalls(t *testing.T) { passes(t, "system calls") }

func systemCalls() {
	f := vanished(1)
	r, w, err := os.Pipe()
	must(err)
	_, err = w.Write(f.mem)
	check(errors.Is(err, unix.EFAULT), "write(2): %v", err)
	_, err = w.Write(make([]byte, page))
	must(err)
	_, err = r.Read(f.mem)
	check(errors.Is(err, unix.EFAULT), "read(2): %v", err)
	check(!f.lost(), "lost by a system call")
	check(f.mem[0] == 0 && f.lost(), "not lost")
	_, err = w.Write(f.mem)
	must(err)
}

// TestFutex checks that a thread that sleeps on a word when it vanishes is not
// woken and times out, and that one that sleeps on the zeros is woken.
func TestFutex(t *testing.T) { passes(t, "futex") }

func futex() {
	f := trapped(1)
	wait := func(d time.Duration) unix.Errno {
		ts := unix.NsecToTimespec(int64(d))
		for {
			_, _, e := unix.Syscall6(unix.SYS_FUTEX, uintptr(unsafe.Pointer(&f.mem[0])), 0, 0, uintptr(unsafe.Pointer(&ts)), 0, 0)
			if e != unix.EINTR {
				return e
			}
		}
	}
	wake := func() (uintptr, unix.Errno) {
		n, _, e := unix.Syscall6(unix.SYS_FUTEX, uintptr(unsafe.Pointer(&f.mem[0])), 1, 10, 0, 0, 0)
		return n, e
	}
	before := make(chan unix.Errno)
	go func() { before <- wait(300 * time.Millisecond) }()
	time.Sleep(100 * time.Millisecond)
	f.cut(0)
	_, e := wake()
	check(e == unix.EFAULT, "wake where the memory has vanished: %v", e)
	e = wait(10 * time.Millisecond)
	check(e == unix.EFAULT, "wait where the memory has vanished: %v", e)
	check(!f.lost(), "lost by a system call")
	check(atomic.LoadUint64(f.word(0)) == 0 && f.lost(), "not lost")
	n, e := wake()
	check(n == 0 && e == 0, "wake on the zeros: %d, %v", n, e)
	e = <-before
	check(e == unix.ETIMEDOUT, "the sleeper from before: %v", e)

	woken := make(chan unix.Errno)
	go func() { woken <- wait(proctest.Patience) }()
	for n = 0; n == 0; runtime.Gosched() {
		n, e = wake()
		check(e == 0, "wake on the zeros: %v", e)
	}
	check(<-woken == 0, "a sleeper on the zeros was not woken")
}

// TestProfile checks that a profiler's signals do not disturb the trap, and
// that the profile is written.
func TestProfile(t *testing.T) { passes(t, "profile") }

func profile() {
	var b bytes.Buffer
	must(pprof.StartCPUProfile(&b))
	end := time.Now().Add(time.Duration(rounds(1000)) * time.Millisecond)
	n := 0
	for ; n == 0 || time.Now().Before(end); n++ {
		f := vanished(1)
		check(f.mem[0] == 0 && f.lost(), "not lost")
		f.close()
	}
	pprof.StopCPUProfile()
	fmt.Println(n, "losses in a profile of", b.Len(), "bytes")
	check(b.Len() > 0, "the profile is empty")
}

// TestNoZeros checks that an access has the same effect as without the trap if
// no zeros can be mapped, and that Lost is set anyway.
func TestNoZeros(t *testing.T) {
	proctest.NeedsFaultAddress(t)
	passes(t, "no zeros")
}

func noZeros() {
	f := vanished(1)
	f.entry.hi = ^uintptr(0) &^ uintptr(page-1) // more than can be mapped
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		p, ok := recover().(interface{ Addr() uintptr })
		check(ok && p.Addr() == uintptr(unsafe.Pointer(&f.mem[8])), "%v", p)
		check(f.lost() && f.entry.busy.Load() == 0, "not lost, or the entry is still in use")
	}()
	sink.Add(int64(f.mem[8]))
	check(false, "the access went on")
}

// TestLate checks that when Forget has returned, no handler maps anything at
// the region's addresses, not even one that was called earlier.
func TestLate(t *testing.T) { passes(t, "late") }

func late() {
	gone, there := create(0), create(1)
	must(unix.Fallocate(int(there.Fd()), 0, 0, int64(page)))
	mem := mmap(gone, 1, unix.PROT_READ|unix.PROT_WRITE)
	at := unsafe.Pointer(unsafe.SliceData(mem))
	place := func(f *os.File) {
		_, err := unix.MmapPtr(int(f.Fd()), 0, at, uintptr(page), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_FIXED)
		must(err)
	}
	place(there)
	fill(mem, 7)
	var stop atomic.Bool
	var readers sync.WaitGroup
	for range 2 {
		readers.Go(func() {
			debug.SetPanicOnFault(true)
			for !stop.Load() {
				func() {
					defer func() { recover() }() // the region may not be watched at this moment
					nilLoad((*int64)(at))
				}()
			}
		})
	}
	losses := 0
	end := time.Now().Add(time.Duration(rounds(2000)) * time.Millisecond)
	for first := true; first || time.Now().Before(end); first = false {
		r := Watch(mem)
		check(!r.Guarded(), "the region is guarded")
		place(gone)
		for start := time.Now(); !r.lost() && time.Since(start) < 50*time.Microsecond; {
		}
		r.Forget()
		place(there)
		for start := time.Now(); time.Since(start) < 50*time.Microsecond; {
			check(mem[0] == 7, "zeros were mapped after Forget")
		}
		if r.lost() {
			losses++
		}
	}
	stop.Store(true)
	readers.Wait()
	fmt.Println(losses, "losses")
}

// TestOrder stops a handler right before it maps zeros. It checks that Lost is
// set by then, and that Forget waits for the handler.
func TestOrder(t *testing.T) {
	if proctest.Emulated() {
		t.Skip("this emulator does not support filters of system calls")
	}
	o := play(t, "stopped")
	if reason, ok := strings.CutPrefix(o.out, noFilter); ok {
		t.Skip("this kernel or container does not support filters of system calls with a listener: ", reason)
	}
	if !o.state.Success() {
		t.Fatalf("%v\n%s", o.state, o.out)
	}
}

const noFilter = "no filter: "

func stopped() {
	runtime.GOMAXPROCS(max(4, runtime.GOMAXPROCS(0))) // the handler keeps its own from other goroutines
	debug.SetGCPercent(-1)                            // a collection would wait for the handler
	f := vanished(1)
	filters := make(chan *os.File)
	var user sync.WaitGroup
	user.Go(func() {
		runtime.LockOSThread() // so the thread, which keeps the filter, ends with the goroutine
		filters <- stopMaps()
		check(f.mem[8] == 0 && f.lost(), "not lost")
	})
	filter := <-filters
	call := nextCall(filter)
	at := uint64(uintptr(unsafe.Pointer(unsafe.SliceData(f.mem))))
	check(call.args[0] == at, "the handler maps at %#x, want %#x", call.args[0], at)
	check(f.lost(), "the handler maps zeros before it sets Lost")
	forgotten := make(chan bool)
	go func() {
		f.Forget()
		close(forgotten)
	}()
	select {
	case <-forgotten:
		check(false, "Forget returned before the handler has mapped zeros")
	case <-time.After(50 * time.Millisecond):
	}
	call.proceed(filter)
	<-forgotten
	user.Wait()
}

// stopMaps makes each mmap of this thread that maps zeros as the handler does
// wait for nextCall and proceed. It ends the scenario if that is not possible.
func stopMaps() *os.File {
	const flagsOff = 16 + 3*8 // of the low half of an argument, in struct seccomp_data
	code := []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: flagsOff},
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: zeroFlags, Jf: 1},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_USER_NOTIF},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW},
	}
	program := unix.SockFprog{Len: uint16(len(code)), Filter: &code[0]}
	err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
	if err == nil {
		fd, _, e := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_NEW_LISTENER,
			uintptr(unsafe.Pointer(&program)))
		if e == 0 {
			return os.NewFile(fd, "filter")
		}
		err = e
	}
	fmt.Print(noFilter, err)
	os.Exit(0)
	return nil
}

// stoppedCall is struct seccomp_notif: a system call that waits.
type stoppedCall struct {
	id         uint64
	pid, flags uint32
	nr         int32
	arch       uint32
	pc         uint64
	args       [6]uint64
}

// nextCall waits until a call waits.
func nextCall(filter *os.File) *stoppedCall {
	c := new(stoppedCall)
	_, _, e := unix.Syscall(unix.SYS_IOCTL, filter.Fd(), unix.SECCOMP_IOCTL_NOTIF_RECV, uintptr(unsafe.Pointer(c)))
	check(e == 0, "SECCOMP_IOCTL_NOTIF_RECV: %v", e)
	return c
}

// proceed lets the call proceed as if there were no filter.
func (c *stoppedCall) proceed(filter *os.File) {
	answer := struct { // struct seccomp_notif_resp
		id    uint64
		val   int64
		err   int32
		flags uint32
	}{id: c.id, flags: unix.SECCOMP_USER_NOTIF_FLAG_CONTINUE}
	_, _, e := unix.Syscall(unix.SYS_IOCTL, filter.Fd(), unix.SECCOMP_IOCTL_NOTIF_SEND, uintptr(unsafe.Pointer(&answer)))
	check(e == 0, "SECCOMP_IOCTL_NOTIF_SEND: %v", e)
}

// TestForged checks that the trap ignores a SIGBUS that is not the fault of an
// access, whatever its address: one that was sent, or one for a hardware error.
func TestForged(t *testing.T) {
	if proctest.Emulated() {
		t.Skip("this emulator does not pass on the data of a signal")
	}
	passes(t, "forged")
}

func forged() {
	f := trapped(1)
	f.mem[0] = 7
	c := make(chan os.Signal, 1)
	signal.Notify(c, unix.SIGBUS)
	send := func(code int32) {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		info := struct {
			siginfo
			_ [128 - unsafe.Sizeof(siginfo{})]byte
		}{siginfo: siginfo{int32(sigBus), 0, code, uintptr(unsafe.Pointer(&f.mem[8]))}}
		_, _, e := unix.RawSyscall6(unix.SYS_RT_TGSIGQUEUEINFO, uintptr(os.Getpid()), uintptr(unix.Gettid()), sigBus, uintptr(unsafe.Pointer(&info)), 0, 0)
		check(e == 0, "rt_tgsigqueueinfo: %v", e)
	}
	const siUser, busMceerrAr = 0, 4
	send(siUser)
	check(<-c == unix.SIGBUS, "another signal")
	func() {
		defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
		defer func() {
			p, ok := recover().(interface{ Addr() uintptr })
			check(ok && p.Addr() == uintptr(unsafe.Pointer(&f.mem[8])), "%v", p)
		}()
		send(busMceerrAr)
		check(false, "no panic")
	}()
	check(!f.lost() && f.mem[0] == 7, "lost, but nothing has vanished")

	// The same call with the code of an access that faulted.
	send(busAdrErr)
	check(f.lost() && f.mem[0] == 0, "not lost")
}

// TestOwnSetting checks that the user's own SetPanicOnFault has no effect on
// trapped regions, and its usual effect on other memory.
func TestOwnSetting(t *testing.T) { passes(t, "own setting") }

func ownSetting() {
	debug.SetPanicOnFault(true)
	f := vanished(1)
	check(f.mem[0] == 0 && f.lost() && faultSetting(), "not lost, or the setting is gone")
	check(f.Guard(func() error { return nil }) == ErrLost && faultSetting(), "Guard, or the setting is gone")
	defer func() { check(recover() != nil && faultSetting(), "no panic") }()
	sink.Add(int64(elsewhere()[0]))
	check(false, "the access went on")
}

// TestNil checks that a nil dereference panics as usual.
func TestNil(t *testing.T) { passes(t, "nil") }

func nilDereference() {
	trapped(1)
	for range 100 {
		func() {
			defer func() {
				p, ok := recover().(runtime.Error)
				check(ok && strings.Contains(p.Error(), "nil pointer dereference"), "%v", p)
			}()
			nilLoad(nil)
			check(false, "the access went on")
		}()
	}
}

//go:noinline
func nilLoad(p *int64) { sink.Add(*p) }

// TestOutsideRecovered checks that SIGBUS in memory that is not watched panics
// as usual, with the address of the fault.
func TestOutsideRecovered(t *testing.T) {
	proctest.NeedsFaultAddress(t)
	passes(t, "outside, recovered")
}

func outsideRecovered() {
	f := trapped(1)
	mem := elsewhere()
	for range 1000 {
		func() {
			defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
			defer func() {
				p, ok := recover().(interface{ Addr() uintptr })
				check(ok && p.Addr() == uintptr(unsafe.Pointer(&mem[8])), "%v", p)
			}()
			sink.Add(int64(mem[8]))
			check(false, "the access went on")
		}()
	}
	check(!f.lost(), "a region is lost by another memory's fault")
}

// TestCrashes checks that a process that crashes does so as without the trap,
// and with the same message.
func TestCrashes(t *testing.T) {
	for _, role := range []string{"kill", "tgkill", "outside", "nil, not recovered"} {
		t.Run(role, func(t *testing.T) {
			with, without := play(t, role), play(t, role, off)
			for o, trapped := range map[*outcome]bool{&with: true, &without: false} {
				var ok bool
				if o.out, ok = strings.CutPrefix(o.out, fmt.Sprintf("trapped: %v\n", trapped)); !ok {
					t.Fatalf("the region is not trapped: %v\n%s", trapped, o.out)
				}
			}
			if with.state.Success() || with.state.Sys() != without.state.Sys() || with.report(role) != without.report(role) {
				t.Fatalf("with the trap: %v\n%s\nwithout: %v\n%s", with.state, with.out, without.state, without.out)
			}
			t.Logf("%v\n%s", with.state, with.report(role))
		})
	}
}

var numbers = regexp.MustCompile(`0x[0-9a-f]+|\bm=[0-9]+`)

// report returns the runtime's message about a crash and the functions of the
// goroutine that crashed. A signal that is sent to a process can hit any
// thread, so that goroutine can be any.
func (o outcome) report(role string) string {
	head, rest, _ := strings.Cut(o.out, "\n\n")
	if role != "kill" {
		stack, _, _ := strings.Cut(rest, "\n\n")
		head += "\n" + stack
	}
	return numbers.ReplaceAllString(head, "N")
}

// tell prints whether there is a trap, as the baseline must have none.
func tell() { fmt.Println("trapped:", !open(1).Guarded()) }

func kill() {
	tell()
	must(unix.Kill(os.Getpid(), unix.SIGBUS))
	time.Sleep(proctest.Patience)
}

func tgkill() {
	tell()
	runtime.LockOSThread()
	must(unix.Tgkill(os.Getpid(), unix.Gettid(), unix.SIGBUS))
	time.Sleep(proctest.Patience)
}

func outside() {
	tell()
	sink.Add(int64(elsewhere()[0]))
}

func nilPanic() {
	tell()
	nilLoad(nil)
}

// TestNotify checks that os/signal gets each SIGBUS that is sent and the trap
// gets the faults, in whichever order they are set up, and whatever the program
// asks of os/signal.
func TestNotify(t *testing.T) {
	if proctest.Emulated() && runtime.GOARCH == "riscv64" {
		t.Skip("this emulator crashes in a process that uses os/signal")
	}
	passes(t, "notify")
	passes(t, "notify first")
}

func notify(first bool) {
	c := make(chan os.Signal, 1)
	if first {
		signal.Notify(c, unix.SIGBUS)
	}
	trapped(1)
	signal.Notify(c, unix.SIGBUS)
	loss := func(after string) {
		check(handler() == installed, "the trap is not in place after %s", after)
		f := vanished(1)
		check(f.mem[5] == 0 && f.lost(), "not lost after %s", after)
		f.close()
	}
	told := func() {
		must(unix.Kill(os.Getpid(), unix.SIGBUS))
		check(<-c == unix.SIGBUS, "another signal")
	}
	for range rounds(100) {
		loss("Notify")
		told()
	}
	signal.Stop(c)
	loss("Stop")
	signal.Reset(unix.SIGBUS)
	loss("Reset")
	signal.Reset()
	loss("Reset of all")
	signal.Ignore(unix.SIGBUS)
	loss("Ignore")
	signal.Reset(unix.SIGBUS)
	loss("Reset after Ignore")
	signal.Notify(c, unix.SIGBUS)
	loss("Notify after Ignore")
	told()
	check(len(c) == 0, "os/signal received a fault")
}

// action returns the process's action for SIGBUS.
func action() (act sigaction) {
	must(rtSigaction(nil, &act))
	return act
}

func handler() uintptr { return action().handler }

// TestForeign checks that a handler other than the Go runtime's is left in
// place and that regions are then guarded. After the runtime's handler has been
// restored, regions are trapped.
func TestForeign(t *testing.T) {
	for _, role := range []string{"foreign", "default", "ignored"} {
		t.Run(role, func(t *testing.T) { passes(t, role) })
	}
}

func foreign(pc uintptr) {
	runtimes := action()
	theirs := runtimes
	theirs.handler = pc
	must(rtSigaction(&theirs, nil))
	f := open(1)
	check(f.Guarded() && action() == theirs, "the handler was replaced")
	check(f.Guard(func() error { f.mem[0]++; return nil }) == nil, "a guarded region is lost")
	must(rtSigaction(&runtimes, nil))
	g := vanished(1)
	check(g.mem[0] == 0 && g.lost(), "not lost")
	check(f.Guarded(), "a region changes")
	f.close()
	g.close()
}

// TestReplaced checks that new regions are guarded after the trap was replaced,
// as the handler that did it may call the trap's. If the runtime's handler was
// put back, the trap returns with the next region.
func TestReplaced(t *testing.T) { passes(t, "replaced") }

func replaced() {
	runtimes := action()
	f := trapped(1)
	trap := action()
	want := runtimes
	want.handler = handlerPC()
	check(trap == want, "the action is %+v, was %+v", trap, runtimes)

	for _, pc := range []uintptr{reflect.ValueOf(foreign).Pointer(), sigDfl, sigIgn} {
		theirs := runtimes
		theirs.handler = pc
		must(rtSigaction(&theirs, nil))
		g := open(1)
		check(g.Guarded() && action() == theirs, "the handler was replaced")
		g.close()
	}
	must(rtSigaction(&trap, nil))
	g := vanished(1)
	check(g.mem[0] == 0 && g.lost(), "not lost")
	g.close()
	must(rtSigaction(&runtimes, nil))
	g = vanished(1)
	check(action() == trap, "the action is %+v, was %+v", action(), trap)
	check(g.mem[0] == 0 && g.lost(), "not lost")
	g.close()
	f.cut(0)
	check(f.mem[0] == 0 && f.lost(), "not lost")
	f.close()
}

// TestTurnedOff checks that the environment turns the trap off, and that the
// action is then the runtime's.
func TestTurnedOff(t *testing.T) {
	passes(t, "turned off", off)
	passes(t, "turned on", "SHAREDSEG_TRAP=")
}

func isOff() {
	before := action()
	f := open(1)
	check(f.Guarded() && action() == before && isRuntimes(before.handler), "there is a trap")
	f.close()
}

// TestExec checks that children start with the default action, and that memory
// can vanish while there are children that have not called exec yet.
func TestExec(t *testing.T) { passes(t, "exec") }

func execs() {
	f := trapped(1)
	defer f.close()
	child := exec.Command("/bin/sh", "-c", "kill -BUS $$; exit 9")
	err := child.Run()
	check(child.ProcessState != nil, "%v", err)
	status := child.ProcessState.Sys().(syscall.WaitStatus)
	check(status.Signaled() && status.Signal() == unix.SIGBUS, "the child: %v", err)

	stop := make(chan bool)
	var losing sync.WaitGroup
	losing.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			g := vanished(1)
			check(g.mem[0] == 0 && g.lost(), "not lost")
			g.close()
		}
	})
	for range rounds(100) {
		must(exec.Command("/bin/true").Run())
	}
	close(stop)
	losing.Wait()
	check(!f.lost(), "another region is lost")
}

// TestRetire replaces a whole region with zeros, as Close of a handle does,
// while others use it and while it vanishes.
func TestRetire(t *testing.T) { passes(t, "retire") }

func retire() {
	for range rounds(500) {
		f := trapped(4)
		fill(f.mem, 1)
		second := f.again()
		var users, running sync.WaitGroup
		for range 2 {
			running.Add(1)
			users.Go(func() {
				running.Done()
				for f.State().Load()&Closed == 0 {
					sink.Add(int64(sum(f.mem)))
					f.mem[3*page]++
					runtime.Gosched()
				}
			})
		}
		running.Wait()
		users.Go(func() { f.cut(1) })
		_, err := unix.MmapPtr(-1, 0, unsafe.Pointer(unsafe.SliceData(f.mem)), uintptr(len(f.mem)), zeroProt, zeroFlags)
		must(err)
		f.State().Or(Closed)
		users.Wait()
		check(all(f.mem[:page], 0) && all(second.mem[:page], 1), "the wrong memory was replaced")
		check(second.mem[3*page] == 0 && second.lost(), "not lost")
		f.close()
		second.close()
	}
}

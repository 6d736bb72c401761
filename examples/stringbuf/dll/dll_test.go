package main

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf16"

	"github.com/sharedseg/sharedseg"
	"github.com/sharedseg/sharedseg/codec"
	"github.com/sharedseg/sharedseg/internal/proctest"
	"github.com/sharedseg/sharedseg/segment"
)

// These tests run C programs that are linked with the library, or with an
// imitation of the sample's own library. build.sh makes them. Where it cannot
// run or a compiler is missing, such as on Windows, run it beforehand, and set
// the environment variable SHAREDMEM_ARTIFACTS to its output directory.

const (
	artifactsVar = "SHAREDMEM_ARTIFACTS"
	nameVar      = "SHAREDMEM_NAME"
)

func TestMain(m *testing.M) {
	proctest.Main(m, map[string]func([]string) error{"parent": goParent, "child": goChild})
}

// artifacts is the directory with the programs.
type artifacts string

func build(t *testing.T) artifacts {
	t.Helper()
	newMemory(t) // skips the test if shared memory is not supported
	if runtime.GOOS != "windows" {
		name := proctest.Name(t)
		s, err := segment.Create(name, codec.String(), nil)
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		if info, err := sharedseg.Stat(name, nil); err != nil || info.Path != "/dev/shm/"+name {
			t.Skipf("shared memory is at %q, where C programs cannot find it (%v)", info.Path, err)
		}
	}
	if dir := os.Getenv(artifactsVar); dir != "" {
		return artifacts(dir)
	}
	if runtime.GOOS != "linux" {
		t.Skipf("%s is not set to the output directory of build.sh %s", artifactsVar, runtime.GOOS)
	}
	cc := os.Getenv("CC")
	if cc == "" {
		cc = "cc"
	}
	for _, tool := range []string{"sh", "go", cc} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skip("a tool that build.sh needs is missing:", err)
		}
	}
	dir := t.TempDir()
	if out, err := exec.Command("sh", "build.sh", runtime.GOOS, dir).CombinedOutput(); err != nil {
		t.Fatalf("build.sh: %v\n%s", err, out)
	}
	return artifacts(dir)
}

// path returns the path of a program.
func (a artifacts) path(program string) string {
	if runtime.GOOS == "windows" {
		program += ".exe"
	}
	return filepath.Join(string(a), program)
}

// command returns the command that runs a program. The program is killed if it
// takes too long.
func (a artifacts) command(t *testing.T, program string, args ...string) *exec.Cmd {
	ctx, cancel := context.WithTimeout(context.Background(), proctest.Patience)
	t.Cleanup(cancel)
	cmd := exec.CommandContext(ctx, a.path(program), args...)
	cmd.WaitDelay = proctest.Patience
	return cmd
}

// in sets the name of the shared memory in a command's environment.
func in(name string, cmd *exec.Cmd) *exec.Cmd {
	cmd.Env = append(cmd.Environ(), nameVar+"="+name)
	cmd.Stderr = os.Stderr
	return cmd
}

func output(t *testing.T, cmd *exec.Cmd) string {
	t.Helper()
	out, err := cmd.Output()
	if err != nil {
		t.Errorf("%v: %v; it wrote %q", cmd.Args, err, out)
	}
	return strings.ReplaceAll(string(out), "\r\n", "\n")
}

func openBare[T any](t *testing.T, name string, c codec.Codec[T]) *segment.Bare[T] {
	t.Helper()
	b, err := segment.OpenBare(name, 2*room, c, nil)
	if err != nil {
		t.Fatal(err)
	}
	proctest.CloseAtEnd(t, b)
	return b
}

// cleared checks that nothing is left of a name. If mayBeLeft is set, it
// removes what is left instead.
func cleared(t *testing.T, name string, mayBeLeft bool) {
	t.Helper()
	if runtime.GOOS == "windows" {
		return // the kernel frees the memory
	}
	if err := segment.RemoveBare(name, nil); !mayBeLeft && !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the name is left behind: RemoveBare returns %v", err)
	}
}

// Git ignores the files that the builds in the README write.
func TestBuildsAreIgnored(t *testing.T) {
	page, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	var files []string
	for _, m := range regexp.MustCompile(`(?:-o |out-implib=)([a-z.]+)`).FindAllStringSubmatch(string(page), -1) {
		files = append(files, m[1])
		if name, is := strings.CutSuffix(m[1], filepath.Ext(m[1])); is && strings.HasSuffix(name, "stringbuf") {
			files = append(files, name+".h") // written by go build next to a library
		}
	}
	if len(files) < 9 {
		t.Fatalf("the README builds only %q", files)
	}
	if out, err := exec.Command("git", "ls-files", "--error-unmatch", "README.md").CombinedOutput(); err != nil {
		t.Skipf("this is not a Git checkout: %v\n%s", err, out)
	}
	for _, file := range files {
		if out, err := exec.Command("git", "check-ignore", file).CombinedOutput(); err != nil {
			t.Errorf("git does not ignore %s: %v\n%s", file, err, out)
		}
	}
}

func TestLibrary(t *testing.T) {
	a := build(t)
	t.Run("ParentAndChild", func(t *testing.T) { testParentAndChild(t, a) })
	t.Run("Peers", func(t *testing.T) { testPeers(t, a) })
	t.Run("Torture", func(t *testing.T) { testTorture(t, a) })
	t.Run("Retry", func(t *testing.T) { testRetry(t, a) })
	t.Run("Lifetime", func(t *testing.T) { testLifetime(t, a) })
	t.Run("Reload", func(t *testing.T) { testReload(t, a) })
}

// goParent and goChild are the C programs parent and child, in Go. goParent's
// argument is a child in C.
func goParent(args []string) error {
	b, err := segment.OpenBare(os.Getenv(nameVar), 2*room, codec.UTF16(), nil)
	if err != nil {
		return err
	}
	fmt.Println("Process is writing to shared memory...")
	if err := b.Store("This is a test string"); err != nil {
		return err
	}
	child := proctest.Command("child")
	if len(args) > 0 {
		child = exec.Command(args[0])
	}
	child.Stdout, child.Stderr = os.Stdout, os.Stderr
	return errors.Join(child.Run(), b.Close())
}

func goChild([]string) error {
	b, err := segment.OpenBare(os.Getenv(nameVar), 2*room, codec.UTF16(), nil)
	if err != nil {
		return err
	}
	text, err := b.Load()
	fmt.Println("Child process read from shared memory:", text)
	return errors.Join(err, b.Close())
}

// Every child reads what every parent writes: the programs in c, the sample's
// programs with our library instead of its own, the sample's programs with its
// own library, and those in Go.
func testParentAndChild(t *testing.T, a artifacts) {
	for _, parent := range []string{"parent", "drop_in_parent", "sample_parent", "go"} {
		for _, child := range []string{"child", "drop_in_child", "sample_child", "go"} {
			t.Run(parent+" "+child, func(t *testing.T) {
				name := proctest.Name(t)
				args := []string{a.path(child)}
				env := os.Environ()
				if child == "go" {
					role := proctest.Command("child")
					args, env = role.Args, role.Env
				}
				var cmd *exec.Cmd
				switch {
				case parent == "go" && child == "go":
					cmd = proctest.Command("parent")
				case parent == "go":
					cmd = proctest.Command("parent", args...)
				case runtime.GOOS == "windows": // the argument is a command line there
					cmd = a.command(t, parent, `"`+strings.Join(args, `" "`)+`"`)
					cmd.Env = env
				default:
					cmd = a.command(t, parent, args...)
					cmd.Env = env
				}
				in(name, cmd)
				const want = "Process is writing to shared memory...\nChild process read from shared memory: This is a test string\n"
				if got := output(t, cmd); got != want {
					t.Errorf("got output\n%swant\n%s", got, want)
				}
				cleared(t, name, parent == "sample_parent" || child == "sample_child")
			})
		}
	}
}

// peer is a process that sets and gets strings as UTF-16 units.
type peer struct {
	name string
	set  func(units []uint16)
	get  func(size int) []uint16
}

func startPeer(t *testing.T, a artifacts, name, program string) (*peer, *proctest.Proc) {
	t.Helper()
	p := proctest.StartCmd(t, in(name, a.command(t, program)))
	line := func() string { return strings.TrimSuffix(p.Line(), "\r") }
	if got := line(); got != "ready" {
		t.Fatalf("%s wrote %q", program, got)
	}
	return &peer{
		name: program,
		set: func(units []uint16) {
			var hex strings.Builder
			for _, u := range units {
				fmt.Fprintf(&hex, "%04x", u)
			}
			p.Say("set " + hex.String())
			if got := line(); got != "ok" {
				t.Fatalf("%s wrote %q", program, got)
			}
		},
		get: func(size int) (units []uint16) {
			p.Say(fmt.Sprint("get ", size))
			b, err := hex.DecodeString(line())
			if err != nil {
				t.Fatal(err)
			}
			for ; len(b) > 0; b = b[2:] {
				units = append(units, binary.BigEndian.Uint16(b))
			}
			return units
		},
	}, p
}

// goPeer is this process, which uses the units unchanged.
func goPeer(t *testing.T, name string) *peer {
	b := openBare(t, name, codec.Bytes())
	return &peer{
		name: "go",
		set: func(units []uint16) {
			var enc []byte
			for _, u := range units {
				enc = binary.LittleEndian.AppendUint16(enc, u)
			}
			if err := b.Store(enc); err != nil {
				t.Error(err)
			}
		},
		get: func(size int) []uint16 {
			mem, err := b.Load()
			if err != nil {
				t.Error(err)
			}
			units := decode(mem)
			return units[:min(len(units), size-1)]
		},
	}
}

// goStringPeer is this process, using a codec for strings.
func goStringPeer(t *testing.T, name string) *peer {
	b := openBare(t, name, codec.UTF16())
	return &peer{
		name: "go, strings",
		set: func(units []uint16) {
			if err := b.Store(string(utf16.Decode(units))); err != nil {
				t.Error(err)
			}
		},
		get: func(size int) []uint16 {
			text, err := b.Load()
			if err != nil {
				t.Error(err)
			}
			units := utf16.Encode([]rune(text))
			return units[:min(len(units), size-1)]
		},
	}
}

// Each peer reads what any other one wrote, whichever of them created the
// memory.
func testPeers(t *testing.T, a artifacts) {
	inC := func(program string) func(*testing.T, string) *peer {
		return func(t *testing.T, name string) *peer {
			p, _ := startPeer(t, a, name, program)
			return p
		}
	}
	starts := []func(*testing.T, string) *peer{inC("peer"), inC("sample_peer"), goPeer, goStringPeer}
	for range starts {
		starts = append(starts[1:], starts[0])
		name := proctest.Name(t)
		var peers []*peer
		for _, start := range starts {
			peers = append(peers, start(t, name))
		}
		t.Run(peers[0].name+" creates", func(t *testing.T) {
			for _, text := range []string{
				"a text",
				"Übergrößenträger, ¿qué?, 共有メモリ, \U0001F600\U00010348, \uFFFD \uE000 \U0010FFFF",
				"",
				strings.Repeat("x", room-1), // as many as fit
			} {
				units := utf16.Encode([]rune(text))
				exchange(t, peers, units, room)
				exchange(t, peers, units, 5)
				exchange(t, peers, units, 1)
			}
			broken := []uint16{0xDC00, 'a', 0xD800, 0xD800}
			exchange(t, slices.DeleteFunc(slices.Clone(peers), func(p *peer) bool { return p.name == "go, strings" }), broken, room)
		})
		t.Cleanup(func() { segment.RemoveBare(name, nil) }) // the sample leaves the name on Linux
	}
}

// exchange has each peer set units, and all peers get as many of them as fit
// into size.
func exchange(t *testing.T, peers []*peer, units []uint16, size int) {
	t.Helper()
	for _, from := range peers {
		from.set([]uint16{'o', 'l', 'd'})
		from.set(units)
		for _, to := range peers {
			if got, want := to.get(size), units[:min(len(units), size-1)]; !slices.Equal(got, want) {
				t.Errorf("%s wrote %.40q; %s read %.40q, %d units, want %d", from.name, string(utf16.Decode(units)),
					to.name, string(utf16.Decode(got)), len(got), len(want))
			}
		}
	}
}

func testTorture(t *testing.T, a artifacts) {
	times := map[string]int{"arguments": 1, "threads": 1, "exit": 10}
	if runtime.GOOS != "windows" {
		times["fork"], times["signal"] = 3, 30
	}
	for part, n := range times {
		t.Run(part, func(t *testing.T) {
			if testing.Short() {
				n = min(n, 3)
			}
			name := proctest.Name(t)
			for range n {
				if got := output(t, in(name, a.command(t, "torture", part))); got != "" {
					t.Error(got)
				}
				cleared(t, name, part == "signal") // exiting from a handler leaves the name
			}
		})
	}
}

// Memory that could not be opened can be opened later.
func testRetry(t *testing.T, a artifacts) {
	name := proctest.Name(t)
	s, err := segment.Create(name, codec.String(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	p := proctest.StartCmd(t, in(name, a.command(t, "torture", "retry")))
	if got := strings.TrimSuffix(p.Line(), "\r"); got != "unavailable" {
		t.Fatal(got)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	p.Say("go on")
	p.Wait()
	cleared(t, name, false)
}

func testLifetime(t *testing.T, a artifacts) {
	name := proctest.Name(t)
	text := []uint16{'t', 'e', 'x', 't'}
	check := func(p *peer, want []uint16) {
		t.Helper()
		if got := p.get(room); !slices.Equal(got, want) {
			t.Errorf("got %#x, want %#x", got, want)
		}
	}

	// Loading the library is enough to keep the memory.
	loaded, first := startPeer(t, a, name, "peer")
	for deadline := time.Now().Add(proctest.Patience); ; time.Sleep(time.Millisecond) {
		if _, err := sharedseg.Stat(name, nil); !errors.Is(err, fs.ErrNotExist) {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("a process with the library has no shared memory")
		}
	}
	setter, second := startPeer(t, a, name, "peer")
	setter.set(text)
	second.Wait()
	check(loaded, text)
	first.Wait()
	cleared(t, name, false)

	// A process is killed.
	setter, second = startPeer(t, a, name, "peer")
	setter.set(text)
	second.Kill()
	left := text
	if runtime.GOOS == "windows" {
		left = nil
	}
	next, first := startPeer(t, a, name, "peer")
	check(next, left)
	first.Wait()
	cleared(t, name, true) // the process that created it was killed
}

func testReload(t *testing.T, a artifacts) {
	name := proctest.Name(t)
	library := filepath.Join(string(a), "libstringbuf.so")
	if runtime.GOOS == "windows" {
		library = filepath.Join(string(a), "stringbuf.dll")
	}
	if got := output(t, in(name, a.command(t, "reload", library))); got != "ok\n" {
		t.Error(got)
	}
	cleared(t, name, false)
}

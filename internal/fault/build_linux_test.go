//go:build (amd64 || arm64 || 386 || riscv64) && !sharedseg_portable

package fault

import (
	"cmp"
	"debug/elf"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// toolchain builds programs with C code for the architecture of the test.
type toolchain struct {
	dir string // for the programs
	cc  []string
}

// needC skips a test without a C compiler for this architecture.
func needC(t *testing.T) *toolchain {
	t.Helper()
	c := &toolchain{t.TempDir(), strings.Fields(cmp.Or(os.Getenv("CC"), "cc"))}
	if runtime.GOARCH == "386" {
		c.cc = append(c.cc, "-m32")
	}
	source := filepath.Join(c.dir, "probe.c")
	if err := os.WriteFile(source, []byte("#include <stdlib.h>\nint main(void) { return 0; }\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	probe := filepath.Join(c.dir, "probe")
	if out, err := c.command("-o", probe, source).CombinedOutput(); err != nil {
		t.Skipf("the C compiler fails for %s: %v\n%s", runtime.GOARCH, err, out)
	}
	if self, err := os.Executable(); err != nil || machine(t, probe) != machine(t, self) {
		t.Skipf("the C compiler does not compile for %s: %v", runtime.GOARCH, err)
	}
	return c
}

// machine returns the architecture of a program's file.
func machine(t *testing.T, path string) elf.Machine {
	f, err := elf.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	return f.Machine
}

func (c *toolchain) command(args ...string) *exec.Cmd {
	return exec.Command(c.cc[0], append(c.cc[1:len(c.cc):len(c.cc)], args...)...)
}

// build builds a package below testdata with cgo and returns the program's
// path.
func (c *toolchain) build(t *testing.T, pkg string, flags ...string) string {
	t.Helper()
	out := filepath.Join(c.dir, filepath.Base(pkg)+".out")
	args := append(append([]string{"build", "-o", out}, flags...), "./testdata/"+pkg)
	cmd := exec.Command("go", args...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=1", "CC="+strings.Join(c.cc, " "), "GOARCH="+runtime.GOARCH)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("go %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return out
}

// run runs a command to its end.
func run(t *testing.T, c *exec.Cmd) outcome {
	t.Helper()
	o, err := tryRun(c)
	if err != nil {
		t.Fatalf("%v: %v\n%s", c, err, o.out)
	}
	return o
}

// TestBuilds checks that the trap works however the program is linked.
func TestBuilds(t *testing.T) {
	c := needC(t)
	for what, flags := range map[string][]string{
		"static":   {"-ldflags=-linkmode=external -extldflags=-static", "-tags=osusergo,netgo"},
		"pie":      {"-buildmode=pie"},
		"stripped": {"-ldflags=-s -w"},
		"gcc":      {"-ldflags=-linkmode=external"},
	} {
		t.Run(what, func(t *testing.T) {
			o := run(t, exec.Command(c.build(t, "program", flags...)))
			want(t, o, 0, "trapped: true, read: 0, state: 1\n")
		})
	}
}

// TestThreadsOfC checks that faults of C code are trapped like those of Go
// code, on threads of C and of Go.
func TestThreadsOfC(t *testing.T) {
	c := needC(t)
	want(t, run(t, exec.Command(c.build(t, "threads"))), 0, "lost: 200\n")
}

// TestPlugin checks that a plugin and its program share one trap.
func TestPlugin(t *testing.T) {
	c := needC(t)
	plugin := c.build(t, "plugin/p", "-buildmode=plugin")
	o := run(t, exec.Command(c.build(t, "plugin"), plugin))
	want(t, o, 0, strings.Repeat("trapped: true, read: 0, state: 1\n", 2))
}

// TestHost checks that a C program's handler works as without the trap,
// whenever it is installed: the trap goes only in front of the Go runtime's
// handler. A handler that is installed in front of the trap and does not call
// it gets the faults of regions too.
func TestHost(t *testing.T) {
	c := needC(t)
	library := c.build(t, "shared", "-buildmode=c-shared")
	host := filepath.Join(c.dir, "host")
	if out, err := c.command("-o", host, "testdata/host/host.c", "-ldl", "-lpthread").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, m := range []struct {
		mode   string
		status int // -1: killed by SIGBUS
		out    string
	}{
		{"none", -1, "trapped: 1\nhost's: 0\nGo read: 0\nC read: 0, state: 1, calls: 0\n"},
		{"before", 0, "trapped: 1\nhost's: 0\nGo read: 0\nC read: 0, state: 1, calls: 0\nown: 1\n"},
		{"between", 0, "trapped: 0\nhost's: 1\nown: 1\n"},
		{"after", 7, "trapped: 1\nlater: 0\nhost's: 1\nthe host's handler ends the process\n"},
		{"after-chain", 0, "trapped: 1\nlater: 0\nhost's: 1\nGo read: 0\nC read: 0, state: 1, calls: 2\nown: 1\n"},
	} {
		t.Run(m.mode, func(t *testing.T) {
			want(t, run(t, exec.Command(host, library, m.mode)), m.status, m.out)
		})
	}
}

// want fails a test unless a program ended with the given status and output.
// Status -1 means killed by SIGBUS.
func want(t *testing.T, o outcome, status int, out string) {
	t.Helper()
	s := o.state.Sys().(syscall.WaitStatus)
	ended := s.ExitStatus() == status
	if status == -1 {
		ended = s.Signaled() && s.Signal() == unix.SIGBUS
	}
	if !ended || o.out != out {
		t.Errorf("%v, output:\n%s\nwant status %d and\n%s", o.state, o.out, status, out)
	}
}

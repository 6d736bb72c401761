// Package proctest has what the tests of several packages share. It runs parts
// of tests in processes of their own, which can be stopped and killed, and it
// waits for what they do. It also checks that the tests of a package leave
// nothing behind.
package proctest

import (
	"bufio"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

const (
	roleVar     = "SHAREDSEG_TEST_ROLE"
	emulatorVar = "SHAREDSEG_TEST_EMULATOR" // the program that runs the test binary, if that is for another machine
)

// Emulated reports whether the tests run under an emulator. Some tests are
// skipped then, because they would test the emulator.
func Emulated() bool { return os.Getenv(emulatorVar) != "" }

// Playing reports whether this process plays a role.
func Playing() bool { return os.Getenv(roleVar) != "" }

// Patience bounds every wait of a test. It is much longer than any of them
// takes, even on a loaded machine, so it only ends tests that hang.
const Patience = 60 * time.Second

// Main is the TestMain of a package whose tests start roles. If a role returns
// an error, its process writes it to standard error and exits with status 1.
func Main(m *testing.M, roles map[string]func(args []string) error) {
	name := os.Getenv(roleVar)
	if name == "" {
		before := takeStock()
		code := m.Run()
		if code == 0 && flag.Lookup("test.fuzz").Value.String() == "" { // the fuzzer leaves goroutines behind
			if left := before.left(); left != "" {
				fmt.Fprintln(os.Stderr, "left behind by the tests:\n"+left)
				code = 1
			}
		}
		os.Exit(code)
	}
	role, ok := roles[name]
	if !ok {
		fmt.Fprintln(os.Stderr, "no such role:", name)
		os.Exit(2)
	}
	if err := role(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, name+":", err)
		os.Exit(1)
	}
	os.Exit(0)
}

// NeedsFaultAddress skips a test that needs the address of a fault, if the
// emulator does not deliver it, as qemu-user does not with SIGBUS.
func NeedsFaultAddress(t testing.TB) {
	t.Helper()
	if Emulated() {
		t.Skip("this emulator delivers SIGBUS without the address of the fault")
	}
}

// Mode returns the mode that Stat reports for a segment created with mode m:
// none on Windows.
func Mode(m fs.FileMode) fs.FileMode {
	if runtime.GOOS == "windows" {
		return 0
	}
	return m
}

// A Proc is a process that plays a role.
type Proc struct {
	t     testing.TB
	cmd   *exec.Cmd
	in    io.WriteCloser
	out   *bufio.Reader
	pipe  io.Closer
	ended bool
}

// Start starts a role. The process is killed when the test ends, if it still
// runs then.
func Start(t testing.TB, role string, args ...string) *Proc {
	t.Helper()
	return StartCmd(t, Command(role, args...))
}

// Command returns the command that plays a role, for callers that change it
// before they start it.
func Command(role string, args ...string) *exec.Cmd {
	exe, err := os.Executable()
	if err != nil {
		panic(err)
	}
	if emulator := os.Getenv(emulatorVar); emulator != "" {
		exe, args = emulator, append([]string{exe}, args...)
	}
	cmd := exec.Command(exe, args...)
	cmd.Env = append(os.Environ(), roleVar+"="+role)
	cmd.Stderr = os.Stderr
	return cmd
}

// StartCmd starts a Command, as Start does.
func StartCmd(t testing.TB, cmd *exec.Cmd) *Proc {
	t.Helper()
	p, err := tryCmd(t, cmd)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func tryCmd(t testing.TB, cmd *exec.Cmd) (*Proc, error) {
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	p := &Proc{t: t, cmd: cmd, in: in, out: bufio.NewReader(out), pipe: out}
	t.Cleanup(func() { p.Kill() })
	return p, nil
}

// Line returns the next line of the role's output. It ends the test if there is
// none.
func (p *Proc) Line() string {
	p.t.Helper()
	type result struct {
		line string
		err  error
	}
	c := make(chan result, 1)
	go func() {
		line, err := p.out.ReadString('\n')
		c <- result{strings.TrimSuffix(line, "\n"), err}
	}()
	select {
	case r := <-c:
		if r.err != nil {
			p.t.Fatalf("%v ended instead of writing a line: %v", p.cmd.Args, r.err)
		}
		return r.line
	case <-time.After(Patience):
		p.t.Fatalf("%v has been silent for %v", p.cmd.Args, Patience)
		return ""
	}
}

// Expect ends the test unless the next line is want.
func (p *Proc) Expect(want string) {
	p.t.Helper()
	if got := p.Line(); got != want {
		p.t.Fatalf("%v wrote %q, want %q", p.cmd.Args, got, want)
	}
}

// Output returns the rest of the role's output. It must not be used together
// with Line.
func (p *Proc) Output() io.Reader { return p.out }

// Say writes a line to the role's input.
func (p *Proc) Say(line string) {
	p.t.Helper()
	if _, err := io.WriteString(p.in, line+"\n"); err != nil {
		p.t.Fatal(err)
	}
}

// Pid returns the process ID.
func (p *Proc) Pid() int { return p.cmd.Process.Pid }

// Signal sends a signal.
func (p *Proc) Signal(s os.Signal) {
	p.t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		p.t.Fatal(err)
	}
}

// Kill ends the process at once, as SIGKILL does, and reaps it. It closes the
// input and the output.
func (p *Proc) Kill() {
	if !p.ended {
		p.ended = true
		p.cmd.Process.Kill()
		p.cmd.Wait()
	}
}

// Reap waits for the end of a process that was sent a signal.
func (p *Proc) Reap() {
	timer := time.AfterFunc(Patience, func() { p.cmd.Process.Kill() })
	defer timer.Stop()
	p.ended = true
	p.cmd.Wait()
}

// Slay kills the process. Its output can still be read to the end. Kill must
// reap it.
func (p *Proc) Slay() { p.cmd.Process.Kill() }

// Wait closes the role's input and waits for the process. It ends the test
// unless the process exits with success.
func (p *Proc) Wait() {
	p.t.Helper()
	p.in.Close()
	p.ended = true
	timer := time.AfterFunc(Patience, func() { p.cmd.Process.Kill() })
	defer timer.Stop()
	rest, _ := io.ReadAll(p.out)
	if err := p.cmd.Wait(); err != nil {
		p.t.Fatalf("%v: %v; it wrote %q", p.cmd.Args, err, rest)
	}
}

var (
	serial  atomic.Int64
	strange = regexp.MustCompile(`[^A-Za-z0-9]+`)
)

// Name returns a name for a segment. No other test uses it, nor does another
// run of the same test.
func Name(t testing.TB) string {
	base := strange.ReplaceAllString(t.Name(), "-")
	return fmt.Sprintf("%s.%.100s.%d", NamePrefix(), base, serial.Add(1))
}

// NamePrefix returns the prefix of all names of this process.
func NamePrefix() string { return fmt.Sprintf("sharedseg-test.%d", os.Getpid()) }

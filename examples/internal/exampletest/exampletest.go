// Package exampletest runs an example as its users do, in separate processes.
// It checks what the example prints, its exit code, and that it leaves nothing
// in shared memory.
//
// The processes run the test binary itself: Main, called by TestMain, finds an
// environment variable and runs the example instead of the tests. So the tests
// need no Go toolchain, and can run from a binary built by go test -c.
package exampletest

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sharedseg/sharedseg"
	"github.com/sharedseg/sharedseg/codec"
	"github.com/sharedseg/sharedseg/segment"
)

// nameVar is the environment variable that makes a process run the example. It
// holds the name of the segment, and is inherited by the processes that the
// example starts.
const nameVar = "SHAREDSEG_EXAMPLE_NAME"

// limit is how long a process can run, and how long a test waits for its
// output. It is far more than a whole test takes, and only ends a process that
// hangs.
const limit = 2 * time.Minute

// Main is the body of an example's TestMain. run is the example's function of
// that name.
func Main(m *testing.M, run func(name string, args []string) int) {
	if name := os.Getenv(nameVar); name != "" {
		os.Exit(run(name, os.Args[1:]))
	}
	os.Exit(m.Run())
}

// Name returns the name of a segment for this test only. When the test ends,
// Name checks that nothing is left with that name or the demo's. It skips the
// test on platforms without shared memory.
func Name(t *testing.T) string {
	t.Helper()
	name := "sharedseg-example." + t.Name() + "." + rand.Text()
	s, err := segment.Create(name, codec.String(), nil)
	if errors.Is(err, errors.ErrUnsupported) && runtime.GOOS != "linux" {
		t.Skipf("shared memory is not supported on this platform: %v", err)
	}
	if err == nil {
		err = s.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for _, name := range []string{name, name + "-demo"} {
			if _, err := sharedseg.Stat(name, nil); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("%s is left in shared memory: Stat returns %v", name, err)
				sharedseg.Remove(name, nil)
			}
		}
	})
	return name
}

// Process is a running example.
type Process struct {
	t              *testing.T
	cmd            *exec.Cmd
	args           []string
	stdout, stderr buffer
}

// buffer is a bytes.Buffer that can be read while a process writes to it.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// Start starts the example with the arguments, on the segment with that name.
// If it still runs when the test ends, it is killed.
func Start(t *testing.T, name string, args ...string) *Process {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	p := &Process{t: t, cmd: exec.CommandContext(ctx, exe, args...), args: args}
	// Otherwise a process with the race detector would sleep for a second when
	// it exits.
	p.cmd.Env = append(os.Environ(), nameVar+"="+name, "GORACE="+os.Getenv("GORACE")+" atexit_sleep_ms=0")
	p.cmd.Stdout, p.cmd.Stderr = &p.stdout, &p.stderr
	p.cmd.WaitDelay = limit
	if err := p.cmd.Start(); err != nil {
		cancel()
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		if p.cmd.ProcessState == nil {
			p.cmd.Wait()
		}
	})
	return p
}

// Run runs the example to its end. It returns its output and its exit code.
func Run(t *testing.T, name string, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	p := Start(t, name, args...)
	code = p.wait()
	return p.stdout.String(), p.stderr.String(), code
}

// Stdout returns the output of the process so far.
func (p *Process) Stdout() string { return p.stdout.String() }

// Await waits until the process has printed text.
func (p *Process) Await(text string) {
	p.t.Helper()
	p.await(strconv.Quote(text), func() bool { return strings.Contains(p.stdout.String(), text) })
}

// AwaitLines waits until the process has printed n more lines.
func (p *Process) AwaitLines(n int) {
	p.t.Helper()
	lines := func() int { return strings.Count(p.stdout.String(), "\n") }
	want := lines() + n
	p.await(fmt.Sprintf("%d lines", want), func() bool { return lines() >= want })
}

func (p *Process) await(what string, printed func() bool) {
	p.t.Helper()
	for deadline := time.Now().Add(limit); !printed(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			p.t.Fatalf("%q did not print %s within %v; stdout:\n%sstderr:\n%s", p.args, what, limit, &p.stdout, &p.stderr)
		}
	}
}

// Interrupt ends the process with Ctrl-C. The process must exit with 0, without
// an error message.
func (p *Process) Interrupt() {
	p.t.Helper()
	if runtime.GOOS == "windows" { // os.Process cannot send Ctrl-C there
		p.Kill()
		return
	}
	if err := p.cmd.Process.Signal(os.Interrupt); err != nil {
		p.t.Fatalf("interrupt %q: %v", p.args, err)
	}
	if code := p.wait(); code != 0 || p.stderr.String() != "" {
		p.t.Errorf("%q exits with %d after Ctrl-C; stderr: %s", p.args, code, &p.stderr)
	}
}

// Kill kills the process.
func (p *Process) Kill() {
	p.t.Helper()
	if err := p.cmd.Process.Kill(); err != nil {
		p.t.Fatalf("kill %q: %v", p.args, err)
	}
	p.wait()
}

func (p *Process) wait() (code int) {
	p.t.Helper()
	if err := p.cmd.Wait(); err != nil && !isExit(err) {
		p.t.Errorf("%q: %v", p.args, err)
	}
	return p.cmd.ProcessState.ExitCode()
}

func isExit(err error) bool {
	_, ok := errors.AsType[*exec.ExitError](err)
	return ok
}

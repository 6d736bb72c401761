package main

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/sharedseg/sharedseg/codec"
	"github.com/sharedseg/sharedseg/internal/proctest"
	"golang.org/x/sys/unix"
)

// terminal is a pseudo-terminal with 60 columns and 8 lines, and the output to
// it.
type terminal struct {
	master, slave *os.File
	out           *lineBuffer
	read          chan struct{} // closed when all of the output has been read
}

// all returns the output that was not awaited. The terminal cannot be used
// afterwards.
func (term *terminal) all() string {
	term.slave.Close()
	<-term.read
	return term.out.String()
}

func newTerminal(t *testing.T) *terminal {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	must(t, err)
	fd := int(master.Fd())
	must(t, unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0))
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	must(t, err)
	must(t, unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &unix.Winsize{Col: 60, Row: 8}))
	slave, err := os.OpenFile(fmt.Sprint("/dev/pts/", n), os.O_RDWR|unix.O_NOCTTY, 0)
	must(t, err)
	term := &terminal{master, slave, &lineBuffer{}, make(chan struct{})}
	go func() {
		defer close(term.read)
		for buf := make([]byte, 4096); ; {
			n, err := master.Read(buf)
			if err != nil {
				return // the other side was closed
			}
			term.out.Write(buf[:n])
		}
	}()
	t.Cleanup(func() {
		term.all()
		master.Close()
	})
	return term
}

// mode returns the terminal's settings.
func (term *terminal) mode(t *testing.T) unix.Termios {
	t.Helper()
	mode, err := unix.IoctlGetTermios(int(term.slave.Fd()), unix.TCGETS)
	must(t, err)
	return *mode
}

// start starts the command on the terminal.
func (term *terminal) start(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	cmd := proctest.Command("tool", args...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = term.slave, term.slave, term.slave
	must(t, cmd.Start())
	t.Cleanup(func() { cmd.Process.Kill() })
	return cmd
}

func wait(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	timer := time.AfterFunc(proctest.Patience, func() { cmd.Process.Kill() })
	defer timer.Stop()
	if err := cmd.Wait(); err != nil {
		t.Errorf("%q: %v", cmd.Args, err)
	}
}

// TestTopInTerminal runs top on a terminal. It must obey keys, and restore the
// terminal however it ends.
func TestTopInTerminal(t *testing.T) {
	dir := proctest.TempDir(t)
	for i := range 20 {
		open(t, fmt.Sprintf("a-rather-long-name-of-a-segment.%02d", i), dir, codec.String(), "tea")
	}
	for what, end := range map[string]func(*terminal, *exec.Cmd) error{
		"q":      func(term *terminal, _ *exec.Cmd) error { _, err := term.master.WriteString("q"); return err },
		"Ctrl-C": func(term *terminal, _ *exec.Cmd) error { _, err := term.master.WriteString("\x03"); return err },
		"SIGTERM": func(_ *terminal, cmd *exec.Cmd) error {
			return cmd.Process.Signal(syscall.SIGTERM)
		},
		"SIGHUP": func(_ *terminal, cmd *exec.Cmd) error { return cmd.Process.Signal(syscall.SIGHUP) },
	} {
		t.Run(what, func(t *testing.T) {
			term := newTerminal(t)
			before := term.mode(t)
			cmd := term.start(t, "top", "-i", "20ms", "-dir", dir)
			term.out.await(t, enterScreen)
			term.out.await(t, homeAndClear)
			term.out.await(t, "20 names")
			term.out.await(t, ".00  segment   - ") // a rate needs two looks
			term.out.await(t, "and 15 more")
			term.out.await(t, ".00  segment  0.0 ")
			if mode := term.mode(t); mode.Lflag&(unix.ICANON|unix.ECHO) != 0 {
				t.Error("keys are not read as they are pressed")
			}
			if _, err := term.master.WriteString("xn"); err != nil {
				t.Fatal(err)
			}
			term.out.await(t, "by name")
			must(t, end(term, cmd))
			wait(t, cmd)
			term.out.await(t, leaveScreen)
			if after := term.mode(t); after != before {
				t.Errorf("the terminal's mode was\n%+v\nand is\n%+v", before, after)
			}
			if rest := term.all(); rest != "" {
				t.Errorf("output after the end: %q", rest)
			}
		})
	}
}

// TestTopOfCount checks that updates which were counted stay on the terminal.
func TestTopOfCount(t *testing.T) {
	dir := proctest.TempDir(t)
	open(t, "text", dir, codec.String(), "tea")
	term := newTerminal(t)
	wait(t, term.start(t, "top", "-n", "2", "-i", "1ms", "-dir", dir))
	out := strings.ReplaceAll(term.all(), "\r\n", "\n")
	harmless(t, out)
	if n := strings.Count(out, "text  segment  0.0"); n != 2 {
		t.Errorf("%d updates:\n%s", n, out)
	}
}

// TestCutInTerminal shows values and tables that are wider than the terminal.
func TestCutInTerminal(t *testing.T) {
	dir := proctest.TempDir(t)
	open(t, "text", dir, codec.String(), strings.Repeat("tea ", 100)+"\x1b[2J")
	open(t, "list", dir, codec.Fixed[[300]int32](), [300]int32{})
	open(t, "json", dir, codec.JSON[string](), strings.Repeat("茶", 100))
	open(t, strings.Repeat("n", 100), dir, codec.String(), "")
	for _, args := range [][]string{
		{"ls"}, {"ls", "-l"}, {"stat", "list"}, {"get", "text"}, {"get", "list"}, {"get", "json"}, {"watch", "-n", "1", "list"}, {"get", "list", "[7]"},
	} {
		term := newTerminal(t)
		wait(t, term.start(t, append([]string{args[0], "-dir", dir}, args[1:]...)...))
		cutAny := false
		text := term.all()
		for line := range strings.Lines(text) {
			line = strings.TrimRight(line, "\r\n")
			harmless(t, line)
			if n := columns(line); n > 60 {
				t.Errorf("%q writes %d columns: %s", args, n, line)
			}
			cutAny = cutAny || strings.HasSuffix(line, "…")
		}
		if long := args[0] != "stat" && args[len(args)-1] != "[7]"; cutAny != long {
			t.Errorf("%q: a line was cut: %v:\n%s", args, cutAny, text)
		}
	}
}

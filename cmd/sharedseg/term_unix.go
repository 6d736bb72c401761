//go:build unix

package main

import (
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// ending is the list of signals that end a command.
var ending = []os.Signal{os.Interrupt, syscall.SIGTERM, syscall.SIGHUP}

// terminalSize returns the size of a terminal in characters. ok is false if the
// file is not a terminal.
func terminalSize(f *os.File) (width, height int, ok bool) {
	if _, err := unix.IoctlGetTermios(int(f.Fd()), getTermios); err != nil {
		return 0, 0, false
	}
	width, height = 80, 24
	if w, err := unix.IoctlGetWinsize(int(f.Fd()), unix.TIOCGWINSZ); err == nil && w.Col > 0 && w.Row > 0 {
		width, height = int(w.Col), int(w.Row)
	}
	return width, height, true
}

// allowSequences enables escape sequences, which Unix terminals always accept.
func allowSequences(*os.File) (restore func(), err error) { return func() {}, nil }

// takeKeys makes a terminal deliver each key as it is pressed, without echo.
// Ctrl-C and Ctrl-Z become ordinary keys: Ctrl-Z would otherwise return to the
// shell with the terminal in this mode.
func takeKeys(f *os.File) (restore func(), err error) {
	fd := int(f.Fd())
	before, err := unix.IoctlGetTermios(fd, getTermios)
	if err != nil {
		return nil, err
	}
	raw := *before
	raw.Lflag &^= unix.ICANON | unix.ECHO | unix.ISIG
	raw.Cc[unix.VMIN], raw.Cc[unix.VTIME] = 1, 0
	if err := unix.IoctlSetTermios(fd, setTermios, &raw); err != nil {
		return nil, err
	}
	return func() { unix.IoctlSetTermios(fd, setTermios, before) }, nil
}

//go:build unix

package main

import (
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// ending are the signals that end a command.
var ending = []os.Signal{os.Interrupt, syscall.SIGTERM, syscall.SIGHUP}

// terminalSize is the size of a terminal in characters. ok is false if the file
// is no terminal.
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

// allowSequences readies a terminal for escape sequences: those of Unix are.
func allowSequences(*os.File) (restore func(), err error) { return func() {}, nil }

// takeKeys has a terminal give each key as it is pressed, and not show it.
// Ctrl-C is a key then, and Ctrl-Z is, which would leave the terminal so to the
// shell.
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

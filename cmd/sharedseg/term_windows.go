package main

import (
	"os"
	"syscall"

	"golang.org/x/sys/windows"
)

// ending is the list of signals that end a command.
var ending = []os.Signal{os.Interrupt, syscall.SIGTERM, syscall.SIGHUP}

// terminalSize returns the size of a console's window in characters. ok is
// false if the file is not a console.
func terminalSize(f *os.File) (width, height int, ok bool) {
	var info windows.ConsoleScreenBufferInfo
	if err := windows.GetConsoleScreenBufferInfo(windows.Handle(f.Fd()), &info); err != nil {
		return 0, 0, false
	}
	w := info.Window
	return int(w.Right-w.Left) + 1, int(w.Bottom-w.Top) + 1, true
}

// allowSequences makes a console interpret escape sequences.
func allowSequences(f *os.File) (restore func(), err error) {
	return setMode(f, func(mode uint32) uint32 { return mode | windows.ENABLE_VIRTUAL_TERMINAL_PROCESSING })
}

// takeKeys makes a console deliver each key as it is pressed, without echo.
// Ctrl-C remains an interrupt.
func takeKeys(f *os.File) (restore func(), err error) {
	return setMode(f, func(mode uint32) uint32 { return mode &^ (windows.ENABLE_LINE_INPUT | windows.ENABLE_ECHO_INPUT) })
}

func setMode(f *os.File, change func(mode uint32) uint32) (restore func(), err error) {
	h := windows.Handle(f.Fd())
	var before uint32
	if err := windows.GetConsoleMode(h, &before); err != nil {
		return nil, err
	}
	if err := windows.SetConsoleMode(h, change(before)); err != nil {
		return nil, err
	}
	return func() { windows.SetConsoleMode(h, before) }, nil
}

package main

import (
	"os"
	"syscall"

	"golang.org/x/sys/windows"
)

// ending are the signals that end a command.
var ending = []os.Signal{os.Interrupt, syscall.SIGTERM, syscall.SIGHUP}

// terminalSize is the size of a console's window in characters. ok is false if
// the file is no console.
func terminalSize(f *os.File) (width, height int, ok bool) {
	var info windows.ConsoleScreenBufferInfo
	if err := windows.GetConsoleScreenBufferInfo(windows.Handle(f.Fd()), &info); err != nil {
		return 0, 0, false
	}
	w := info.Window
	return int(w.Right-w.Left) + 1, int(w.Bottom-w.Top) + 1, true
}

// allowSequences has a console obey escape sequences.
func allowSequences(f *os.File) (restore func(), err error) {
	return setMode(f, func(mode uint32) uint32 { return mode | windows.ENABLE_VIRTUAL_TERMINAL_PROCESSING })
}

// takeKeys has a console give each key as it is pressed, and not show it.
// Ctrl-C stays an interrupt.
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

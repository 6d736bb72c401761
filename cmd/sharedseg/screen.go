package main

import "os"

// Control sequences of ECMA-48 and xterm.
const (
	enterScreen  = "\x1b[?1049h\x1b[?25l" // the alternate screen, without a cursor
	leaveScreen  = "\x1b[?25h\x1b[?1049l"
	homeAndClear = "\x1b[H\x1b[J"
)

// screen is a terminal that the program draws on and reads single keys from.
type screen struct {
	out     *output
	keys    <-chan byte // nil if the input is not a terminal
	restore func()
}

// openScreen prepares the terminal. close restores it.
func openScreen(out *output, in *os.File) (*screen, error) {
	s := &screen{out: out, restore: func() {}}
	restoreOut, err := allowSequences(out.file)
	if err != nil {
		return nil, err
	}
	s.restore = restoreOut
	if restoreIn, err := takeKeys(in); err == nil {
		s.restore = func() { restoreIn(); restoreOut() }
		keys := make(chan byte)
		s.keys = keys
		go func() {
			for buf := make([]byte, 1); ; {
				if n, err := in.Read(buf); n == 0 || err != nil {
					return // the terminal is gone; a signal ends the command
				}
				keys <- buf[0]
			}
		}()
	}
	out.w.WriteString(enterScreen)
	return s, out.flush()
}

func (s *screen) close() {
	s.out.w.WriteString(leaveScreen)
	s.out.flush()
	s.restore()
}

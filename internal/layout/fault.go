package layout

import (
	"fmt"
	"runtime/debug"
)

// A peer that truncates the file under a mapping turns accesses into SIGBUS. With debug.SetPanicOnFault the
// access panics instead of ending the process, and that panic is made an error:
//
//	old, done := debug.SetPanicOnFault(true), false
//	defer func() {
//		if !done {
//			err = layout.Fault(recover(), mem, old)
//		}
//	}()
//	…
//	done = true
//	debug.SetPanicOnFault(old)

// Fault restores the setting old and turns p, what recover returned, into ErrCorrupt if it is a fault whose
// address lies in mem. Any other panic goes on.
func Fault(p any, mem []byte, old bool) error {
	debug.SetPanicOnFault(old)
	if p == nil {
		return nil
	}
	if f, ok := p.(interface{ Addr() uintptr }); ok && Contains(mem, f.Addr()) {
		return fmt.Errorf("%w: the mapping's file was truncated under it; close this handle and open the name again", ErrCorrupt)
	}
	panic(p)
}

// Guard runs f, which touches mem, and returns a fault in mem as ErrCorrupt.
func Guard(mem []byte, f func() error) (err error) {
	old, done := debug.SetPanicOnFault(true), false
	defer func() {
		if !done {
			err = Fault(recover(), mem, old)
		}
	}()
	err = f()
	done = true
	debug.SetPanicOnFault(old)
	return err
}

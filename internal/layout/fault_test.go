package layout

import (
	"errors"
	"runtime"
	"runtime/debug"
	"testing"
)

// faultSetting is the goroutine's debug.SetPanicOnFault.
func faultSetting() bool {
	old := debug.SetPanicOnFault(false)
	debug.SetPanicOnFault(old)
	return old
}

// Whatever happens in it, Guard leaves the goroutine's setting as it was, and only a fault in mem becomes an error.
func TestGuard(t *testing.T) {
	mem := make([]byte, 8)
	broken := errors.New("broken")
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(false))
	for _, setting := range []bool{false, true} {
		debug.SetPanicOnFault(setting)
		restored := func(what string) {
			t.Helper()
			if got := faultSetting(); got != setting {
				t.Errorf("SetPanicOnFault is %v after %s, and was %v", got, what, setting)
			}
		}
		for _, want := range []error{nil, broken} {
			inside := false
			if err := Guard(mem, func() error { inside = faultSetting(); return want }); err != want || !inside {
				t.Errorf("Guard = %v, want %v; SetPanicOnFault was %v", err, want, inside)
			}
			restored("a return")
		}
		func() {
			defer func() {
				if p := recover(); p != broken {
					t.Errorf("the panic became %v", p)
				}
				restored("a panic")
			}()
			Guard(mem, func() error { panic(broken) })
		}()
		func() {
			defer func() {
				if recover() == nil {
					t.Error("a nil dereference was swallowed")
				}
				restored("a nil dereference")
			}()
			Guard(mem, func() error { var p *int; *p = 1; return nil })
		}()
	}
	exited := make(chan bool)
	go func() {
		defer func() { exited <- true }()
		Guard(mem, func() error { runtime.Goexit(); return nil })
		t.Error("Goexit was swallowed")
	}()
	<-exited
}

package fault

import (
	"errors"
	"os"
	"runtime"
	"runtime/debug"
	"strings"
	"testing"

	"github.com/sharedseg/sharedseg/internal/proctest"
)

// roles are the scenarios that run in processes of their own: a signal handler,
// and the variable that turns the trap off, concern a whole process.
var roles = map[string]func(args []string) error{}

func TestMain(m *testing.M) {
	// The tests are about both modes. They turn the trap off in child
	// processes.
	if !proctest.Playing() {
		os.Unsetenv("SHAREDSEG_TRAP")
	}
	proctest.Main(m, roles)
}

// faultSetting returns the goroutine's setting of debug.SetPanicOnFault.
func faultSetting() bool {
	old := debug.SetPanicOnFault(false)
	debug.SetPanicOnFault(old)
	return old
}

// guarded returns a region that is guarded on every platform.
func guarded(t testing.TB) *Region {
	r := Watch(make([]byte, 64)[1:9])
	if !r.Guarded() {
		t.Fatal("memory that is not page-aligned is trapped")
	}
	t.Cleanup(r.Forget)
	return r
}

// TestGuard checks that Guard always restores the goroutine's setting, and that
// only a fault in the region becomes an error.
func TestGuard(t *testing.T) {
	r := guarded(t)
	broken := errors.New("broken")
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(false))
	for _, setting := range []bool{false, true} {
		debug.SetPanicOnFault(setting)
		restored := func(what string) {
			t.Helper()
			if got := faultSetting(); got != setting {
				t.Errorf("SetPanicOnFault is %v after %s, was %v", got, what, setting)
			}
		}
		for _, want := range []error{nil, broken} {
			inside := false
			if err := r.Guard(func() error { inside = faultSetting(); return want }); err != want || !inside {
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
			r.Guard(func() error { panic(broken) })
		}()
		func() {
			defer func() {
				if p, ok := recover().(runtime.Error); !ok || !strings.Contains(p.Error(), "nil pointer dereference") {
					t.Errorf("a nil dereference became %v", p)
				}
				restored("a nil dereference")
			}()
			r.Guard(func() error { var p *int; *p = 1; return nil })
		}()
		func() {
			defer func() {
				if p := recover(); p != (imposter{r.lo}) {
					t.Errorf("a panic other than a fault became %v", p)
				}
				restored("a panic other than a fault")
			}()
			r.Guard(func() error { panic(imposter{r.lo}) })
		}()
	}
	exited := make(chan bool)
	go func() {
		defer func() { exited <- faultSetting() }()
		r.Guard(func() error { runtime.Goexit(); return nil })
		t.Error("Guard stopped a Goexit")
	}()
	if <-exited {
		t.Error("SetPanicOnFault is set after Goexit")
	}
	if s := r.State().Load(); s != 0 {
		t.Errorf("the state is %d after panics other than faults", s)
	}
}

// imposter has the address that a fault would have.
type imposter struct{ addr uintptr }

func (i imposter) Addr() uintptr { return i.addr }

// TestState checks that the bits of the state, which belong to different
// parties, do not affect each other.
func TestState(t *testing.T) {
	r := guarded(t)
	broken := errors.New("broken")
	r.State().Or(Closed)
	if err := r.Guard(func() error { return broken }); err != broken {
		t.Errorf("Guard of a closed region = %v", err)
	}
	r.State().Or(Lost)
	if err := r.Guard(func() error { return broken }); err != ErrLost {
		t.Errorf("Guard of a lost region = %v", err)
	}
	if s := r.State().Load(); s != Lost|Closed {
		t.Errorf("the state is %d", s)
	}
}

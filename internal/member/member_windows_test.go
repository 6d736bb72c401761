package member

import (
	"context"
	"testing"
	"time"
	"unsafe"

	"github.com/sharedseg/sharedseg/internal/layout"
	"github.com/sharedseg/sharedseg/internal/mapping"
	"github.com/sharedseg/sharedseg/internal/park"
	"github.com/sharedseg/sharedseg/internal/proctest"
	"golang.org/x/sys/windows"
)

// TestHandles checks that everything that a handle opened is closed when it
// leaves or is refused.
func TestHandles(t *testing.T) {
	handles := func() (n uint32) {
		count := windows.NewLazySystemDLL("kernel32.dll").NewProc("GetProcessHandleCount")
		proc := windows.CurrentProcess()
		ok, _, err := count.Call(uintptr(proc), uintptr(unsafe.Pointer(&n)))
		if ok == 0 {
			t.Fatal(err)
		}
		return n
	}
	sleeper := park.NewSleeper(1)
	for what, place := range map[string]mapping.Place{
		"page file": {Name: proctest.Name(t)},
		"file":      {Name: "m", Dir: proctest.TempDir(t)},
	} {
		s := segment(in(""))
		s.Place = place
		use := func() {
			m, err := Join(OpenOrCreate, s)
			must(t, err)
			r, err := JoinReader(s)
			must(t, err)
			m.Queue.Wait(0, time.Millisecond)
			m.Queue.Wake()
			var spot park.Spot
			spot.Prepare(m.Broadcast, 0)
			sleeper.Sleep([]*park.Spot{&spot}, time.Millisecond)
			m.Broadcast.Wake(0)
			spot.Close()
			_, err = Stat(&s.Place)
			must(t, err)
			refuses := *s
			refuses.Check = func(*layout.Geometry) error { return context.Canceled }
			_, err = Join(AttachOnly, &refuses)
			want(t, err, context.Canceled)
			must(t, m.Leave(false))
			must(t, r.Leave(false))
		}
		for range 10 {
			use()
		}
		before := handles()
		for range 100 {
			use()
		}
		// The runtime has a few for each of its threads, and some threads may
		// be about to end.
		for begun := time.Now(); handles() > before+50; time.Sleep(time.Millisecond) {
			if time.Since(begun) > proctest.Patience {
				t.Fatalf("%s: %d handles, before %d", what, handles(), before)
			}
		}
	}
}

//go:build !sharedseg_portable

package park

import (
	"math"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sharedseg/sharedseg/internal/proctest"
	"golang.org/x/sys/unix"
)

// When a process exits, KickAtEnd wakes a thread that sleeps, and one that goes
// to sleep later.
func TestKickAtEnd(t *testing.T) {
	if fd, err := unix.PidfdOpen(os.Getpid(), unix.PIDFD_NONBLOCK); err != nil {
		t.Skip("this kernel or container does not support pidfd_open: ", err)
	} else {
		unix.Close(fd)
	}
	s, err := share(proctest.Name(t))
	if err != nil {
		t.Fatal(err)
	}
	defer s.close()
	s.word.Store(1)
	queue := NewQueue(s.word, s.family, MutexPart)
	p := proctest.Start(t, "idler")
	p.Expect("ready")
	for _, pid := range []uint32{0, math.MaxUint32, 1 << 30, uint32(os.Getpid()), uint32(p.Pid())} {
		defer queue.KickAtEnd(pid)()
	}
	var ended atomic.Bool
	woken := make(chan bool)
	go func() {
		for wakes := 0; wakes < 2; {
			queue.Wait(1, time.Hour)
			if ended.Load() {
				woken <- true
				wakes++
			}
		}
	}()
	ended.Store(true)
	p.Kill()
	within(t, "a sleeper", func() { <-woken })
	within(t, "a later sleeper", func() { <-woken })
}

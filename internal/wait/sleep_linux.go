package wait

import (
	"time"

	"golang.org/x/sys/unix"
)

// sleep is time.Sleep, which the runtime makes a millisecond long at least in a
// process that has nothing else to do. A signal may end it early.
func sleep(d time.Duration) {
	if d >= time.Millisecond {
		time.Sleep(d)
		return
	}
	ts := unix.NsecToTimespec(d.Nanoseconds())
	unix.Nanosleep(&ts, nil)
}

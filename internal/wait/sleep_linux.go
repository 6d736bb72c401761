package wait

import (
	"time"

	"golang.org/x/sys/unix"
)

// sleep is time.Sleep with sub-millisecond precision. In an idle process the
// runtime rounds time.Sleep up to a millisecond. A signal may end sleep early.
func sleep(d time.Duration) {
	if d >= time.Millisecond {
		time.Sleep(d)
		return
	}
	ts := unix.NsecToTimespec(d.Nanoseconds())
	unix.Nanosleep(&ts, nil)
}

package harness

import (
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sharedseg/sharedseg/internal/proctest"
)

// Work is the result of a process in a window of time.
type Work struct {
	N      int           // the number of operations
	Torn   int           // of these, loads that were torn
	Missed int           // values that it did not see
	Sum    uint64        // of the numbers that it sent or received
	Time   time.Duration // the time that this took
	End    time.Time     // when it ended
}

// PerSecond returns the operations per second.
func (w Work) PerSecond() float64 { return float64(w.N) / w.Time.Seconds() }

// idle reports whether no process has done anything.
func idle(done []Work) bool {
	return !slices.ContainsFunc(done, func(w Work) bool { return w.N > 0 })
}

// WindowLength returns the length of a window: a second, and less in short
// mode.
func WindowLength() time.Duration {
	if testing.Short() {
		return 20 * time.Millisecond
	}
	return time.Second
}

// Window has processes work at the same time for that length, and returns the
// work of each. The processes run ServeWindows.
func Window(tb testing.TB, procs []*proctest.Proc, length time.Duration) []Work {
	tb.Helper()
	beginWindow(procs, length)
	return endWindow(tb, procs)
}

// windowLead is the time between the announcement and the start of a window.
const windowLead = 5 * time.Millisecond

func beginWindow(procs []*proctest.Proc, length time.Duration) {
	start := time.Now().Add(windowLead)
	for _, p := range procs {
		p.Say(fmt.Sprint(start.UnixNano(), start.Add(length).UnixNano()))
	}
}

func endWindow(tb testing.TB, procs []*proctest.Proc) []Work {
	tb.Helper()
	done := make([]Work, len(procs))
	for i, p := range procs {
		var end int64
		_, err := fmt.Sscan(p.Line(), &done[i].N, &done[i].Torn, &done[i].Missed, &done[i].Sum, (*int64)(&done[i].Time), &end)
		Must(tb, err)
		done[i].End = time.Unix(0, end)
	}
	return done
}

// ServeWindows is the other side of Window, in a process. For each window it
// calls work, which repeats an operation until stop is set and returns the
// result. ServeWindows returns when standard input ends or work fails.
func ServeWindows(work func(stop *atomic.Bool) (Work, error)) error {
	fmt.Println("ready")
	for proctest.Stdin.Scan() {
		var start, end int64
		if _, err := fmt.Sscan(proctest.Stdin.Text(), &start, &end); err != nil {
			return err
		}
		var stop atomic.Bool
		time.Sleep(time.Until(time.Unix(0, start)))
		begun := time.Now()
		time.AfterFunc(time.Until(time.Unix(0, end)), func() { stop.Store(true) })
		w, err := work(&stop)
		if err != nil {
			return err
		}
		ended := time.Now()
		fmt.Println(w.N, w.Torn, w.Missed, w.Sum, ended.Sub(begun).Nanoseconds(), ended.UnixNano())
	}
	return nil
}

package proctest

import (
	"regexp"
	"runtime"
	"strings"
	"testing"
	"time"
)

var idle = regexp.MustCompile(`^goroutine \d+ [^\[]*\[(select|syscall|sleep)\b`)

// Parked returns when, for each of the functions, a goroutine that is within it
// waits for something: for another goroutine, the system, or its time.
func Parked(t testing.TB, functions ...string) {
	t.Helper()
	buf := make([]byte, 1<<20)
	for start := time.Now(); ; time.Sleep(time.Millisecond) {
		stacks := string(buf[:runtime.Stack(buf, true)])
		parked := 0
		for _, f := range functions {
			for stack := range strings.SplitSeq(stacks, "\n\n") {
				if idle.MatchString(stack) && strings.Contains(stack, f) {
					parked++
					break
				}
			}
		}
		if parked == len(functions) {
			return
		}
		if time.Since(start) > Patience {
			t.Fatalf("not all of %v wait:\n%s", functions, stacks)
		}
	}
}

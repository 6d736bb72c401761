package proctest

import (
	"regexp"
	"strings"
	"testing"
	"time"
)

var idle = regexp.MustCompile(`^goroutine \d+ [^\[]*\[(select|syscall|sleep)\b`)

// Parked returns when, for each of functions, some goroutine is blocked within
// it: in a select, a system call or a sleep.
func Parked(t testing.TB, functions ...string) {
	t.Helper()
	for start := time.Now(); ; time.Sleep(time.Millisecond) {
		stacks := stacks()
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
			t.Fatalf("not all of %v are blocked:\n%s", functions, stacks)
		}
	}
}

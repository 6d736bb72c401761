//go:build sharedseg_steps && linux

package crashtest

import (
	"flag"
	"fmt"
	"testing"

	"github.com/sharedseg/sharedseg/internal/step"
)

var rounds = flag.Int("rounds", 1, "`number` of kills and pauses at each step of each operation")

// TestAllSteps checks that each step is part of some operation. The matrix must
// reach every step of its operations, and so reaches every step.
func TestAllSteps(t *testing.T) {
	in := map[step.Step]bool{}
	for _, op := range operations {
		for _, s := range op.steps {
			in[s] = true
		}
	}
	for s := range step.Count {
		if s.String() == "" {
			t.Errorf("step %d has no name", int(s))
		}
		if !in[s] {
			t.Errorf("step %v is not part of any operation", s)
		}
	}
}

func matrix(t *testing.T, action string) {
	cells, n := 0, 0
	for _, peers := range []int{0, 1, 3} {
		for i, op := range operations {
			t.Run(fmt.Sprintf("peers=%d/%s", peers, op.name), func(t *testing.T) {
				cells += len(op.steps)
				n += run(t, i, action, peers, *rounds)
			})
		}
	}
	t.Logf("%d cells, %d times %s", cells, n, action)
}

// TestKills checks that a process that is killed at any step does no harm to
// the others.
func TestKills(t *testing.T) { matrix(t, "kill") }

// TestPauses checks that a process that is stopped at any step loses nothing
// that it holds, never delays readers, delays others only while it is stopped,
// and continues normally.
func TestPauses(t *testing.T) { matrix(t, "stop") }

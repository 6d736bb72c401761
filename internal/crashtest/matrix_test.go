//go:build sharedseg_steps && linux

package crashtest

import (
	"flag"
	"fmt"
	"testing"

	"github.com/sharedseg/sharedseg/internal/step"
)

var rounds = flag.Int("rounds", 1, "`number` of kills and pauses at each step of each operation")

// Each step is a part of some operation, so that the matrix, which does not end
// before each of its steps was come by, comes by all there are.
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
			t.Errorf("step %v is part of no operation", s)
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

// A process that is killed, wherever it is, takes nothing from the others but
// itself.
func TestKills(t *testing.T) { matrix(t, "kill") }

// A process that is stopped, wherever it is, is not robbed, keeps readers from
// nothing and others no longer than it is stopped, and goes on as if nothing
// had been.
func TestPauses(t *testing.T) { matrix(t, "stop") }

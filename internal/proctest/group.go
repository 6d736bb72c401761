package proctest

import (
	"fmt"
	"testing"
)

// A Group is a set of processes that play the same role.
type Group []*Proc

// StartGroup starts a role n times, as Start does.
func StartGroup(t testing.TB, n int, role string, args ...string) Group {
	t.Helper()
	g := make(Group, n)
	for i := range g {
		g[i] = Start(t, role, args...)
	}
	return g
}

// Expect ends the test unless the next line of each process is want.
func (g Group) Expect(want string) {
	for _, p := range g {
		p.t.Helper()
		p.Expect(want)
	}
}

// Say writes a line to the input of each process.
func (g Group) Say(line string) {
	for _, p := range g {
		p.t.Helper()
		p.Say(line)
	}
}

// Kill kills each process, as Proc.Kill does.
func (g Group) Kill() {
	for _, p := range g {
		p.Kill()
	}
}

// Wait waits for each process, as Proc.Wait does.
func (g Group) Wait() {
	for _, p := range g {
		p.t.Helper()
		p.Wait()
	}
}

// StopRepeating ends processes whose role calls Repeat. It fails the test
// unless each has called its function at least once.
func (g Group) StopRepeating() {
	g.Say("stop")
	for _, p := range g {
		p.t.Helper()
		var calls int
		if line := p.Line(); line == "0" {
			p.t.Errorf("%v did nothing", p.cmd.Args)
		} else if _, err := fmt.Sscan(line, &calls); err != nil {
			p.t.Errorf("%v wrote %q, want the number of its calls", p.cmd.Args, line)
		}
		p.Wait()
	}
}

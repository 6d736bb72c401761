package main

import (
	"fmt"
	"strings"
	"testing"

	"github.com/sharedseg/sharedseg/examples/internal/exampletest"
)

func TestMain(m *testing.M) { exampletest.Main(m, run) }

func TestDemo(t *testing.T) {
	name := exampletest.Name(t)
	stdout, stderr, code := exampletest.Run(t, name)
	if stderr != "" || code != 0 {
		t.Fatalf("exit code %d, stdout:\n%sstderr:\n%s", code, stdout, stderr)
	}
	for n := 1; n <= demoJobs; n++ {
		if got := strings.Count(stdout, fmt.Sprintf(" has finished job %d.\n", n)); got != 1 {
			t.Errorf("job %d was done %d times", n, got)
		}
	}
	for _, want := range []string{"Killed worker ", ", whose worker died (attempt 2).\n", "All jobs are done.\n"} {
		if !strings.Contains(stdout, want) {
			t.Errorf("no %q in the output", want)
		}
	}
	if t.Failed() {
		t.Logf("stdout:\n%s", stdout)
	}
}

// When a process is killed in one of several terminals, no job is lost.
func TestTerminals(t *testing.T) {
	name := exampletest.Name(t)
	worker := exampletest.Start(t, name, "work")
	worker.Await("is running.")
	producer := exampletest.Start(t, name, "produce")
	worker.Await("starts job 1.")
	worker.Kill()
	second := exampletest.Start(t, name, "work")
	second.Await("starts job 1, whose worker died")
	producer.Kill()
	producer = exampletest.Start(t, name, "produce") // starts again from job 1
	second.Await("starts job 1.")
	producer.Interrupt()
	second.Interrupt()
}

func TestUsage(t *testing.T) {
	name := exampletest.Name(t)
	for _, args := range [][]string{{"help"}, {"work", "hard"}} {
		stdout, stderr, code := exampletest.Run(t, name, args...)
		if stdout != "" || stderr != usage || code != 2 {
			t.Errorf("%q: exit code %d, stdout: %s, stderr: %s", args, code, stdout, stderr)
		}
	}
}

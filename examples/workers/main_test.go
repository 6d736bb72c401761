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
		if got := strings.Count(stdout, fmt.Sprintf(" has done job %d.\n", n)); got != 1 {
			t.Errorf("job %d was done %d times", n, got)
		}
	}
	for _, want := range []string{" is killed.\n", " takes over job ", "(attempt 2)", "All jobs are done.\n"} {
		if !strings.Contains(stdout, want) {
			t.Errorf("there is no %q", want)
		}
	}
	if t.Failed() {
		t.Logf("stdout:\n%s", stdout)
	}
}

// In several terminals, whoever is killed takes nothing with it.
func TestTerminals(t *testing.T) {
	name := exampletest.Name(t)
	worker := exampletest.Start(t, name, "work")
	worker.Await("is running.")
	producer := exampletest.Start(t, name, "produce")
	worker.Await("begins job 1.")
	worker.Kill()
	second := exampletest.Start(t, name, "work")
	second.Await("takes over job 1,")
	producer.Kill()
	producer = exampletest.Start(t, name, "produce") // begins with job 1
	second.Await("begins job 1.")
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

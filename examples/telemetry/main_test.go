package main

import (
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
	// A watcher can miss samples, but not the last one.
	watchers := 0
	for line := range strings.Lines(stdout) {
		if strings.HasPrefix(line, "Watcher") && strings.Contains(line, ": sample 10 at ") {
			watchers++
		}
	}
	if watchers != 2 {
		t.Errorf("%d watchers saw the last sample, want 2", watchers)
	}
	if !strings.Contains(stdout, "\nLatest: sample 10 at ") {
		t.Error("the reader did not see the last sample")
	}
	if t.Failed() {
		t.Logf("stdout:\n%s", stdout)
	}
}

func TestTerminals(t *testing.T) {
	name := exampletest.Name(t)
	early := exampletest.Start(t, name, "watch")
	early.Await("is running.")
	stdout, stderr, code := exampletest.Run(t, name, "read")
	if stdout != "" || !strings.Contains(stderr, "no samples yet") || code != 1 {
		t.Errorf("read before a sample: exit code %d, stdout: %s, stderr: %s", code, stdout, stderr)
	}

	writer := exampletest.Start(t, name, "write")
	early.AwaitLines(3)
	late := exampletest.Start(t, name, "watch")
	late.Await(": sample ")
	checkRead(t, name)

	// When a writer is killed, the samples stay, and another writer continues.
	// The first of the two lines can be the old writer's last sample.
	writer.Kill()
	checkRead(t, name)
	writer = exampletest.Start(t, name, "write")
	writer.Await("is running.")
	late.AwaitLines(2)
	writer.Interrupt()
	early.Interrupt()
	late.Interrupt()
}

func checkRead(t *testing.T, name string) {
	t.Helper()
	stdout, stderr, code := exampletest.Run(t, name, "read")
	if !strings.HasPrefix(stdout, "Latest: sample ") || stderr != "" || code != 0 {
		t.Errorf("read: exit code %d, stdout: %s, stderr: %s", code, stdout, stderr)
	}
}

func TestReadNothing(t *testing.T) {
	name := exampletest.Name(t)
	stdout, stderr, code := exampletest.Run(t, name, "read")
	if stdout != "" || !strings.Contains(stderr, "run telemetry write") || code != 1 {
		t.Errorf("exit code %d, stdout: %s, stderr: %s", code, stdout, stderr)
	}
}

func TestUsage(t *testing.T) {
	name := exampletest.Name(t)
	for _, args := range [][]string{{"unknown"}, {""}, {"-h"}, {"read", "a"}, {"write", "a"}, {"watch", "a"}} {
		stdout, stderr, code := exampletest.Run(t, name, args...)
		if stdout != "" || stderr != usage || code != 2 {
			t.Errorf("%q: exit code %d, stdout: %s, stderr: %s", args, code, stdout, stderr)
		}
	}
}

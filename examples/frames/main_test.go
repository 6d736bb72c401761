package main

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/sharedseg/sharedseg/examples/internal/exampletest"
)

func TestMain(m *testing.M) { exampletest.Main(m, run) }

func TestDemo(t *testing.T) {
	name := exampletest.Name(t)
	stdout, stderr, code := exampletest.Run(t, name)
	if stderr != "" || code != 0 {
		t.Errorf("exit code %d, stderr: %s", code, stderr)
	}
	// One of the three viewers is killed before the last frame.
	viewers := 0
	for line := range strings.Lines(stdout) {
		if strings.Contains(line, fmt.Sprintf(": frame %d, ", demoFrames)) {
			viewers++
		}
	}
	if viewers != 2 {
		t.Errorf("%d viewers saw the last frame, want 2", viewers)
	}
	for _, what := range []string{"slow viewer", "camera"} {
		if !strings.Contains(stdout, "Killed the "+what+". Starting another one.\n") {
			t.Errorf("no %s was killed", what)
		}
	}
	if t.Failed() {
		t.Logf("stdout:\n%s", stdout)
	}
}

// Cameras and viewers are killed at any time, even while they fill or look at a
// frame. A viewer fails if it sees parts of two frames.
func TestTerminals(t *testing.T) {
	name := exampletest.Name(t)
	early := exampletest.Start(t, name, "view")
	early.Await("is running.")
	first := uint64(0)
	for range 4 {
		camera := exampletest.Start(t, name, "camera")
		camera.Await(".\n")
		if from := firstFrame(t, camera); from <= first {
			t.Errorf("a camera starts with frame %d, after one that started with %d", from, first)
		} else {
			first = from
		}
		for range 2 { // in total more viewers than there are slots
			viewer := exampletest.Start(t, name, "slow")
			viewer.Await("is running.")
			pause()
			viewer.Kill()
		}
		early.AwaitLines(1)
		pause()
		camera.Kill()
	}
	late := exampletest.Start(t, name, "slow")
	camera := exampletest.Start(t, name, "camera")
	early.AwaitLines(2)
	late.AwaitLines(2)
	camera.Interrupt()
	early.Interrupt()
	late.Interrupt()
}

// firstFrame returns the frame that a camera says it starts with.
func firstFrame(t *testing.T, camera *exampletest.Process) (n uint64) {
	t.Helper()
	pid := 0
	if _, err := fmt.Sscanf(camera.Stdout(), "Camera %d is running. Its first frame is %d.", &pid, &n); err != nil {
		t.Fatalf("%v: %s", err, camera.Stdout())
	}
	return n
}

// pause sleeps for a random time of up to three frames.
func pause() { time.Sleep(rand.N(3 * period)) }

func TestUsage(t *testing.T) {
	name := exampletest.Name(t)
	for _, args := range [][]string{{"unknown"}, {""}, {"-h"}, {"camera", "a"}, {"view", "a"}, {"slow", "a"}} {
		stdout, stderr, code := exampletest.Run(t, name, args...)
		if stdout != "" || stderr != usage || code != 2 {
			t.Errorf("%q: exit code %d, stdout: %s, stderr: %s", args, code, stdout, stderr)
		}
	}
}

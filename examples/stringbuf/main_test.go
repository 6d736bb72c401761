package main

import (
	"errors"
	"io/fs"
	"strings"
	"testing"

	"github.com/sharedseg/sharedseg"
	"github.com/sharedseg/sharedseg/codec"
	"github.com/sharedseg/sharedseg/examples/internal/exampletest"
	"github.com/sharedseg/sharedseg/internal/proctest"
	"github.com/sharedseg/sharedseg/segment"
)

func TestMain(m *testing.M) { exampletest.Main(m, run) }

const sample = "Process is writing to shared memory...\n" +
	"Child process read from shared memory: This is a test string\n"

func checkSample(t *testing.T, name string) {
	t.Helper()
	stdout, stderr, code := exampletest.Run(t, name)
	if stdout != sample || stderr != "" || code != 0 {
		t.Errorf("exit code %d, stdout:\n%swant:\n%sstderr:\n%s", code, stdout, sample, stderr)
	}
}

func checkGet(t *testing.T, name, want string) {
	t.Helper()
	stdout, stderr, code := exampletest.Run(t, name, "get")
	if stdout != want+"\n" || stderr != "" || code != 0 {
		t.Errorf("get prints %q, want %q; exit code %d, stderr: %s", stdout, want, code, stderr)
	}
}

func TestSample(t *testing.T) {
	name := exampletest.Name(t)
	checkSample(t, name)
	checkSample(t, name)
}

func TestTwoTerminals(t *testing.T) {
	name := exampletest.Name(t)
	watch := exampletest.Start(t, name, "watch")
	watch.Await("Watching.")
	checkGet(t, name, "")

	one := exampletest.Start(t, name, "set", "one")
	watch.Await("\none\n")
	one.Await("until you press Ctrl-C")
	checkGet(t, name, "one")

	two := exampletest.Start(t, name, "set", "größer 🙂")
	watch.Await("\ngrößer 🙂\n")
	checkGet(t, name, "größer 🙂")

	one.Interrupt()
	checkGet(t, name, "größer 🙂")
	two.Await("until you press Ctrl-C")
	two.Interrupt()
	checkGet(t, name, "größer 🙂") // the watch keeps the memory

	// The sample's parent is one more process that sets the text.
	checkSample(t, name)
	watch.Await("\nThis is a test string\n")
	watch.Interrupt()
}

// Without a watch, the text exists exactly as long as the set runs.
func TestSetHolds(t *testing.T) {
	name := exampletest.Name(t)
	set := exampletest.Start(t, name, "set", "held")
	set.Await("until you press Ctrl-C")
	checkGet(t, name, "held")
	set.Interrupt()

	stdout, stderr, code := exampletest.Run(t, name, "get")
	if stdout != "" || !strings.Contains(stderr, "run stringbuf set TEXT") || code != 1 {
		t.Errorf("get without a set prints %q, exit code %d, stderr: %s", stdout, code, stderr)
	}
}

// A process that is killed leaves nothing that disturbs the next one.
func TestKilled(t *testing.T) {
	name := exampletest.Name(t)
	set := exampletest.Start(t, name, "set", "left behind")
	set.Await("until you press Ctrl-C")
	set.Kill()
	proctest.Gone(t, func() bool {
		info, err := sharedseg.Stat(name, nil)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Error(err)
			return true
		}
		return !info.Live()
	})
	if _, _, code := exampletest.Run(t, name, "get"); code != 1 {
		t.Errorf("get after the only process was killed exits with %d, want 1", code)
	}
	checkSample(t, name)
}

// The longest text has 2047 UTF-16 units and a NUL, 4096 bytes.
func TestLength(t *testing.T) {
	name := exampletest.Name(t)
	longest := strings.Repeat("x", 2047)
	set := exampletest.Start(t, name, "set", longest)
	set.Await("until you press Ctrl-C")

	stdout, stderr, code := exampletest.Run(t, name, "set", longest+"x")
	if stdout != "" || !strings.Contains(stderr, "too large") || code != 1 {
		t.Errorf("set of a text that is too long: exit code %d, stdout: %s, stderr: %s", code, stdout, stderr)
	}
	checkGet(t, name, longest)
	set.Interrupt()
}

func TestFailure(t *testing.T) {
	name := exampletest.Name(t)
	s, err := segment.Create(name, codec.Bytes(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for _, args := range [][]string{nil, {"set", "text"}, {"get"}, {"watch"}, {"child"}} {
		stdout, stderr, code := exampletest.Run(t, name, args...)
		if stdout != "" || !strings.HasPrefix(stderr, "stringbuf: ") || !strings.Contains(stderr, name) || code != 1 {
			t.Errorf("%q with a segment of bytes: exit code %d, stdout: %s, stderr: %s", args, code, stdout, stderr)
		}
	}
}

func TestUsage(t *testing.T) {
	name := exampletest.Name(t)
	for _, args := range [][]string{{"unknown"}, {""}, {"-h"}, {"set"}, {"set", "a", "b"}, {"get", "a"}, {"watch", "a"}} {
		stdout, stderr, code := exampletest.Run(t, name, args...)
		if stdout != "" || stderr != usage || code != 2 {
			t.Errorf("%q: exit code %d, stdout: %s, stderr: %s", args, code, stdout, stderr)
		}
	}
}

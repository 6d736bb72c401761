package main

import (
	"errors"
	"io/fs"
	"strings"
	"testing"

	"github.com/sharedseg/sharedseg"
	"github.com/sharedseg/sharedseg/examples/internal/exampletest"
)

func TestMain(m *testing.M) { exampletest.Main(m, run) }

// newName is exampletest.Name for tests that make settings, which stay until they are removed.
func newName(t *testing.T) string {
	t.Helper()
	name := exampletest.Name(t)
	t.Cleanup(func() {
		if err := sharedseg.Remove(name, nil); err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Error(err)
		}
	})
	return name
}

func TestDemo(t *testing.T) {
	name := exampletest.Name(t)
	const want = "4 processes made 250 updates each, together 1000.\n"
	for range 3 {
		stdout, stderr, code := exampletest.Run(t, name)
		if stdout != want || stderr != "" || code != 0 {
			t.Errorf("exit code %d, stdout: %s, want: %s, stderr: %s", code, stdout, want, stderr)
		}
	}
}

func TestTwoTerminals(t *testing.T) {
	name := newName(t)
	watch := exampletest.Start(t, name, "watch")
	watch.Await("Watching.")

	check(t, name, "", "set", "loglevel", "debug")
	watch.Await(`{"revision":1,"loglevel":"debug"}` + "\n")
	check(t, name, "", "set", "maxconns", "17")
	watch.Await(`{"revision":2,"loglevel":"debug","maxconns":17}` + "\n")
	watch.Interrupt()

	// The settings stay although nobody has them open, and the demo leaves them alone.
	check(t, name, "4 processes made 250 updates each, together 1000.\n")
	check(t, name, `{"revision":2,"loglevel":"debug","maxconns":17}`+"\n", "get")
	watch = exampletest.Start(t, name, "watch")
	watch.Await(`"maxconns":17}` + "\n")
	watch.Interrupt()

	check(t, name, "", "remove")
	checkFails(t, name, "make some with config set", "get")
	checkFails(t, name, "remove "+name, "remove")
}

func TestBadSettings(t *testing.T) {
	name := newName(t)
	checkFails(t, name, "loglevel and maxconns", "set", "colour", "red")
	checkFails(t, name, "must be a number", "set", "maxconns", "many")
	checkFails(t, name, "make some with config set", "get")
	check(t, name, "", "set", "loglevel", "info")
	checkFails(t, name, "too large", "set", "loglevel", strings.Repeat("x", 5000))
	check(t, name, `{"revision":1,"loglevel":"info"}`+"\n", "get")
}

func TestUsage(t *testing.T) {
	name := exampletest.Name(t)
	for _, args := range [][]string{
		{"unknown"}, {""}, {"-h"}, {"set"}, {"set", "loglevel"}, {"get", "a"}, {"watch", "a"}, {"remove", "a"},
	} {
		stdout, stderr, code := exampletest.Run(t, name, args...)
		if stdout != "" || stderr != usage || code != 2 {
			t.Errorf("%q: exit code %d, stdout: %s, stderr: %s", args, code, stdout, stderr)
		}
	}
}

func check(t *testing.T, name, want string, args ...string) {
	t.Helper()
	stdout, stderr, code := exampletest.Run(t, name, args...)
	if stdout != want || stderr != "" || code != 0 {
		t.Errorf("%q: exit code %d, stdout: %s, want: %s, stderr: %s", args, code, stdout, want, stderr)
	}
}

func checkFails(t *testing.T, name, why string, args ...string) {
	t.Helper()
	stdout, stderr, code := exampletest.Run(t, name, args...)
	if stdout != "" || !strings.HasPrefix(stderr, "config: ") || !strings.Contains(stderr, why) || code != 1 {
		t.Errorf("%q: exit code %d, want 1; stdout: %s, stderr: %s, want in it: %s", args, code, stdout, stderr, why)
	}
}

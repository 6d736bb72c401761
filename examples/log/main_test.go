package main

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/sharedseg/sharedseg/examples/internal/exampletest"
)

func TestMain(m *testing.M) { exampletest.Main(m, run) }

func TestDemo(t *testing.T) {
	name := exampletest.Name(t)
	stdout, stderr, code := exampletest.Run(t, name)
	if stderr != "" || code != 0 {
		t.Errorf("exit code %d, stderr: %s", code, stderr)
	}
	for _, role := range []string{"Follower ", "Slow follower ", "Late follower "} {
		var own strings.Builder
		for line := range strings.Lines(stdout) {
			if strings.HasPrefix(line, role) {
				own.WriteString(line)
			}
		}
		if last := account(t, own.String(), 0); last != demoEntries {
			t.Errorf("%sgot up to entry %d, want %d", role, last, demoEntries)
		}
	}
	if !regexp.MustCompile(`(?m)^Late follower \d+: missed entries 1 to \d+$`).MatchString(stdout) {
		t.Error("the late follower missed nothing")
	}
	if t.Failed() {
		t.Logf("stdout:\n%s", stdout)
	}
}

func TestTerminals(t *testing.T) {
	name := exampletest.Name(t)
	early := exampletest.Start(t, name, "follow")
	early.Await("is running.")
	writer := exampletest.Start(t, name, "write")
	early.AwaitLines(5)
	slow := exampletest.Start(t, name, "slow")
	slow.Await(": missed ")

	// When a writer is killed, the log stays, and another writer continues it.
	for range 5 {
		writer.Kill()
		writer = exampletest.Start(t, name, "write")
		early.AwaitLines(3)
	}

	// A follower that was killed continues after the entry that it is given.
	after, other := uint64(0), early
	for range 3 {
		other = exampletest.Start(t, name, "follow", fmt.Sprint(after))
		other.AwaitLines(5)
		other.Kill()
		after = account(t, other.Stdout(), after)
	}

	writer.Interrupt()
	early.Interrupt()
	slow.Interrupt()
	account(t, early.Stdout(), 0)
	account(t, slow.Stdout(), 0)
}

var line = regexp.MustCompile(`^[A-Za-z ]+ \d+: (?:entry (\d+): line (\d+) of writer \d+|missed entries (\d+) to (\d+))\n$`)

// account checks the output of a follower. Each entry after number after must
// be there exactly once, or be reported as missed. It returns the number of the
// last entry.
func account(t *testing.T, stdout string, after uint64) (last uint64) {
	t.Helper()
	last = after
	for text := range strings.Lines(stdout) {
		if strings.HasSuffix(text, " is running.\n") {
			continue
		}
		parts := line.FindStringSubmatch(text)
		if parts == nil {
			if strings.HasSuffix(text, "\n") { // otherwise the follower was killed while it wrote
				t.Errorf("it wrote %q", text)
			}
			continue
		}
		from, to := parts[1], parts[2]
		if from == "" {
			from, to = parts[3], parts[4]
		} else if from != to {
			t.Errorf("it wrote %q", text)
		}
		if n := number(t, from); n != last+1 {
			t.Errorf("after %d it wrote %q", last, text)
		}
		if last = max(last, number(t, to)); last < number(t, from) {
			t.Errorf("it wrote %q", text)
		}
	}
	return last
}

func number(t *testing.T, digits string) uint64 {
	t.Helper()
	n, err := strconv.ParseUint(digits, 10, 64)
	if err != nil {
		t.Error(err)
	}
	return n
}

func TestUsage(t *testing.T) {
	name := exampletest.Name(t)
	for _, args := range [][]string{
		{"unknown"}, {""}, {"-h"}, {"write", "1"}, {"follow", "a"}, {"follow", "-1"}, {"slow", "1", "2"},
	} {
		stdout, stderr, code := exampletest.Run(t, name, args...)
		if stdout != "" || stderr != usage || code != 2 {
			t.Errorf("%q: exit code %d, stdout: %s, stderr: %s", args, code, stdout, stderr)
		}
	}
}

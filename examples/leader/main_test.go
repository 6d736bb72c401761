package main

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/sharedseg/sharedseg/examples/internal/exampletest"
)

func TestMain(m *testing.M) { exampletest.Main(m, run) }

// open opens a member and closes it when the test ends.
func open(t *testing.T, name string) *Member {
	t.Helper()
	m, err := Open(name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	})
	return m
}

func TestDemo(t *testing.T) {
	name := exampletest.Name(t)
	const want = "Number 1 leads, and is killed.\nNumber 2 leads, and is killed.\nNumber 3 leads, and is killed.\n" +
		"Number 4 resigned, number 5 leads. A late write by number 4 is refused: sharedseg: update "
	stdout, stderr, code := exampletest.Run(t, name)
	end := ": a later leader has written: its number is 5, this leader's is 4\n"
	if stdout != want+name+"-demo"+end || stderr != "" || code != 0 {
		t.Errorf("exit code %d, stdout: %s, stderr: %s", code, stdout, stderr)
	}
}

// When the leader is killed, the next one leads. A former leader can write
// until the new one has written, and not after that.
func TestTakeOver(t *testing.T) {
	name := exampletest.Name(t)
	m := open(t, name)
	first := exampletest.Start(t, name, "member")
	first.Await("leads with number 1.")
	leads := make(chan error, 1)
	go func() { leads <- m.Lead(t.Context()) }()
	time.Sleep(20 * time.Millisecond)
	if len(leads) != 0 {
		t.Fatal("two members lead at once")
	}
	begun := time.Now()
	first.Kill()
	if err := <-leads; err != nil {
		t.Fatal(err)
	}
	t.Logf("the next member leads after %v", time.Since(begun))
	if m.term != 2 {
		t.Errorf("its number is %d, want 2", m.term)
	}
	late := &Member{lead: m.lead, ledger: m.ledger, term: 1}
	if err := late.Append(); err != nil {
		t.Errorf("a former leader writes before the next one: %v", err)
	}
	if err := m.Append(); err != nil {
		t.Fatal(err)
	}
	if err := late.Append(); !errors.Is(err, ErrFenced) {
		t.Errorf("a former leader writes after the next one: %v", err)
	}
	if l, err := m.ledger.Load(); err != nil || l.Term != 2 {
		t.Errorf("the ledger is %+v, %v", l, err)
	}
	if out, stderr, code := exampletest.Run(t, name, "show"); code != 0 || stderr != "" || out == "" {
		t.Errorf("show: %s, %s, exit code %d", out, stderr, code)
	}
}

func TestUsage(t *testing.T) {
	name := exampletest.Name(t)
	if _, stderr, code := exampletest.Run(t, name, "follow"); code != 2 || stderr != usage {
		t.Errorf("exit code %d, stderr: %s", code, stderr)
	}
	if _, stderr, code := exampletest.Run(t, name, "show"); code != 1 || !strings.Contains(stderr, "run leader member") {
		t.Errorf("show without a ledger: exit code %d, stderr: %s", code, stderr)
	}
}

package main

import (
	"errors"
	"os"
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
	end := ": another leads by now: its number is 5, not 4\n"
	if stdout != want+name+"-demo"+end || stderr != "" || code != 0 {
		t.Errorf("exit code %d, stdout: %s, stderr: %s", code, stdout, stderr)
	}
}

// When the leader is killed, the next one leads. From then on the former one
// cannot write, even if the next one has not written yet.
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
	if err := late.Append(); !errors.Is(err, ErrFenced) {
		t.Errorf("a former leader writes: %v", err)
	}
	if err := m.Append(); err != nil {
		t.Fatal(err)
	}
	if l, err := m.ledger.Load(); err != nil || l.Term != 2 {
		t.Errorf("the ledger is %+v, %v", l, err)
	}
	if out, stderr, code := exampletest.Run(t, name, "show"); code != 0 || stderr != "" || out == "" {
		t.Errorf("show: %s, %s, exit code %d", out, stderr, code)
	}
}

// A leader that resigned can write until another process leads, and not after
// that.
func TestLate(t *testing.T) {
	name := exampletest.Name(t)
	m := open(t, name)
	if err := errors.Join(m.Lead(t.Context()), m.Append(), m.Resign(), m.Append()); err != nil {
		t.Fatal(err)
	}
	next := exampletest.Start(t, name, "member")
	next.Await("leads with number 2.")
	before, err := m.ledger.Load()
	if err != nil {
		t.Fatal(err)
	}
	if err := m.Append(); !errors.Is(err, ErrFenced) {
		t.Errorf("a former leader writes: %v", err)
	}
	if l, err := m.ledger.Load(); err != nil || l.Last != before.Last || l.Last == int64(os.Getpid()) {
		t.Errorf("the ledger is %+v, %v", l, err)
	}
	next.Kill()
	if err := m.Lead(t.Context()); err != nil { // otherwise the mutex stays
		t.Error(err)
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

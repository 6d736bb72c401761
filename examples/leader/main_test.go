package main

import (
	"errors"
	"testing"
	"time"

	"github.com/sharedseg/sharedseg/examples/internal/exampletest"
)

func TestMain(m *testing.M) { exampletest.Main(m, run) }

// open opens a member until the test ends.
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
	const want = "number 1 leads\nnumber 2 leads\nnumber 3 leads\n" +
		"number 4 is late: sharedseg: update "
	stdout, stderr, code := exampletest.Run(t, name)
	end := ": a later leader has written: number 5, and this is 4\n"
	if stdout != want+name+"-demo"+end || stderr != "" || code != 0 {
		t.Errorf("exit code %d, stdout: %s, stderr: %s", code, stdout, stderr)
	}
}

// The next leads when the leader is killed, and the one before it can write no
// more, once it has written.
func TestTakeOver(t *testing.T) {
	name := exampletest.Name(t)
	m := open(t, name)
	first := exampletest.Start(t, name, "member")
	first.Await("leads, with number 1")
	leads := make(chan error, 1)
	go func() { leads <- m.Lead(t.Context()) }()
	time.Sleep(20 * time.Millisecond)
	if len(leads) != 0 {
		t.Fatal("two lead")
	}
	begun := time.Now()
	first.Kill()
	if err := <-leads; err != nil {
		t.Fatal(err)
	}
	t.Logf("the next leads after %v", time.Since(begun))
	if m.term != 2 {
		t.Errorf("it has number %d", m.term)
	}
	late := &Member{lead: m.lead, ledger: m.ledger, term: 1}
	if err := late.Append(); err != nil {
		t.Errorf("nobody later has written: %v", err)
	}
	if err := m.Append(); err != nil {
		t.Fatal(err)
	}
	if err := late.Append(); !errors.Is(err, ErrFenced) {
		t.Errorf("a late leader writes: %v", err)
	}
	if l, err := m.ledger.Load(); err != nil || l.Term != 2 {
		t.Errorf("the ledger is %+v, %v", l, err)
	}
	if out, stderr, code := exampletest.Run(t, name, "show"); code != 0 || stderr != "" || out == "" {
		t.Errorf("show: %s, %s, exit code %d", out, stderr, code)
	}
}

func TestUsage(t *testing.T) {
	if _, stderr, code := exampletest.Run(t, exampletest.Name(t), "follow"); code != 2 || stderr != usage {
		t.Errorf("exit code %d, stderr: %s", code, stderr)
	}
}

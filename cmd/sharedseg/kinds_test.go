package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/sharedseg/sharedseg"
	"github.com/sharedseg/sharedseg/codec"
	"github.com/sharedseg/sharedseg/internal/proctest"
	"github.com/sharedseg/sharedseg/queue"
)

func init() {
	// receive receives a message from the queue NAME, and keeps it.
	roles["receive"] = func(args []string) error {
		q, err := queue.Open(args[0], codec.String(), &queue.Options{Dir: args[1]})
		if err != nil {
			return err
		}
		d, err := q.Receive(context.Background())
		if err != nil {
			return err
		}
		fmt.Println("received")
		proctest.Await()
		return errors.Join(d.Done(), q.Close())
	}
}

// comes waits until the output of a command contains text.
func comes(t *testing.T, text string, args ...string) (out string) {
	t.Helper()
	proctest.Gone(t, func() bool {
		out = works(t, args...)
		return strings.Contains(out, text)
	})
	if !strings.Contains(out, text) {
		t.Errorf("%q does not write %q:\n%s", args, text, out)
	}
	return out
}

// TestQueue shows a queue while messages are taken, left by dead receivers, and
// after Shut.
func TestQueue(t *testing.T) {
	dir := proctest.TempDir(t)
	q, err := queue.Open("jobs", codec.String(), &queue.Options{Dir: dir, Depth: 8})
	must(t, err)
	defer q.Close()
	shows := func(state string, rows ...string) {
		t.Helper()
		out := comes(t, state, "ls", "-dir", dir)
		if got := row(t, out, "jobs"); !strings.Contains(got, " "+state+" string") {
			t.Errorf("ls shows %q, want %q", got, state)
		}
		has(t, "stat", works(t, "stat", "-dir", dir, "jobs"), rows...)
	}
	shows("0 of 8 messages", "depth              8\n", "messages           0\n", "sent so far        0\n")
	for range 5 {
		must(t, q.Send(t.Context(), "job"))
	}
	shows("5 of 8 messages", "taken              0\n")
	for range 4 {
		d, err := q.Receive(t.Context())
		must(t, err)
		must(t, d.Done())
	}
	shows("1 of 8 messages", "taken              0\n")
	p := proctest.Start(t, "receive", "jobs", dir)
	p.Expect("received")
	shows("1 of 8 messages, 1 taken", fmt.Sprintf("taken              1 (processes: %d)\n", p.Pid()), "messages           1\n", "sent so far        5\n")
	has(t, "stat -json", works(t, "stat", "-json", "-dir", dir, "jobs"), fmt.Sprintf(`"messages":1,"takers":[%d]`, p.Pid()), `"version":5`)
	p.Kill()
	shows("1 of 8 messages, 1 of dead receivers", "of dead receivers  1\n", "redeliveries       0\n")
	d, err := q.Receive(t.Context())
	must(t, err)
	if d.Attempt() != 2 {
		t.Errorf("attempt %d", d.Attempt())
	}
	shows("1 of 8 messages, 1 taken", "redeliveries       1\n", "of dead receivers  0\n")
	must(t, d.Done())
	must(t, q.Shut())
	shows("0 of 8 messages, shut", "shut               true\n")
	if hz := object(t, strings.TrimSpace(works(t, "hz", "-json", "-n", "1", "-i", "1ms", "-dir", dir, "jobs"))); hz["version"] != 5.0 || hz["hz"] != 0.0 {
		t.Errorf("hz shows %v", hz)
	}
	if _, stderr, code := tool(t, "get", "-dir", dir, "jobs"); code != exitFailed || !strings.Contains(stderr, "its kind is queue") {
		t.Errorf("get: exit code %d, %s", code, stderr)
	}
}

// The queue is so deep that Stat does not look at all of its slots.
func TestDeepQueue(t *testing.T) {
	dir := proctest.TempDir(t)
	q, err := queue.Open("jobs", codec.Fixed[uint8](), &queue.Options{Dir: dir, Depth: 3000})
	must(t, err)
	defer q.Close()
	for range 2500 {
		must(t, q.Send(t.Context(), 1))
	}
	for range 2 {
		d, err := q.Receive(t.Context())
		must(t, err)
		defer d.Done()
	}
	info, err := sharedseg.Stat("jobs", &sharedseg.Place{Dir: dir})
	if err != nil || info.Messages != 2500 || len(info.Takers) != 2 || info.Version != 2500 {
		t.Errorf("%d messages, %d taken, %d sent, %v", info.Messages, len(info.Takers), info.Version, err)
	}
}

package main

import (
	"strings"
	"testing"

	"github.com/sharedseg/sharedseg"
	"github.com/sharedseg/sharedseg/examples/internal/exampletest"
)

func TestMain(m *testing.M) { exampletest.Main(m, run) }

func TestDemo(t *testing.T) {
	name := exampletest.Name(t)
	stdout, stderr, code := exampletest.Run(t, name)
	if stderr != "" || code != 0 {
		t.Fatalf("exit code %d, stdout:\n%sstderr:\n%s", code, stdout, stderr)
	}
	for _, want := range []string{
		": the square of 7 is 49.\n", ": the square of 12 is 144.\n", "Killed server ", "(attempt 1)", "(attempt 2)",
	} {
		if !strings.Contains(stdout, want) {
			t.Errorf("no %q in\n%s", want, stdout)
		}
	}
}

func TestTerminals(t *testing.T) {
	name := exampletest.Name(t)
	stdout, stderr, code := exampletest.Run(t, name, "ask", "3") // no server runs
	if !strings.Contains(stderr, "no reply within 2s") || code != 1 {
		t.Errorf("exit code %d, stdout: %s, stderr: %s", code, stdout, stderr)
	}

	server := exampletest.Start(t, name, "serve")
	server.Await("is running.")
	stdout, stderr, code = exampletest.Run(t, name, "ask", "3")
	if !strings.Contains(stdout, "the square of 3 is 9.") || stderr != "" || code != 0 {
		t.Errorf("exit code %d, stdout: %s, stderr: %s", code, stdout, stderr)
	}

	// The server notices that a client was killed.
	client := exampletest.Start(t, name, "ask", "4")
	server.Await("the square of 4")
	client.Kill()
	server.Await("cannot reply")
	removeReplies(t, name)

	// When a server is killed, the next one receives its request.
	client = exampletest.Start(t, name, "ask", "5")
	server.Await("the square of 5")
	server.Kill()
	server = exampletest.Start(t, name, "serve")
	client.Await("the square of 5 is 25.")
	server.Interrupt()
}

// removeReplies removes the queue of a client that was killed, as the next
// process that creates a name would.
func removeReplies(t *testing.T, name string) {
	for info := range sharedseg.List(nil) {
		if strings.HasPrefix(info.Name, name+"-reply-") && !info.Live() {
			if err := sharedseg.Remove(info.Name, nil); err != nil {
				t.Error(err)
			}
		}
	}
}

func TestUsage(t *testing.T) {
	name := exampletest.Name(t)
	stdout, stderr, code := exampletest.Run(t, name, "help")
	if stdout != "" || stderr != usage || code != 2 {
		t.Errorf("exit code %d, stdout: %s, stderr: %s", code, stdout, stderr)
	}
	_, stderr, code = exampletest.Run(t, name, "ask", "much")
	if stderr != "request: \"much\" is not a number\n" || code != 1 {
		t.Errorf("exit code %d, stderr: %s", code, stderr)
	}
}

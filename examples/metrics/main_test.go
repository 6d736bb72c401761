package main

import (
	"crypto/rand"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/sharedseg/sharedseg"
	"github.com/sharedseg/sharedseg/codec"
	"github.com/sharedseg/sharedseg/examples/internal/exampletest"
	"github.com/sharedseg/sharedseg/internal/proctest"
	"github.com/sharedseg/sharedseg/queue"
	"github.com/sharedseg/sharedseg/segment"
	"github.com/sharedseg/sharedseg/sync"
)

func TestMain(m *testing.M) { exampletest.Main(m, run) }

// scrape gets the metrics from the address that the example prints.
func scrape(t *testing.T, p *exampletest.Process) string {
	t.Helper()
	p.Await("/metrics\n")
	resp, err := http.Get(strings.TrimSpace(strings.TrimPrefix(p.Stdout(), "Serving ")))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK || !strings.HasPrefix(resp.Header.Get("Content-Type"), "text/plain; version=0.0.4") {
		t.Fatalf("%s, %v, %v", resp.Status, resp.Header, err)
	}
	return string(body)
}

// sample matches a line of the text format that is neither empty nor a comment.
var sample = regexp.MustCompile(`^[a-z_]+\{name="[^"]*",kind="[a-z]+"\} [0-9.e+]+$`)

func TestMetrics(t *testing.T) {
	name := exampletest.Name(t)
	s, err := segment.Open(name, codec.String(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	r, err := segment.OpenReader(name, codec.String(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	p := exampletest.Start(t, name, "-addr", "127.0.0.1:0")
	for version := range 3 {
		text := scrape(t, p)
		for metric, want := range map[string]int{
			"sharedseg_versions_total": version, "sharedseg_writers": 1, "sharedseg_readers": 1, "sharedseg_live": 1, "sharedseg_lock_held": 0,
		} {
			if line := fmt.Sprintf("\n%s{name=%q,kind=\"segment\"} %d\n", metric, name, want); !strings.Contains(text, line) {
				t.Errorf("no line %sin\n%s", line, text)
			}
		}
		for line := range strings.Lines(text) {
			line = strings.TrimSuffix(line, "\n")
			if !strings.HasPrefix(line, "# ") && !sample.MatchString(line) {
				t.Errorf("%q is not a sample", line)
			}
		}
		for _, m := range metrics {
			if strings.Count(text, "# TYPE "+m.name+" "+m.kind+"\n") != 1 {
				t.Errorf("the type of %s is not given exactly once", m.name)
			}
		}
		if err := s.Store("tea"); err != nil {
			t.Fatal(err)
		}
	}
	p.Interrupt()
}

// TestKinds checks that each kind has the metrics of what it is, and no others.
func TestKinds(t *testing.T) {
	dir := proctest.TempDir(t)
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	q, err := queue.Open("jobs", codec.String(), &queue.Options{Dir: dir, Depth: 8, Capacity: 64})
	must(err)
	defer q.Close()
	must(q.Send(t.Context(), "a"))
	must(q.Send(t.Context(), "b"))
	d, err := q.Receive(t.Context())
	must(err)
	defer d.Done()
	o := &ipcsync.Options{Dir: dir}
	s, err := ipcsync.OpenSemaphore("sem", 8, o)
	must(err)
	defer s.Close()
	must(s.Acquire(t.Context(), 3))
	rw, err := ipcsync.OpenRWMutex("rw", o)
	must(err)
	defer rw.Close()
	must(rw.RLock(t.Context()))
	e, err := ipcsync.OpenEvent("ready", o)
	must(err)
	defer e.Close()
	must(e.Set())
	m, err := ipcsync.OpenMutex("lock", o)
	must(err)
	defer m.Close()
	c, err := ipcsync.OpenCond("cond", m, o)
	must(err)
	defer c.Close()
	must(m.Lock(t.Context()))

	b, err := appendMetrics(nil, &sharedseg.Place{Dir: dir})
	must(err)
	text := string(b)
	for _, line := range []string{
		`sharedseg_messages{name="jobs",kind="queue"} 2`,
		`sharedseg_messages_taken{name="jobs",kind="queue"} 1`,
		`sharedseg_messages_orphaned{name="jobs",kind="queue"} 0`,
		`sharedseg_versions_total{name="jobs",kind="queue"} 2`,
		`sharedseg_slots{name="jobs",kind="queue"} 8`,
		`sharedseg_capacity_bytes{name="jobs",kind="queue"} 64`,
		`sharedseg_permits{name="sem",kind="semaphore"} 8`,
		`sharedseg_permits_used{name="sem",kind="semaphore"} 3`,
		`sharedseg_lock_readers{name="rw",kind="rwmutex"} 1`,
		`sharedseg_lock_held{name="rw",kind="rwmutex"} 0`,
		`sharedseg_lock_held{name="lock",kind="mutex"} 1`,
		`sharedseg_cond_waiting{name="cond",kind="cond"} 0`,
		`sharedseg_event_set{name="ready",kind="event"} 1`,
	} {
		if !strings.Contains(text, "\n"+line+"\n") {
			t.Errorf("no line %s in\n%s", line, text)
		}
	}
	if n := strings.Count(text, "\nsharedseg_permits{"); n != 1 {
		t.Errorf("%d names have permits", n)
	}
}

func TestLabel(t *testing.T) {
	if got := label("a\\b\"c\nd\xff"); got != `"a\\b\"c\nd`+"\uFFFD"+`"` {
		t.Error(got)
	}
}

func TestNoDirectory(t *testing.T) {
	if b, err := appendMetrics(nil, &sharedseg.Place{Dir: filepath.Join(os.TempDir(), "none."+rand.Text())}); err == nil {
		t.Errorf("metrics of a directory that does not exist: %q", b)
	}
}

func TestUsage(t *testing.T) {
	name := exampletest.Name(t)
	for _, arg := range []string{"-x", "9464"} {
		stdout, stderr, code := exampletest.Run(t, name, arg)
		if stdout != "" || !strings.Contains(stderr, arg) || !strings.Contains(stderr, "-addr ADDRESS") || code != 2 {
			t.Errorf("%s: exit code %d, stdout: %s, stderr: %s", arg, code, stdout, stderr)
		}
	}
}

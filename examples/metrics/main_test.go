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
	"github.com/sharedseg/sharedseg/segment"
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
	if stdout, stderr, code := exampletest.Run(t, name, "-x"); stdout != "" || !strings.Contains(stderr, "-addr ADDRESS") || code != 2 {
		t.Errorf("exit code %d, stdout: %s, stderr: %s", code, stdout, stderr)
	}
}

package main

import (
	"encoding/json"
	"errors"
	"io/fs"
	"reflect"
	"strings"
	"testing"

	"github.com/sharedseg/sharedseg"
	"github.com/sharedseg/sharedseg/codec"
	"github.com/sharedseg/sharedseg/examples/internal/exampletest"
	"github.com/sharedseg/sharedseg/segment"
)

func TestMain(m *testing.M) { exampletest.Main(m, run) }

// newName is exampletest.Name for tests that create settings. It removes them
// when the test ends.
func newName(t *testing.T) string {
	t.Helper()
	name := exampletest.Name(t)
	t.Cleanup(func() {
		if err := sharedseg.Remove(name, options().Place()); err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Error(err)
		}
	})
	return name
}

func TestDemo(t *testing.T) {
	name := exampletest.Name(t)
	const want = "4 processes made 250 updates each. All 1000 were counted.\n"
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

	// The settings stay while no process has them open, and the demo does not
	// touch them.
	check(t, name, "4 processes made 250 updates each. All 1000 were counted.\n")
	check(t, name, `{"revision":2,"loglevel":"debug","maxconns":17}`+"\n", "get")
	watch = exampletest.Start(t, name, "watch")
	watch.Await(`"maxconns":17}` + "\n")
	watch.Interrupt()

	check(t, name, "", "remove")
	checkFails(t, name, "create them with config set", "get")
	checkFails(t, name, "remove "+name, "remove")
}

// A change made by an older program keeps the fields that only a newer one
// knows.
func TestUnknownFieldsStay(t *testing.T) {
	name := newName(t)
	type colour struct{ Red, Green float64 }
	type newer struct {
		Revision int               `json:"revision"`
		LogLevel string            `json:"loglevel"`
		Colour   colour            `json:"colour"`
		Peers    map[string]string `json:"peers"`
	}
	s, err := segment.Open(name, codec.JSON[newer](), options())
	if err != nil {
		t.Fatal(err)
	}
	v := newer{Revision: 1, LogLevel: "info", Colour: colour{0.5, 1e300}, Peers: map[string]string{"a<b": "\"\u2028"}}
	if err := s.Store(v); err != nil {
		t.Fatal(err)
	}
	check(t, name, "", "set", "loglevel", "debug")
	check(t, name, "", "set", "maxconns", "17")
	got, err := s.Load()
	v.Revision, v.LogLevel = 3, "debug"
	if err != nil || !reflect.DeepEqual(got, v) {
		t.Errorf("after a change by a program that does not know all fields: got %+v, %v; want %+v", got, err, v)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	check(t, name, `{"revision":3,"loglevel":"debug","maxconns":17,"colour":{"Red":0.5,"Green":1e+300},"peers":{"a\u003cb":"\"\u2028"}}`+"\n", "get")
}

func TestConfigJSON(t *testing.T) {
	for _, doc := range []string{
		`{"revision":0}`,
		`{"revision":1,"loglevel":"debug","maxconns":17}`,
		`{"revision":1,"":null,"a":[{}],"b":1}`,
	} {
		var c Config
		if err := json.Unmarshal([]byte(doc), &c); err != nil {
			t.Error(err)
		}
		if got, err := json.Marshal(c); string(got) != doc || err != nil {
			t.Errorf("%s becomes %s, %v", doc, got, err)
		}
	}
	// The case of a field's name does not matter: the field must not appear
	// twice.
	var c Config
	if err := json.Unmarshal([]byte(`{"REVISION":5,"LogLevel":"info"}`), &c); err != nil {
		t.Error(err)
	}
	if got, err := json.Marshal(c); string(got) != `{"revision":5,"loglevel":"info"}` || err != nil {
		t.Errorf("in another case: %s, %v", got, err)
	}
	for _, doc := range []string{`[]`, `{"revision":"one"}`, `7`, `{`} {
		if err := json.Unmarshal([]byte(doc), new(Config)); err == nil {
			t.Errorf("%s decodes", doc)
		}
	}
}

func TestBadSettings(t *testing.T) {
	name := newName(t)
	checkFails(t, name, `unknown setting "colour"`, "set", "colour", "red")
	checkFails(t, name, "must be a number", "set", "maxconns", "many")
	checkFails(t, name, "create them with config set", "get")
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
		t.Errorf("%q: exit code %d, want 1; stdout: %s, stderr: %s, want it to contain: %s", args, code, stdout, stderr, why)
	}
}

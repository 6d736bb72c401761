package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/sharedseg/sharedseg"
	"github.com/sharedseg/sharedseg/codec"
	"github.com/sharedseg/sharedseg/internal/layout"
	"github.com/sharedseg/sharedseg/internal/mapping"
	"github.com/sharedseg/sharedseg/internal/proctest"
	"github.com/sharedseg/sharedseg/segment"
	"github.com/sharedseg/sharedseg/sync"
)

func TestMain(m *testing.M) { proctest.Main(m, roles) }

// roles are run by other processes of the tests. Most use the name NAME in DIR.
var roles = map[string]func(args []string) error{
	// tool is the command itself, on the terminal that it inherits.
	"tool": func(args []string) error {
		os.Args = append([]string{"sharedseg"}, args...)
		main()
		return nil
	},
	// hold holds the mutex NAME.
	"hold": func(args []string) error {
		m, err := ipcsync.OpenMutex(args[0], &ipcsync.Options{Dir: args[1]})
		if err != nil {
			return err
		}
		if err := m.Lock(context.Background()); err != nil {
			if errors.Is(err, sharedseg.ErrOwnerDied) { // the previous holder was killed
				err = nil
			}
			return errors.Join(err, m.Close())
		}
		fmt.Println("held")
		proctest.Await()
		return errors.Join(m.Unlock(), m.Close())
	},
	// update holds the writers' lock of the segment NAME.
	"update": func(args []string) error {
		s, err := segment.Open(args[0], codec.String(), &segment.Options{Dir: args[1]})
		if err != nil {
			return err
		}
		err = s.Update(func(v *string) error {
			fmt.Println("held")
			proctest.Await()
			*v = "updated"
			return nil
		})
		return errors.Join(err, s.Close())
	},
	// watch prints the values of the segment NAME.
	"watch": func(args []string) error {
		s, err := segment.Open(args[0], codec.Fixed[reading](), &segment.Options{Dir: args[1]})
		if err != nil {
			return err
		}
		if err := s.Store(first); err != nil {
			return err
		}
		for v, err := range s.Watch(context.Background()) {
			if err != nil {
				return err
			}
			fmt.Printf("%+v\n", v)
		}
		return nil
	},
}

type position struct{ X, Y float32 }

// reading is a struct with fields of many types.
type reading struct {
	N       uint64
	Name    [16]byte
	At      position
	Valid   bool
	_       [3]byte
	Samples [3]int32
	Track   [2]position
}

var first = reading{N: 1, Name: [16]byte{'o', 'u', 't'}, At: position{1, 2}, Samples: [3]int32{1, -2, 3}}

var must = proctest.Must

// tool runs the command until it exits.
func tool(t testing.TB, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	var out, errs bytes.Buffer
	ctx, cancel := context.WithTimeout(t.Context(), proctest.Patience)
	defer cancel()
	code = run(ctx, args, &out, &errs)
	if ctx.Err() != nil {
		t.Errorf("%q does not exit", args)
	}
	for _, s := range []string{out.String(), errs.String()} {
		harmless(t, s)
	}
	return out.String(), errs.String(), code
}

// harmless fails the test if text contains anything except printable characters
// and line breaks.
func harmless(t testing.TB, text string) {
	t.Helper()
	for i, r := range text {
		if r != '\n' && r != '\t' && !unicode.IsPrint(r) || r == unicode.ReplacementChar && !strings.HasPrefix(text[i:], "\uFFFD") {
			t.Fatalf("%U in %.200q", r, text[max(0, i-50):])
		}
	}
}

// works runs a command that must succeed, and returns its output.
func works(t testing.TB, args ...string) string {
	t.Helper()
	stdout, stderr, code := tool(t, args...)
	if code != 0 || stderr != "" {
		t.Errorf("%q: exit code %d, stderr: %s", args, code, stderr)
	}
	return stdout
}

// has fails the test unless text contains all of the parts.
func has(t testing.TB, what, text string, parts ...string) {
	t.Helper()
	for _, part := range parts {
		if !strings.Contains(text, part) {
			t.Errorf("%s does not contain %q:\n%s", what, part, text)
		}
	}
}

// row returns the line of a name, with its columns separated by single spaces.
func row(t testing.TB, text, name string) string {
	t.Helper()
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, name+" ") || strings.Contains(line, " "+name+" ") {
			return strings.Join(strings.Fields(line), " ")
		}
	}
	t.Errorf("no line for %s in\n%s", name, text)
	return ""
}

// object decodes a line of -json.
func object(t testing.TB, line string) (o map[string]any) {
	t.Helper()
	if err := json.Unmarshal([]byte(line), &o); err != nil {
		t.Errorf("%v in %s", err, line)
	}
	return o
}

func open[T any](t testing.TB, name, dir string, c codec.Codec[T], v T) *segment.Segment[T] {
	t.Helper()
	s, err := segment.Open(name, c, &segment.Options{Dir: dir})
	must(t, err)
	t.Cleanup(func() { s.Close() })
	must(t, s.Store(v))
	return s
}

func TestExitCodes(t *testing.T) {
	dir := proctest.TempDir(t)
	open(t, "text", dir, codec.String(), "tea")
	m, err := ipcsync.OpenMutex("lock", &ipcsync.Options{Dir: dir})
	must(t, err)
	defer m.Close()
	must(t, os.WriteFile(filepath.Join(dir, "foreign"), []byte("foreign"), 0o600))
	for _, c := range []struct {
		args string
		code int
		says string
	}{
		{"", exitUsage, "usage:"},
		{"unknown", exitUsage, `unknown command "unknown"`},
		{"-x", exitUsage, "unknown command"},
		{"help", 0, "usage:"},
		{"--help", 0, "usage:"},
		{"get -h", 0, "usage: sharedseg get"},
		{"ls -x", exitUsage, "-x"},
		{"ls text", exitUsage, "unexpected argument"},
		{"ls -dir DIR/none", exitFailed, "none"},
		{"ls -dir", exitUsage, "dir"},
		{"stat", exitUsage, "missing"},
		{"stat text -dir DIR", 0, "string/utf-8"},
		{"stat -dir DIR -- text", 0, "string/utf-8"},
		{"stat -dir DIR none", exitAbsent, "none"},
		{"stat -dir DIR none also-none", exitAbsent, "also-none"},
		{"stat -dir DIR none text", exitAbsent, "string/utf-8"},
		{"stat -dir DIR none foreign", exitFailed, "foreign"},
		{"stat -dir DIR foreign", exitFailed, "incompatible"},
		{"stat -dir DIR a/b", exitFailed, "name consists of"},
		{"stat -dir DIR ä", exitFailed, "not 'ä'"},
		{"get -dir DIR none", exitAbsent, "none"},
		{"get -dir DIR text", 0, `"tea"`},
		{"get -dir DIR -raw text", 0, "tea"},
		{"get -dir DIR -raw -json text", exitUsage, "-raw"},
		{"get -dir DIR text Field", exitFailed, "no fields"},
		{"get -dir DIR lock", exitFailed, "its kind is mutex"},
		{"watch -dir DIR none", exitAbsent, "none"},
		{"watch -dir DIR -n 1 text", 0, `"tea"`},
		{"watch -dir DIR -n 1 lock", 0, "free"},
		{"set -dir DIR text", exitUsage, "missing"},
		{"set -dir DIR none x", exitAbsent, "none"},
		{"set -dir DIR text x y", exitUsage, "one argument"},
		{"set -dir DIR lock x", exitFailed, "its kind is mutex"},
		{"hz -dir DIR none", exitAbsent, "none"},
		{"hz -dir DIR -n 1 -i 1ms text", 0, "Hz"},
		{"hz -dir DIR -i 0s text", exitUsage, "interval"},
		{"hz -dir DIR lock", exitFailed, "no versions"},
		{"top -dir DIR -n 1 -i 1ms", 0, "text"},
		{"top -dir DIR -s colour", exitUsage, "colour"},
		{"top -dir DIR/none", exitFailed, "none"},
		{"rm -dir DIR none", exitAbsent, "none"},
		{"rm -dir DIR foreign", exitFailed, "incompatible"},
		{"sweep -dir DIR", 0, ""},
		{"completion", exitUsage, "missing"},
		{"completion csh", exitUsage, "csh"},
	} {
		stdout, stderr, code := tool(t, strings.Fields(strings.ReplaceAll(c.args, "DIR", dir))...)
		if code != c.code {
			t.Errorf("%s: exit code %d, want %d", c.args, code, c.code)
		}
		has(t, c.args, stdout+stderr, c.says)
		if code == exitUsage && stdout != "" || code == 0 && stderr != "" {
			t.Errorf("%s: exit code %d, stdout: %s, stderr: %s", c.args, code, stdout, stderr)
		}
	}
}

// TestLs shows names with different users and states.
func TestLs(t *testing.T) {
	dir := proctest.TempDir(t)
	s := open(t, "text", dir, codec.String(), "tea")
	must(t, s.Store("milk"))
	r, err := segment.OpenReader("text", codec.String(), &segment.Options{Dir: dir})
	must(t, err)
	defer r.Close()
	p, err := segment.Open("kept", codec.JSON[any](), &segment.Options{Dir: dir, Persist: true})
	must(t, err)
	must(t, p.Close())
	must(t, os.WriteFile(filepath.Join(dir, "foreign"), []byte("foreign"), 0o600))
	list := works(t, "ls", "-dir", dir)
	if got, want := row(t, list, "text"), "text segment 40.0K 1 1 version 2 string"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	if got, want := row(t, list, "kept"), "kept segment 40.0K 0 0 version 0 interface {}"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	if got := works(t, "ls", "-q", "-dir", dir); got != "kept\ntext\n" {
		t.Errorf("names are %q", got)
	}
	has(t, "ls -l", row(t, works(t, "ls", "-l", "-dir", dir), "text"), fmt.Sprintf(" 4096 3 false 1 1 %d segment text version 2 string", os.Getpid()))
	lines := strings.Split(works(t, "ls", "-json", "-dir", dir), "\n")
	if len(lines) != 3 {
		t.Fatalf("%d lines: %q", len(lines), lines)
	}
	o := object(t, lines[1])
	for key, want := range map[string]any{
		"name": "text", "kind": "segment", "live": true, "writers": 1.0, "readers": 1.0, "version": 2.0, "codec": "string/utf-8",
		"type": "string", "capacity": 4096.0, "slots": 3.0, "path": filepath.Join(dir, "text"), "persist": false,
	} {
		if o[key] != want {
			t.Errorf("%s is %v, want %v", key, o[key], want)
		}
	}
	if works(t, "stat", "-json", "-dir", dir, "text") != lines[1]+"\n" {
		t.Error("stat -json differs from ls -json")
	}
}

// TestValues shows a value of each codec.
func TestValues(t *testing.T) {
	dir := proctest.TempDir(t)
	open(t, "string", dir, codec.String(), "tea\x1b[2J\u202e\xff")
	open(t, "wide", dir, codec.UTF16(), "tea")
	open(t, "json", dir, codec.JSON[any](), any(map[string]any{"a": []any{1, "\u009b2J"}, "b": nil}))
	open(t, "bytes", dir, codec.Bytes(), []byte("\x00\x01\x1b[2J"))
	open(t, "nothing", dir, codec.Bytes(), nil)
	open(t, "gob", dir, codec.Gob[int](), 7)
	open(t, "time", dir, codec.Binary[time.Time](), time.Unix(0, 0))
	open(t, "number", dir, codec.Fixed[float32](), 1.5)
	open(t, "reading", dir, codec.Fixed[reading](), first)
	must(t, open(t, "fresh", dir, codec.String(), "").Close())
	fresh, err := segment.Open("fresh", codec.String(), &segment.Options{Dir: dir})
	must(t, err)
	defer fresh.Close()

	for _, c := range []struct{ args, want string }{
		{"string", `"tea\x1b[2J\u202e\xff"` + "\n"},
		{"wide", `"tea"` + "\n"},
		{"json", "{\n  \"a\": [\n    1,\n    \"\\u009b2J\"\n  ],\n  \"b\": null\n}\n"},
		{"json a[1]", `"\u009b2J"` + "\n"},
		{"json a b", "[1,\"\\u009b2J\"]\nnull\n"},
		{"bytes", "00000000  00 01 1b 5b 32 4a                                 |...[2J|\n"},
		{"number", "1.5\n"},
		{"reading", "N           1\nName        \"out\"\nAt.X        1\nAt.Y        2\nValid       false\nSamples     [1 -2 3]\n" +
			"Track[0].X  0\nTrack[0].Y  0\nTrack[1].X  0\nTrack[1].Y  0\n"},
		{"reading At.X Samples[1] At Track", "1\n-2\n{X 1, Y 2}\n[{X 0, Y 0} {X 0, Y 0}]\n"},
	} {
		args := append([]string{"get", "-dir", dir}, strings.Fields(c.args)...)
		if got := works(t, args...); got != c.want {
			t.Errorf("get %s:\n%s\nwant\n%s", c.args, got, c.want)
		}
	}
	for name, want := range map[string]string{
		"wide": `"value":"tea"`, "json": `"value":{"a":[1,"\u009b2J"],"b":null}`, "bytes": `"bytes":"AAEbWzJK"`, "nothing": `"bytes":""`, "string": `"bytes":"dGVhG1sySuKArv8="`,
		"number": `"value":1.5`, "reading": `"value":{"N":1,"Name":[111,117,116,0`, "fresh": `"version":0`,
	} {
		out := works(t, "get", "-json", "-dir", dir, name)
		has(t, "get -json", out, want)
		object(t, out)
	}
	has(t, "get -json", works(t, "get", "-json", "-dir", dir, "reading", "At.X", "Samples"), `"fields":{"At.X":1,"Samples":[1,-2,3]}`)
	for _, path := range []string{"At.Z", "Samples[3]", "At..X", "N.X"} {
		if _, stderr, code := tool(t, "get", "-dir", dir, "reading", path); code != exitFailed || stderr == "" {
			t.Errorf("get reading %s: exit code %d, %s", path, code, stderr)
		}
	}
	for _, path := range []string{"c", "a[2]", "a[x]", "b.c"} {
		if _, stderr, code := tool(t, "get", "-dir", dir, "json", path); code != exitFailed || stderr == "" {
			t.Errorf("get json %s: exit code %d, %s", path, code, stderr)
		}
	}
	for _, name := range []string{"gob", "time"} {
		has(t, name, works(t, "get", "-dir", dir, name), "00000000  ")
		has(t, name, works(t, "watch", "-n", "1", "-dir", dir, name), "  0x")
	}
	if _, stderr, code := tool(t, "get", "-dir", dir, "fresh"); code != exitFailed || !strings.Contains(stderr, "no value was stored") {
		t.Errorf("get fresh: exit code %d, %s", code, stderr)
	}
	if out, _, _ := rawTool(t, "get", "-raw", "-dir", dir, "bytes"); out != "\x00\x01\x1b[2J" {
		t.Errorf("get -raw is %q", out)
	}
}

// rawTool is tool for output that can contain any bytes.
func rawTool(t *testing.T, args ...string) (stdout, stderr string, code int) {
	var out, errs bytes.Buffer
	code = run(t.Context(), args, &out, &errs)
	return out.String(), errs.String(), code
}

// TestSet stores valid values, and refuses all others.
func TestSet(t *testing.T) {
	dir := proctest.TempDir(t)
	text := open(t, "text", dir, codec.String(), "tea")
	wide := open(t, "wide", dir, codec.UTF16(), "tea")
	doc := open(t, "json", dir, codec.JSON[map[string]any](), nil)
	raw := open(t, "bytes", dir, codec.Bytes(), nil)
	number := open(t, "number", dir, codec.Fixed[int16](), 1)
	list := open(t, "list", dir, codec.Fixed[[2]int16](), [2]int16{})
	open(t, "gob", dir, codec.Gob[int](), 7)
	fresh, err := segment.Open("fresh", codec.Fixed[reading](), &segment.Options{Dir: dir})
	must(t, err)
	defer fresh.Close()
	set := func(args ...string) {
		t.Helper()
		if out := works(t, append([]string{"set", "-dir", dir}, args...)...); out != "" {
			t.Errorf("set %q writes %q", args, out)
		}
	}
	set("text", "-dir")
	set("wide", "mäh")
	set("json", `{ "a": "<" }`)
	set("bytes", "0x00ff")
	set("number", "-7")
	set("list", "[1]=0x10")
	set("list", "[0]=3")
	set("fresh", "N=7", "At.X=1.5", `Name="a=b"`, "Samples=[1,2,3]", `Track[1]={"Y": 2}`, "Valid=true")
	if v, err := text.Load(); v != "-dir" || err != nil {
		t.Errorf("%q, %v", v, err)
	}
	if v, err := wide.Load(); v != "mäh" || err != nil {
		t.Errorf("%q, %v", v, err)
	}
	if v, err := doc.Load(); v["a"] != "<" || err != nil {
		t.Errorf("%q, %v", v, err)
	}
	if v, err := raw.Load(); string(v) != "\x00\xff" || err != nil {
		t.Errorf("%q, %v", v, err)
	}
	if v, err := number.Load(); v != -7 || err != nil {
		t.Errorf("%v, %v", v, err)
	}
	if v, err := list.Load(); v != [2]int16{3, 16} || err != nil {
		t.Errorf("%v, %v", v, err)
	}
	want := reading{N: 7, At: position{X: 1.5}, Name: [16]byte{'a', '=', 'b'}, Samples: [3]int32{1, 2, 3}, Track: [2]position{1: {Y: 2}}, Valid: true}
	if v, err := fresh.Load(); v != want || err != nil {
		t.Errorf("%+v, %v", v, err)
	}
	has(t, "set -json", works(t, "set", "-json", "-dir", dir, "number", "5"), `"version":3`, `"value":5`)

	for _, c := range []struct {
		name string
		args []string
		code int
	}{
		{"text", []string{"\xff"}, exitFailed},
		{"text", []string{strings.Repeat("x", 5000)}, exitFailed},
		{"wide", []string{"a\x00b"}, exitFailed},
		{"json", []string{"tea"}, exitFailed},
		{"json", []string{"{} {}"}, exitFailed},
		{"json", []string{"\"\xff\""}, exitFailed},
		{"json", []string{`"` + strings.Repeat("x", 5000) + `"`}, exitFailed},
		{"bytes", []string{"00ff"}, exitFailed},
		{"bytes", []string{"0x0"}, exitFailed},
		{"number", []string{"40000"}, exitFailed},
		{"number", []string{"tea"}, exitFailed},
		{"number", []string{"x=1"}, exitFailed},
		{"list", []string{"[1,2,3]"}, exitFailed},
		{"list", []string{"[2]=1"}, exitFailed},
		{"gob", []string{"7"}, exitFailed},
		{"fresh", []string{"M=1"}, exitFailed},
		{"fresh", []string{"N=1", "Valid=maybe"}, exitFailed},
		{"fresh", []string{`Name="more than sixteen bytes"`}, exitFailed},
		{"fresh", []string{"Name=\"\xff\""}, exitFailed},
		{"fresh", []string{`{"N.X": 7}`}, exitFailed},
		{"fresh", []string{"7"}, exitUsage},
		{"fresh", []string{"N=1", "7"}, exitUsage},
	} {
		before, err := sharedseg.Stat(c.name, &sharedseg.Place{Dir: dir})
		must(t, err)
		stdout, stderr, code := tool(t, append([]string{"set", "-dir", dir, c.name}, c.args...)...)
		if code != c.code || stdout != "" || stderr == "" {
			t.Errorf("set %s %.60q: exit code %d, %s%s", c.name, c.args, code, stdout, stderr)
		}
		if after, err := sharedseg.Stat(c.name, &sharedseg.Place{Dir: dir}); err != nil || after.Version != before.Version {
			t.Errorf("set %s %.60q stored something: version %d", c.name, c.args, after.Version)
		}
	}
}

// TestSetWhileWatched reads and sets fields of a struct that a Go program
// watches.
func TestSetWhileWatched(t *testing.T) {
	dir := proctest.TempDir(t)
	p := proctest.Start(t, "watch", "reading", dir)
	p.Expect(fmt.Sprintf("%+v", first))
	if got := works(t, "get", "-dir", dir, "reading", "At.Y"); got != "2\n" {
		t.Errorf("At.Y is %s", got)
	}
	has(t, "stat", works(t, "stat", "-dir", dir, "reading"), fmt.Sprintf("1 (processes: %d)", p.Pid()), "fixed/", "main.reading")
	works(t, "set", "-dir", dir, "reading", "At.Y=-3.5", "Samples[2]=9")
	next := first
	next.At.Y, next.Samples[2] = -3.5, 9
	p.Expect(fmt.Sprintf("%+v", next))
	if got := works(t, "get", "-dir", dir, "reading", "At", "Samples"); got != "{X 1, Y -3.5}\n[1 -2 9]\n" {
		t.Errorf("At and Samples are %s", got)
	}
	out := make(chan string, 1)
	go func() {
		stdout, _, _ := tool(t, "watch", "-dir", dir, "-n", "2", "reading")
		out <- stdout
	}()
	proctest.Gone(t, func() bool { // the watch is attached
		info, err := sharedseg.Stat("reading", &sharedseg.Place{Dir: dir})
		return err == nil && info.Readers == 1
	})
	time.Sleep(50 * time.Millisecond) // long enough to see the value, most likely
	works(t, "set", "-dir", dir, "reading", "N=2")
	next.N = 2
	p.Expect(fmt.Sprintf("%+v", next))
	has(t, "watch", <-out, "  3  {N 2, ")
}

// TestLocks shows locks that are held, waited for, or left by dead owners.
func TestLocks(t *testing.T) {
	dir := proctest.TempDir(t)
	shows := func(name, want string, pid int) {
		t.Helper()
		var stat, list, object string
		proctest.Gone(t, func() bool {
			stat, list = works(t, "stat", "-dir", dir, name), works(t, "ls", "-dir", dir)
			object = works(t, "stat", "-json", "-dir", dir, name)
			return strings.Contains(stat, want)
		})
		has(t, "stat", stat, want)
		has(t, "ls", row(t, list, name), want)
		if pid != 0 {
			has(t, "stat -json", object, fmt.Sprintf(`"pid":%d`, pid))
		}
	}
	for _, role := range []string{"hold", "update"} {
		t.Run(role, func(t *testing.T) {
			owner := proctest.Start(t, role, role, dir)
			owner.Expect("held")
			held := fmt.Sprintf("held by process %d", owner.Pid())
			shows(role, held, owner.Pid())
			waiter := proctest.Start(t, role, role, dir)
			shows(role, held+", waited for", owner.Pid())
			owner.Kill()
			if role == "update" { // a segment needs no repair
				waiter.Expect("held")
				shows(role, fmt.Sprintf("held by process %d", waiter.Pid()), waiter.Pid())
				has(t, "stat", works(t, "stat", "-dir", dir, role), "take-overs       1")
				waiter.Kill()
			}
			proctest.Gone(t, func() bool {
				info, err := sharedseg.Stat(role, &sharedseg.Place{Dir: dir})
				must(t, err)
				return info.Writers == 0
			})
			has(t, "ls", row(t, works(t, "ls", "-dir", dir), role), " dead, ")
			shows(role, "owner died", 0)
			if role == "hold" {
				has(t, "stat", works(t, "stat", "-dir", dir, role), "until a new owner repairs what it guards")
			} else {
				shows(role, fmt.Sprintf("owner died (process %d)", waiter.Pid()), waiter.Pid())
				has(t, "stat", works(t, "stat", "-dir", dir, role), "or sweep removes it")
			}
		})
	}
	if got := works(t, "sweep", "-n", "-dir", dir) + works(t, "sweep", "-dir", dir) + works(t, "sweep", "-dir", dir); got != "update\nupdate\n" {
		t.Errorf("swept: %q", got)
	}
	if works(t, "rm", "-dir", dir, "hold") != "" || works(t, "ls", "-dir", dir) != "" {
		t.Error("the mutex is not removed")
	}
}

// The owner of a lock died, and no process has waited for it since.
func TestDeadOwner(t *testing.T) {
	dir := proctest.TempDir(t)
	m, err := ipcsync.OpenMutex("lock", &ipcsync.Options{Dir: dir})
	must(t, err)
	defer m.Close()
	owner := proctest.Start(t, "hold", "lock", dir)
	owner.Expect("held")
	owner.Kill()
	want := fmt.Sprintf("owner died (process %d)", owner.Pid())
	proctest.Gone(t, func() bool { return strings.Contains(works(t, "stat", "-dir", dir, "lock"), want) })
	if got := row(t, works(t, "ls", "-dir", dir), "lock"); !strings.Contains(got, " 1 0 "+want) {
		t.Errorf("ls shows %q", got)
	}
	if err := m.Lock(t.Context()); !errors.Is(err, sharedseg.ErrOwnerDied) {
		t.Error(err)
	}
	has(t, "stat", works(t, "stat", "-dir", dir, "lock"), "owner died\n", "take-overs  1")
}

// watchFlag returns the word of a segment that tells writers to wake a waiter.
func watchFlag(t *testing.T, name, dir string) uint32 {
	t.Helper()
	obj, err := mapping.Open(&mapping.Place{Name: name, Dir: dir}, true)
	must(t, err)
	defer obj.Close()
	info, err := obj.Info()
	must(t, err)
	head, flag := make([]byte, layout.HeadSize), make([]byte, 4)
	_, err = obj.ReadAt(head, 0)
	must(t, err)
	g, err := layout.Read(head, info.Size)
	must(t, err)
	words, _, _, _ := g.WaitPageParts()
	_, err = obj.ReadAt(flag, words)
	must(t, err)
	return binary.NativeEndian.Uint32(flag)
}

// TestWatch follows names from creation to removal.
func TestWatch(t *testing.T) {
	dir := proctest.TempDir(t)
	a := open(t, "a", dir, codec.String(), "1")
	m, err := ipcsync.OpenMutex("m", &ipcsync.Options{Dir: dir})
	must(t, err)
	defer m.Close()
	out := &lineBuffer{}
	ctx, cancel := context.WithCancel(t.Context())
	objects := &lineBuffer{}
	ended := make(chan int)
	go func() { ended <- run(ctx, []string{"watch", "-dir", dir, "a", "m"}, out, out) }()
	go func() { ended <- run(ctx, []string{"watch", "-json", "-dir", dir, "a", "m"}, objects, objects) }()
	out.await(t, "a  1  \"1\"")
	out.await(t, "m  free")
	objects.await(t, `"lock":{"state":"free"}`)
	must(t, a.Store("2"))
	out.await(t, "a  2  \"2\"")
	time.Sleep(5 * watchEvery)
	if flag := watchFlag(t, "a", dir); flag != 0 {
		t.Errorf("a writer would have to wake the watch: the flag is %d", flag)
	}
	must(t, m.Lock(t.Context()))
	out.await(t, "m  held by process")
	objects.await(t, `"lock":{"state":"held"`)
	if err := sharedseg.Remove("a", &sharedseg.Place{Dir: dir}); !errors.Is(err, errors.ErrUnsupported) { // as on Windows
		must(t, err)
		out.await(t, "a  gone")
		objects.await(t, `"name":"a","gone":true}`)
		open(t, "a", dir, codec.Fixed[int16](), 7)
		out.await(t, "a  1  7")
	}
	must(t, m.Unlock())
	out.await(t, "m  free")
	objects.await(t, `"lock":{"state":"free"}`)
	cancel()
	for range 2 {
		if code := <-ended; code != 0 {
			t.Errorf("exit code %d: %s%s", code, out, objects)
		}
	}
	harmless(t, out.String()+objects.String())
}

func TestHz(t *testing.T) {
	dir := proctest.TempDir(t)
	s := open(t, "s", dir, codec.Fixed[int64](), 0)
	stop := make(chan struct{})
	stopped := make(chan error)
	go func() {
		for {
			select {
			case <-stop:
				stopped <- nil
				return
			default:
			}
			if err := s.Store(1); err != nil {
				stopped <- err
				<-stop
				return
			}
			time.Sleep(time.Millisecond)
		}
	}()
	lines := strings.Split(strings.TrimSpace(works(t, "hz", "-json", "-dir", dir, "-n", "2", "-i", "200ms", "s")), "\n")
	top := strings.Split(strings.TrimSpace(works(t, "top", "-json", "-dir", dir, "-n", "1", "-i", "200ms")), "\n")
	plain := works(t, "top", "-dir", dir, "-n", "2", "-i", "10ms")
	close(stop)
	must(t, <-stopped)
	if len(lines) != 2 || len(top) != 1 {
		t.Fatalf("%q, %q", lines, top)
	}
	for _, line := range append(lines, top[0]) {
		// The rate is too high if the test did not run between the look at a
		// version and the look at the clock.
		if hz, _ := object(t, line)["hz"].(float64); hz <= 0 || hz > 5000 {
			t.Errorf("%v Hz, although a value changes at most once a millisecond", hz)
		}
	}
	if n := strings.Count(plain, "  1 name, "); n != 2 {
		t.Errorf("%d updates:\n%s", n, plain)
	}
}

// The sort orders of top, and names that appear and disappear between its
// updates.
func TestTopSorts(t *testing.T) {
	dir := proctest.TempDir(t)
	for _, name := range []string{"a", "c", "b"} {
		open(t, name, dir, codec.String(), name)
	}
	r, err := segment.OpenReader("b", codec.String(), &segment.Options{Dir: dir})
	must(t, err)
	defer r.Close()
	big, err := segment.Open("big", codec.Bytes(), &segment.Options{Dir: dir, Capacity: 1 << 16})
	must(t, err)
	defer big.Close()
	order := func(by string) (names string) {
		for line := range strings.Lines(works(t, "top", "-json", "-n", "1", "-i", "1ms", "-s", by, "-dir", dir)) {
			names += object(t, line)["name"].(string) + " "
		}
		return names
	}
	for by, want := range map[string]string{"name": "a b big c ", "hz": "a b big c ", "size": "big a b c ", "open": "b a big c ", "waits": "a b big c "} {
		if got := order(by); got != want {
			t.Errorf("by %s: %s", by, got)
		}
	}
}

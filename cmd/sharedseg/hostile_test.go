package main

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/sharedseg/sharedseg/internal/layout"
	"github.com/sharedseg/sharedseg/internal/proctest"
)

// image returns a mapping of a geometry, as its initialiser leaves it, with a
// value in the slot of version 1. Its texts can be anything.
func image(t testing.TB, g *layout.Geometry, value []byte) []byte {
	t.Helper()
	must(t, g.Place(4096))
	mem := make([]byte, g.Size()) // the runtime aligns memory of this size
	copy(mem, layout.Mark(false))
	g.Init(mem)
	if g.Slots > 0 && value != nil {
		s := layout.NewSlots(mem, g)
		slot := s.Slot(1)
		slot.Unseal()
		n := copy(s.Space(slot), value)
		slot.Seal(1, 0, n)
		binary.NativeEndian.PutUint64(mem[layout.BeginOff:], 1)
		binary.NativeEndian.PutUint64(mem[layout.EndOff:], 1)
	}
	return mem
}

// commandsOn runs all commands that read a file.
func commandsOn(t testing.TB, dir, name string) {
	t.Helper()
	for _, args := range [][]string{
		{"ls"}, {"ls", "-l"}, {"ls", "-json"}, {"stat", name}, {"stat", "-json", name}, {"get", name}, {"get", "-json", name}, {"get", name, "A", "[0]"},
		{"watch", "-n", "1", name}, {"watch", "-n", "1", "-json", name}, {"hz", "-n", "1", "-i", "1ns", name}, {"top", "-n", "1", "-i", "1ns"}, {"top", "-n", "1", "-i", "1ns", "-json"},
		{"sweep", "-n"}, {"set", name, "A=1"},
	} {
		if args[0] == "watch" {
			stdout, _, code := tool(t, "get", "-json", "-dir", dir, name)
			if code != 0 || strings.Contains(stdout, `"version":0,`) {
				continue // watch would wait forever
			}
		}
		stdout, _, code := tool(t, append([]string{args[0], "-dir", dir}, args[1:]...)...)
		if code != 0 && code != exitFailed && code != exitAbsent && args[0] != "set" {
			t.Errorf("%q: exit code %d", args, code)
		}
		if strings.Contains(strings.Join(args, " "), "-json") {
			for line := range strings.Lines(stdout) {
				if !json.Valid([]byte(line)) {
					t.Errorf("%q writes %s", args, line)
				}
			}
		}
	}
}

const hostile = "\x1b[2J\x1b]0;owned\x07\u009b31m\u202e\x00\x7f\xff"

// TestHostile shows files that a malicious program wrote. They must harm
// neither the terminal nor the tool.
func TestHostile(t *testing.T) {
	long := strings.Repeat(hostile, 1<<16/len(hostile))
	deep := "fixed/le:" + strings.Repeat("{A ", 1<<14) + "int8" + strings.Repeat("@0}#1", 1<<14)
	for what, g := range map[string]*layout.Geometry{
		"a long type name":   {Kind: layout.KindSegment, Slots: 2, Capacity: 64, CodecID: "string/utf-8", TypeName: long, Persist: true},
		"a long codec ID":    {Kind: layout.KindSegment, Slots: 2, Capacity: 64, CodecID: long, TypeName: "T", Persist: true},
		"a deep type":        {Kind: layout.KindSegment, Slots: 2, Capacity: 64, CodecID: deep, TypeName: "T", Persist: true},
		"a field with codes": {Kind: layout.KindSegment, Slots: 2, Capacity: 64, CodecID: "fixed/le:{\x1b[2J int8@0}#1", TypeName: "T", Persist: true},
		"a huge array":       {Kind: layout.KindSegment, Slots: 2, Capacity: 64, CodecID: "fixed/le:[140737488355328]int8", TypeName: "T", Persist: true},
		"the wrong size":     {Kind: layout.KindSegment, Slots: 2, Capacity: 64, CodecID: "fixed/le:{A int8@0}#1", TypeName: "T", Persist: true},
		"malformed JSON":     {Kind: layout.KindSegment, Slots: 2, Capacity: 64, CodecID: "json", TypeName: "T", Persist: true},
		"a string":           {Kind: layout.KindSegment, Slots: 2, Capacity: 64, CodecID: "string/utf-8", TypeName: "T", Persist: true},
		"a wide string":      {Kind: layout.KindSegment, Slots: 2, Capacity: 64, CodecID: "string/utf-16le", TypeName: "T", Persist: true},
		"a mutex with texts": {Kind: layout.KindMutex, CodecID: long, TypeName: long, Persist: true},
	} {
		t.Run(what, func(t *testing.T) {
			dir := proctest.TempDir(t)
			must(t, os.WriteFile(filepath.Join(dir, "x"), image(t, g, []byte(hostile)), 0o600))
			commandsOn(t, dir, "x")
			if got := works(t, "ls", "-dir", dir); !strings.Contains(got, "x ") || len(got) > 2000 {
				t.Errorf("ls writes %d bytes: %.200s", len(got), got)
			}
		})
	}
}

// FuzzCommands runs the commands on fuzzed files: a valid header with patches,
// and any texts and value.
func FuzzCommands(f *testing.F) {
	f.Add(uint8(layout.KindSegment), "string/utf-8", "string", []byte(hostile), uint16(0), []byte{})
	f.Add(uint8(layout.KindSegment), "fixed/le:{A [4]uint8@0;B float64@8}#16", hostile, make([]byte, 16), uint16(layout.MutexOff), []byte{1, 4, 0, 0xC0})
	f.Add(uint8(layout.KindSegment), "json", "map[string]any", []byte(`{"A":"\u009b"}`), uint16(layout.EndOff), []byte{9})
	f.Add(uint8(layout.KindMutex), "", "", []byte{}, uint16(8), []byte{3})
	f.Add(uint8(layout.KindQueue), "bytes", "[]uint8", []byte("x"), uint16(24), []byte{1})
	f.Add(uint8(layout.KindRWMutex), "", "", []byte{}, uint16(layout.MutexOff), []byte{1, 4, 0, 0x80})
	f.Add(uint8(layout.KindSemaphore), "", "", []byte{}, uint16(0), []byte{})
	f.Add(uint8(layout.KindEvent), "", "", []byte{}, uint16(0), []byte{})
	f.Fuzz(func(t *testing.T, kind uint8, codec, typ string, value []byte, at uint16, patch []byte) {
		if len(codec)+len(typ) > 1<<16 || kind < uint8(layout.KindSegment) || kind > uint8(layout.KindEvent) {
			return
		}
		g := &layout.Geometry{Kind: layout.Kind(kind), Capacity: int64(min(len(value), 1<<12)), CodecID: codec, TypeName: typ, Persist: true}
		if g.Kind == layout.KindSegment || g.Kind == layout.KindQueue {
			g.Slots = 2
		}
		mem := image(t, g, value)
		copy(mem[min(int(at), len(mem)):], patch)
		dir := proctest.TempDir(t)
		must(t, os.WriteFile(filepath.Join(dir, "x"), mem, 0o600))
		commandsOn(t, dir, "x")
	})
}

// FuzzValue shows and sets values of any codec. It uses no file, so it is fast.
func FuzzValue(f *testing.F) {
	f.Add("string/utf-8", []byte(hostile), "A", "tea")
	f.Add("string/utf-16le", []byte(hostile), "A", hostile)
	f.Add("json", []byte(`{"A":[1,{"\u001b":"\u009b"}]}`), "A[1]", `{"A":1}`)
	f.Add("json", []byte("\"\x7f\u009b\u202e\""), "", "[]")
	f.Add("bytes", []byte(hostile), "", "0x00")
	f.Add("gob", []byte(hostile), "", "")
	f.Add("fixed/be:{A [2]{B int16@0;C bool@2}#4@0;T [8]uint8@8}#16", []byte("\x00\x01\x01\x00\x00\x02\x07\x00\x1b[2Jtea\x00"), "A[1].C", "T=\"x\"")
	f.Fuzz(func(t *testing.T, codec string, b []byte, path, text string) {
		v := value{codec, b}
		before := bytes.Clone(b)
		for _, width := range []int{0, 1, 40} {
			var out bytes.Buffer
			o := newOutput(&out)
			o.width = width
			v.show(o)
			o.line(v.inline(o.limit()))
			if p, err := v.field(path); err == nil {
				o.line(p.inline(o))
				o.line(string(p.toJSON()))
			} else {
				report(o.w, err, "")
			}
			must(t, o.flush())
			harmless(t, out.String())
			for line := range strings.Lines(out.String()) {
				if n := columns(strings.TrimSuffix(line, "\n")); width > 0 && n > width && !strings.HasPrefix(line, "sharedseg: ") {
					t.Fatalf("a line has %d columns, the terminal has %d: %q", n, width, line)
				}
			}
		}
		var out bytes.Buffer
		o := newOutput(&out)
		must(t, o.object(gotJSON{Name: "x", Codec: codec, Type: text, valueJSON: v.toJSON()}))
		must(t, o.flush())
		harmless(t, out.String())
		if !json.Valid(out.Bytes()) {
			t.Fatalf("not JSON: %s", out.String())
		}
		if !bytes.Equal(b, before) {
			t.Fatal("showing the value changed it")
		}
		if next, err := encode(codec, bytes.Clone(b), []string{text}); err == nil && len(next) > len(b)+8*len(text)+16 && len(b) > 0 {
			t.Errorf("set makes %d bytes %d, from an argument of %d", len(b), len(next), len(text))
		}
	})
}

// TestManyNames lists ten thousand names. Their files take almost no disk
// space, as all but their headers is a hole.
func TestManyNames(t *testing.T) {
	n := 10_000
	if runtime.GOOS == "windows" { // each handle slot is a kernel object there
		n = 100
	}
	dir := proctest.TempDir(t)
	g := &layout.Geometry{Kind: layout.KindMutex, Persist: true}
	mem := image(t, g, nil)
	for i := range n {
		f, err := os.Create(filepath.Join(dir, "name."+strings.Repeat("x", i%50)+"."+strconv.Itoa(i)))
		must(t, err)
		_, err = f.Write(mem[:256])
		must(t, err)
		must(t, f.Truncate(g.Size()))
		must(t, f.Chmod(0o600))
		must(t, f.Close())
	}
	for _, args := range [][]string{{"ls"}, {"ls", "-l"}, {"ls", "-json"}, {"top", "-n", "1", "-i", "1ns"}} {
		start := time.Now()
		out := works(t, append(args, "-dir", dir)...)
		t.Logf("%q takes %v", args, time.Since(start))
		if lines := strings.Count(out, "\n"); lines < n {
			t.Errorf("%q writes %d lines", args, lines)
		}
	}
}

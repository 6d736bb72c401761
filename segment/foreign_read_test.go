//go:build linux && !sharedseg_portable

package segment_test

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/sharedseg/sharedseg"
	"github.com/sharedseg/sharedseg/codec"
	"github.com/sharedseg/sharedseg/internal/proctest"
	"github.com/sharedseg/sharedseg/segment"
)

// A reading is a line that read_segment.py wrote.
type reading struct {
	codec   string
	version uint64
	value   string
}

func parseReading(t *testing.T, line string) reading {
	t.Helper()
	f := strings.SplitN(strings.TrimSuffix(line, "\n"), "\t", 3)
	if len(f) != 3 {
		t.Fatalf("read_segment.py wrote %q", line)
	}
	version, err := strconv.ParseUint(f[1], 10, 64)
	must(t, err)
	return reading{f[0], version, f[2]}
}

// foreignDoc is a value for codec.JSON.
type foreignDoc struct {
	N    uint64
	Text string
}

// foreignFixed is a value for codec.Fixed, with a gap and a field of each kind.
type foreignFixed struct {
	Größe  uint16
	Valid  bool
	_      bool
	Count  int32
	Points [2]struct {
		X float32
		Y int8
	}
	Z   complex128
	Raw [3]uint8
}

func TestForeignRead(t *testing.T) {
	t.Parallel() // it mostly waits for another program
	script := pythonScript(t, "read_segment.py")
	text := foreignTexts[2]
	quoted, err := json.Marshal(text)
	must(t, err)
	doc := foreignDoc{1 << 60, text}
	docJSON, err := json.Marshal(doc)
	must(t, err)
	fixed := foreignFixed{Größe: 65535, Valid: true, Count: -7, Z: complex(1.5, -2), Raw: [3]uint8{1, 2, 3}}
	fixed.Points[1].X, fixed.Points[1].Y = 0.25, -128
	for name, test := range map[string]func(t *testing.T){
		"String": func(t *testing.T) { foreignReads(t, script, codec.String(), text, string(quoted)) },
		"UTF16":  func(t *testing.T) { foreignReads(t, script, codec.UTF16(), text, string(quoted)) },
		"JSON":   func(t *testing.T) { foreignReads(t, script, codec.JSON[foreignDoc](), doc, string(docJSON)) },
		"Bytes":  func(t *testing.T) { foreignReads(t, script, codec.Bytes(), []byte{0, 0xFF, '\n'}, "00ff0a") },
		"Empty":  func(t *testing.T) { foreignReads(t, script, codec.String(), "", `""`) },
		"Number": func(t *testing.T) { foreignReads(t, script, codec.Fixed[int64](), -1<<63, "-9223372036854775808") },
		"Fixed": func(t *testing.T) {
			foreignReads(t, script, codec.Fixed[foreignFixed](), fixed,
				`{"Größe": 65535, "Valid": true, "Count": -7, "Points": [{"X": 0.0, "Y": 0}, {"X": 0.25, "Y": -128}], `+
					`"Z": [1.5, -2.0], "Raw": [1, 2, 3]}`)
		},
	} {
		t.Run(name, test)
	}
}

// foreignReads checks what the script reads from a segment without a value, and
// then with one.
func foreignReads[T any](t *testing.T, script foreignPeer, c codec.Codec[T], v T, value string) {
	name := proctest.Name(t)
	s := open(t, name, c, nil)
	read := func(want reading) {
		t.Helper()
		got := parseReading(t, foreignRun(t, script(name)))
		if c.ID() == "json" && got.value != "" { // compared as documents, because Python writes other blanks
			got.value, want.value = foreignCanonical(t, got.value), foreignCanonical(t, want.value)
		}
		if got != want {
			t.Errorf("read_segment.py read\n%+v, want\n%+v", got, want)
		}
	}
	read(reading{c.ID(), 0, ""})
	for range 5 { // through all slots
		must(t, s.Store(v))
	}
	read(reading{c.ID(), 5, value})
}

func foreignCanonical(t *testing.T, doc string) string {
	t.Helper()
	d := json.NewDecoder(strings.NewReader(doc))
	d.UseNumber()
	var v any
	must(t, d.Decode(&v))
	out, err := json.Marshal(v)
	must(t, err)
	return string(out)
}

// foreignWhole is the text that the test stores as version n. Neighbours differ
// in length.
func foreignWhole(n uint64) string {
	return strings.Repeat(fmt.Sprintf("%d€\U0001F600 ", n), int(1+n*37%60))
}

func TestForeignReadWhileStoring(t *testing.T) {
	script := pythonScript(t, "read_segment.py")
	text := func(value string) (s string, err error) {
		err = json.Unmarshal([]byte(value), &s)
		return s, err
	}
	for _, w := range []struct {
		slots int
		pause time.Duration // every 50 Stores
	}{
		{2, 100 * time.Microsecond}, // a single Store disturbs a reader, so it needs the pauses
		{64, 0},
	} {
		t.Run(fmt.Sprintf("slots=%d", w.slots), func(t *testing.T) {
			t.Run("String", func(t *testing.T) {
				foreignReadWhileStoring(t, script, codec.String(), w.slots, w.pause, foreignWhole, text)
			})
			t.Run("UTF16", func(t *testing.T) {
				foreignReadWhileStoring(t, script, codec.UTF16(), w.slots, w.pause, foreignWhole, text)
			})
			t.Run("JSON", func(t *testing.T) {
				foreignReadWhileStoring(t, script, codec.JSON[foreignDoc](), w.slots, w.pause,
					func(n uint64) foreignDoc { return foreignDoc{n, foreignWhole(n)} },
					func(value string) (d foreignDoc, err error) {
						err = json.Unmarshal([]byte(value), &d)
						return d, err
					})
			})
		})
	}
}

// foreignReadWhileStoring stores value(n) as version n while the script reads,
// and checks that it reads nothing else. If nothing was stored meanwhile,
// because both had the same processor, the script reads again.
func foreignReadWhileStoring[T comparable](t *testing.T, script foreignPeer, c codec.Codec[T], slots int,
	pause time.Duration, value func(n uint64) T, parse func(string) (T, error)) {
	const reads = 1000
	name := proctest.Name(t)
	s := open(t, name, c, &segment.Options{Slots: slots})
	stop, stopped := make(chan struct{}), make(chan error, 1)
	go func() {
		for n := uint64(1); ; n++ {
			if err := s.Store(value(n)); err != nil {
				stopped <- err
				return
			}
			select {
			case <-stop:
				stopped <- nil
				return
			default:
			}
			if n%50 == 0 {
				time.Sleep(pause)
			}
		}
	}()
	defer func() {
		close(stop)
		if err := <-stopped; err != nil {
			t.Error(err)
		}
	}()
	for start := time.Now(); ; {
		lines, first, last := 0, uint64(0), uint64(0)
		for line := range strings.Lines(foreignRun(t, script("-n", strconv.Itoa(reads), name))) {
			r := parseReading(t, line)
			if r.version < last {
				t.Fatalf("went back from version %d to %d", last, r.version)
			}
			last = r.version
			if r.version == 0 {
				continue
			}
			lines++
			if first == 0 {
				first = r.version
			}
			if got, err := parse(r.value); err != nil || got != value(r.version) {
				t.Fatalf("version %d was read as %s (%v), want %v", r.version, r.value, err, value(r.version))
			}
		}
		if last != first {
			t.Logf("%d reads of versions %d to %d", lines, first, last)
			return
		}
		if time.Since(start) > proctest.Patience {
			t.Fatalf("all %d reads saw version %d: nothing was stored meanwhile", lines, last)
		}
	}
}

// TestForeignReadFiles changes the bytes of a segment to make files in all
// states that docs/format.md describes.
func TestForeignReadFiles(t *testing.T) {
	t.Parallel() // it mostly waits for another program
	script := pythonScript(t, "read_segment.py")
	name := proctest.Name(t)
	s := open(t, name, codec.String(), &segment.Options{Slots: 2})
	for _, v := range []string{"one", "two", "three"} {
		must(t, s.Store(v))
	}
	info, err := sharedseg.Stat(name, nil)
	must(t, err)
	whole, err := os.ReadFile(info.Path)
	must(t, err)
	put32 := func(off int, v uint32) func([]byte) []byte {
		return func(b []byte) []byte { binary.NativeEndian.PutUint32(b[off:], v); return b }
	}
	put64 := func(off int, v uint64) func([]byte) []byte {
		return func(b []byte) []byte { binary.NativeEndian.PutUint64(b[off:], v); return b }
	}
	slotArea := int(binary.NativeEndian.Uint64(whole[56:]))
	stride := int(binary.NativeEndian.Uint64(whole[48:]))
	const three = "string/utf-8\t3\t\"three\"\n"
	dir := proctest.TempDir(t)
	for _, f := range []struct {
		name   string
		change func([]byte) []byte // changes a file that persists
		out    string
		err    string // part of standard error
	}{
		{"persistent", nil, three, ""},
		{"stale", put32(20, 0), "", "left by processes that died"},
		{"writer-died", put64(192, 4), three, ""},
		{"empty", func([]byte) []byte { return nil }, "", "not initialised"},
		{"marked", func(b []byte) []byte { return b[:16] }, "", "not initialised"},
		{"not-ready", put32(8, 0), "", "not initialised"},
		{"cut-short", func(b []byte) []byte { return b[:8192] }, "", "not initialised"},
		{"format-1", put32(8, 1), "", "written by format 1, this program knows format 2"},
		{"format-1-mutex", func(b []byte) []byte { return put32(8, 1)(b[:8192]) }, "", "written by format 1"},
		{"format-3", put32(8, 3), "", "written by format 3"},
		{"order", put32(12, 0x0D0C0B0A), "", "byte order"},
		{"mutex", put32(24, 2), "", "kind 2"},
		{"foreign", put32(0, 0), "", "not a segment"},
		{"cut", func(b []byte) []byte { return b[:len(b)-1] }, "", "corrupt header"},
		{"members", put32(84, 1023), "", "corrupt header"},
		{"slots", put32(28, 1), "", "corrupt header"},
		{"more-slots", put32(28, 65536), "", "corrupt header"},
		{"capacity", put64(40, 1<<63), "", "corrupt header"},
		{"slot-area", put64(56, 0), "", "corrupt header"},
		{"page", put32(72, 4095), "", "corrupt header"},
		{"texts", put32(76, 1<<31), "", "corrupt header"},
		{"length", put64(slotArea+stride+16, 1<<40), "", "a value of 1099511627776 bytes"},
		{"unsealed", put64(slotArea+stride, 0), three, ""}, // a Load does not need the version of a slot
		{"stepped-over", put64(192, 5), three, ""},         // by a writer that died
		{"begin", put64(192, 2), three, ""},
	} {
		t.Run(f.name, func(t *testing.T) {
			b := bytes.Clone(whole)
			b = put32(20, 1)(b)
			if f.change != nil {
				b = f.change(b)
			}
			must(t, os.WriteFile(filepath.Join(dir, f.name), b, 0o600))
			foreignReadFile(t, script("--dir", dir, f.name), f.out, f.err)
		})
	}
	t.Run("symlink", func(t *testing.T) {
		must(t, os.Symlink("persistent", filepath.Join(dir, "symlink")))
		foreignReadFile(t, script("--dir", dir, "symlink"), "", "symbolic links")
	})
	t.Run("none", func(t *testing.T) {
		foreignReadFile(t, script("--dir", dir, "none"), "", "No such file")
	})
	t.Run("attached", func(t *testing.T) {
		foreignReadFile(t, script(name), three, "")
	})
}

func foreignReadFile(t *testing.T, cmd *exec.Cmd, out, stderr string) {
	t.Helper()
	got, err := cmd.Output()
	if string(got) != out {
		t.Errorf("the script wrote %q, want %q", got, out)
	}
	if (err != nil) != (stderr != "") || !strings.Contains(foreignStderr(err), stderr) {
		t.Errorf("error is %v: %s, want %q", err, foreignStderr(err), stderr)
	}
}

// TestForeignReaderCounts checks that the script counts as a Reader while it is
// attached, and no longer when it is killed.
func TestForeignReaderCounts(t *testing.T) {
	script := pythonScript(t, "read_segment.py")
	name := proctest.Name(t)
	s := open(t, name, codec.String(), nil)
	must(t, s.Store("\U0001F440"))
	readers := func(want int) {
		t.Helper()
		info, err := sharedseg.Stat(name, nil)
		if err != nil || info.Readers != want || info.Writers > 1 {
			t.Fatalf("Stat = %+v, %v, want %d Readers", info, err, want)
		}
	}
	readers(0)
	// It blocks on its full output while it is attached.
	reader := proctest.StartCmd(t, script("-n", "1000000000", name))
	reader.Expect("string/utf-8\t1\t\"\U0001F440\"")
	readers(1)
	must(t, s.Close())
	readers(1)
	again, err := segment.Attach(name, codec.String(), nil)
	must(t, err)
	if v, err := again.Load(); err != nil || v != "\U0001F440" {
		t.Errorf("Load = %q, %v", v, err)
	}
	reader.Kill()
	gone(t, name, nil, 1)
	readers(0)
	must(t, again.Close())
	if _, err := sharedseg.Stat(name, nil); err == nil {
		t.Error("the segment outlived its last handle")
	}
}

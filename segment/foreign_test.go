//go:build linux && !sharedseg_portable

package segment_test

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/sharedseg/sharedseg"
	"github.com/sharedseg/sharedseg/codec"
	"github.com/sharedseg/sharedseg/internal/mapping"
	"github.com/sharedseg/sharedseg/internal/member"
	"github.com/sharedseg/sharedseg/internal/proctest"
	"github.com/sharedseg/sharedseg/segment"
)

// Programs in other languages, which know nothing of this library but
// docs/format.md, share memory with it. They are in testdata.

// bareSize is the size of the mapping that the peers in testdata expect.
const bareSize = 4096

// A foreignPeer makes the command of a peer with the given arguments.
type foreignPeer func(args ...string) *exec.Cmd

// foreignPython is the interpreter, and not a slow script of a version manager
// that starts it.
var foreignPython = sync.OnceValues(func() (string, error) {
	python, err := exec.LookPath("python3")
	if err != nil {
		return "", err
	}
	out, err := exec.Command(python, "-c", "import sys; print(sys.executable)").Output()
	if err != nil {
		return "", fmt.Errorf("%s: %w: %s", python, err, foreignStderr(err))
	}
	return strings.TrimSpace(string(out)), nil
})

// pythonScript is a script in testdata.
func pythonScript(t *testing.T, script string) foreignPeer {
	t.Helper()
	python, err := foreignPython()
	if errors.Is(err, exec.ErrNotFound) {
		t.Skip("python3, which runs testdata/"+script+", is not in PATH:", err)
	}
	must(t, err)
	return func(args ...string) *exec.Cmd {
		cmd := exec.Command(python, append([]string{filepath.Join("testdata", script)}, args...)...)
		cmd.Env = append(os.Environ(), "PYTHONUTF8=1")
		return cmd
	}
}

// cProgram is a C program in testdata, compiled.
func cProgram(t *testing.T, name string) foreignPeer {
	t.Helper()
	cc, err := exec.LookPath("cc")
	if err != nil {
		cc, err = exec.LookPath("gcc")
	}
	if err != nil {
		t.Skip("neither cc nor gcc, which compiles testdata/"+name+", is in PATH:", err)
	}
	exe := filepath.Join(proctest.TempDir(t), "peer")
	source := filepath.Join("testdata", name)
	if exec.Command(cc, "-o", exe, source).Run() != nil {
		// Older C libraries have shm_open in a library of its own.
		if out, err := exec.Command(cc, "-o", exe, source, "-lrt").CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", cc, err, out)
		}
	}
	return func(args ...string) *exec.Cmd { return exec.Command(exe, args...) }
}

// foreignRun runs a command to its end and returns its output.
func foreignRun(t *testing.T, cmd *exec.Cmd) string {
	t.Helper()
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %v: %s", cmd.Args, err, foreignStderr(err))
	}
	return string(out)
}

func foreignStderr(err error) string {
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return string(exit.Stderr)
	}
	return ""
}

// foreignTexts have characters of one to four bytes in UTF-8, of one and two
// units in UTF-16.
var foreignTexts = []string{
	"parent's text",
	"",
	"Übergrößenträger, ¿qué?, 共有メモリ, \U0001F600\U00010348, \uFFFD \uE000 \U0010FFFF",
	"x" + strings.Repeat("\U0001D11E", 1023), // as many units as fit
}

func TestForeignBare(t *testing.T) {
	t.Parallel() // it mostly waits for another program
	for _, p := range []struct {
		name string
		peer func(*testing.T) foreignPeer
	}{
		{"c", func(t *testing.T) foreignPeer { return cProgram(t, "peer.c") }},
		{"python", func(t *testing.T) foreignPeer { return pythonScript(t, "peer.py") }},
	} {
		t.Run(p.name, func(t *testing.T) {
			peer := p.peer(t)
			t.Run("go creates", func(t *testing.T) { foreignBareAttaches(t, peer) })
			t.Run("peer creates", func(t *testing.T) { foreignBareCreates(t, peer) })
			t.Run("bounds", func(t *testing.T) { foreignBareBounds(t, peer) })
		})
	}
}

func openForeignBare[T any](t *testing.T, name string, c codec.Codec[T], o *segment.Options) *segment.Bare[T] {
	t.Helper()
	b, err := segment.OpenBare(name, bareSize, c, o)
	must(t, err)
	proctest.CloseAtEnd(t, b)
	return b
}

func foreignBareLoad(t *testing.T, b *segment.Bare[string], want string) {
	t.Helper()
	if got, err := b.Load(); err != nil || got != want {
		t.Errorf("Load = %q, %v, want %q", got, err, want)
	}
}

func foreignBareStore[T any](t *testing.T, b *segment.Bare[T], v T) {
	t.Helper()
	must(t, b.Store(v))
}

func foreignBareAttaches(t *testing.T, peer foreignPeer) {
	name := proctest.Name(t)
	b := openForeignBare(t, name, codec.UTF16(), nil)
	if got := foreignRun(t, peer("get", name)); got != "\n" {
		t.Errorf("a new mapping has %q", got)
	}
	for _, text := range foreignTexts {
		foreignBareStore(t, b, text)
		if got := foreignRun(t, peer("get", name)); got != text+"\n" {
			t.Errorf("the peer got %q, want %q", got, text+"\n")
		}
	}
	for _, text := range foreignTexts {
		foreignRun(t, peer("set", name, text))
		foreignBareLoad(t, b, text)
	}
	must(t, b.Close())
	if out, err := peer("get", name).Output(); err == nil {
		t.Errorf("the mapping is still there when its last handle is closed: %q", out)
	}
}

func foreignBareCreates(t *testing.T, peer foreignPeer) {
	name := proctest.Name(t)
	owner := proctest.StartCmd(t, peer("create", name, foreignTexts[2]))
	t.Cleanup(func() {
		if err := segment.RemoveBare(name, nil); err == nil {
			t.Error("the peer did not take its mapping away")
		}
	})
	owner.Expect("ready")
	b := openForeignBare(t, name, codec.UTF16(), nil)
	foreignBareLoad(t, b, foreignTexts[2])
	foreignRun(t, peer("set", name, foreignTexts[3]))
	foreignBareLoad(t, b, foreignTexts[3])
	foreignBareStore(t, b, "shorter \U0001F40D")
	must(t, b.Close())
	owner.Say("go on")
	owner.Expect("shorter \U0001F40D")
	owner.Wait()
}

// foreignBareBounds is about texts that do not fit, and memory without a
// terminator.
func foreignBareBounds(t *testing.T, peer foreignPeer) {
	name := proctest.Name(t)
	b := openForeignBare(t, name, codec.UTF16(), nil)
	foreignBareStore(t, b, "old")
	long := strings.Repeat("\U0001D11E", 1024)
	want(t, b.Store(long), sharedseg.ErrTooLarge)
	if err := peer("set", name, long).Run(); err == nil {
		t.Error("the peer set a text that is too long")
	}
	foreignBareLoad(t, b, "old")

	raw := openForeignBare(t, name, codec.Bytes(), nil)
	foreignBareStore(t, raw, bytes.Repeat([]byte{0xAC, 0x20}, bareSize/2))
	full := strings.Repeat("€", bareSize/2)
	foreignBareLoad(t, b, full)
	if got := foreignRun(t, peer("get", name)); got != full+"\n" {
		t.Errorf("of memory without a terminator the peer got %q", got)
	}
}

// A reading is a line of read_segment.py.
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

// foreignFixed is a value for codec.Fixed, with a gap and one of each kind of
// field.
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
		if c.ID() == "json" && got.value != "" { // as documents: Python puts other blanks in
			got.value, want.value = foreignCanonical(t, got.value), foreignCanonical(t, want.value)
		}
		if got != want {
			t.Errorf("read_segment.py read\n%+v, want\n%+v", got, want)
		}
	}
	read(reading{c.ID(), 0, ""})
	for range 5 { // around all slots
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

// foreignWhole is the text that the test stores as version n. Its length
// differs from that of its neighbours.
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
		{2, 100 * time.Microsecond}, // a single Store disturbs a reader, who needs the pauses
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

// foreignReadWhileStoring stores value(n) as version n for as long as the
// script reads, and checks that it read nothing else. If nothing was stored
// meanwhile, as both had the same processor, it has the script read again.
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
			t.Fatalf("all %d reads saw version %d: nothing is stored meanwhile", lines, last)
		}
	}
}

// TestForeignReadFiles makes files in all states that docs/format.md describes,
// from a segment's bytes.
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
		change func([]byte) []byte // of a file that persists
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
		{"unsealed", put64(slotArea+stride, 0), three, ""}, // who loads has no need of a slot's version
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
		t.Errorf("it read %q, want %q", got, out)
	}
	if (err != nil) != (stderr != "") || !strings.Contains(foreignStderr(err), stderr) {
		t.Errorf("error is %v: %s, want %q", err, foreignStderr(err), stderr)
	}
}

// TestForeignReaderCounts checks that the script is attached as a reader is:
// seen by all, and missed when it dies.
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
	// It is stopped by its full output, while attached.
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

// TestForeignWrite has a C program write, which locks, claims a member slot,
// seals slots and wakes watchers as docs/format.md says.
func TestForeignWrite(t *testing.T) {
	t.Parallel() // it mostly waits for another program
	write := cProgram(t, "write_segment.c")
	name := proctest.Name(t)
	s := open(t, name, codec.String(), &segment.Options{Slots: 3})
	must(t, s.Store("Go's"))
	writer := proctest.StartCmd(t, write(name))
	writer.Expect("ready")
	st, err := member.Stat(&mapping.Place{Name: name})
	if err != nil || len(st.Holders) != 2 || st.Holders[0].PID != os.Getpid() || st.Holders[1].PID != writer.Pid() {
		t.Fatalf("Stat = %+v, %v; want processes %d and %d", st, err, os.Getpid(), writer.Pid())
	}
	for _, text := range foreignTexts[:3] {
		seen := s.Version()
		woken := make(chan error, 1)
		go func() {
			_, err := s.Wait(t.Context(), seen)
			woken <- err
		}()
		writer.Say(text)
		writer.Expect(strconv.FormatUint(seen+1, 10))
		if v, err := s.Load(); v != text || err != nil {
			t.Errorf("Load = %q, %v, want %q", v, err, text)
		}
		if err := <-woken; err != nil {
			t.Error(err)
		}
		if got, want := headersOf(t, name, nil)[(seen+1)%3], [3]uint64{seen + 1, seen, uint64(len(text))}; got != want {
			t.Errorf("the slot has the header %v, want %v", got, want)
		}
	}

	// Both at once, and none is lost.
	const stores = 2000
	before := s.Version()
	stored := make(chan error, 1)
	go func() {
		for n := range uint64(stores) {
			if err := s.Store(foreignWhole(n)); err != nil {
				stored <- err
				return
			}
		}
		stored <- nil
	}()
	for n := range uint64(stores) {
		writer.Say(foreignWhole(n))
		writer.Line()
		if v, err := s.Load(); err != nil {
			t.Fatal(err)
		} else if n, _ := strconv.ParseUint(strings.SplitN(v, "€", 2)[0], 10, 64); v != foreignWhole(n) {
			t.Fatalf("torn: %q", v)
		}
	}
	must(t, <-stored)
	end := s.Version()
	if end != before+2*stores {
		t.Errorf("%d Stores made versions %d to %d", 2*stores, before+1, end)
	}
	for slot, header := range headersOf(t, name, nil) {
		if header[0]%3 != uint64(slot) || header[0]+3 <= end || header[0] > end {
			t.Errorf("version %d is in slot %d, the current one is %d", header[0], slot, end)
		}
	}

	// The C program is the last to leave.
	must(t, s.Close())
	writer.Wait()
	if _, err := sharedseg.Stat(name, nil); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the last one has left, Stat: %v", err)
	}
}

// TestForeignQueue has programs wait for the registry, as docs/format.md says,
// and then take their turns.
func TestForeignQueue(t *testing.T) {
	t.Parallel() // it mostly waits for another program
	write, read := cProgram(t, "write_segment.c"), pythonScript(t, "read_segment.py")
	name := proctest.Name(t)
	s := open(t, name, codec.String(), nil)
	must(t, s.Store("Go's"))
	held, err := mapping.Enter(&mapping.Place{Name: name}, false, false, proctest.Patience)
	must(t, err)
	writer := proctest.StartCmd(t, write(name))
	var readers []*proctest.Proc
	for range 3 {
		readers = append(readers, proctest.StartCmd(t, read(name)))
	}
	time.Sleep(300 * time.Millisecond)
	held.UnlockRegistry()
	must(t, held.Close())
	for _, r := range readers {
		r.Expect("string/utf-8\t1\t\"Go's\"")
		r.Wait()
	}
	writer.Expect("ready")
	writer.Wait()
}

// TestForeignDump compares the dump in docs/format.md with a segment made as
// described there.
func TestForeignDump(t *testing.T) {
	if os.Getpagesize() != 4096 || binary.NativeEndian.Uint16([]byte{1, 0}) != 1 {
		t.Skip("the dump is of a little-endian machine with pages of 4096 bytes")
	}
	page, err := os.ReadFile(filepath.Join("..", "docs", "format.md"))
	must(t, err)
	_, dump, _ := strings.Cut(string(page), "```hexdump\n")
	dump, _, ok := strings.Cut(dump, "```")
	if !ok {
		t.Fatal("docs/format.md has no ```hexdump block")
	}
	name := proctest.Name(t)
	s := open(t, name, codec.String(), &segment.Options{Capacity: 16, Slots: 2})
	for _, v := range []string{"one", "two", "Hi €"} {
		must(t, s.Store(v))
	}
	info, err := sharedseg.Stat(name, nil)
	must(t, err)
	file, err := os.ReadFile(info.Path)
	must(t, err)
	const pidOnPage = 4711
	for what, at := range map[string]int{"holderPid": 324} {
		if pid := binary.NativeEndian.Uint32(file[at:]); pid != uint32(os.Getpid()) {
			t.Errorf("%s is %d, want %d", what, pid, os.Getpid())
		}
		binary.NativeEndian.PutUint32(file[at:], pidOnPage)
	}
	const birth = 88
	if binary.NativeEndian.Uint64(file[birth:]) == 0 {
		t.Error("birth is not a random number")
	}
	binary.NativeEndian.PutUint64(file[birth:], 0x1d68e207c4913a5f) // as on the page
	if diff := cmp.Diff(dump, foreignHexdump(file)); diff != "" {
		t.Errorf("docs/format.md is not what a segment looks like (-page +segment):\n%s", diff)
	}
}

// foreignHexdump dumps b as hexdump -C does.
func foreignHexdump(b []byte) string {
	var out strings.Builder
	var last []byte
	starred := false
	for off := 0; off < len(b); off += 16 {
		row := b[off : off+16]
		if bytes.Equal(row, last) {
			if !starred {
				out.WriteString("*\n")
			}
			starred = true
			continue
		}
		last, starred = row, false
		// hex.Dump differs in nothing but the offset.
		fmt.Fprintf(&out, "%08x%s", off, hex.Dump(row)[8:])
	}
	fmt.Fprintf(&out, "%08x\n", len(b))
	return out.String()
}

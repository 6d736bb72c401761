//go:build linux && !sharedseg_portable

package segment_test

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
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

// Programs in other languages, which know only docs/format.md and not this
// library, share memory with it. They are in testdata.

// A foreignPeer returns a command that runs a peer with the given arguments.
type foreignPeer func(args ...string) *exec.Cmd

// foreignPython returns the path of the Python interpreter itself, not of the
// slow script with which a version manager starts it.
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

// pythonScript returns a script in testdata.
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

// cProgram compiles a C program in testdata.
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
		// Older C libraries have shm_open in librt.
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

// TestForeignWrite runs a C program that writes: it locks, claims a member
// slot, seals slots and wakes watchers as docs/format.md describes.
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
			t.Errorf("the header of the slot is %v, want %v", got, want)
		}
	}

	// Both store at the same time, and no version is lost.
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

	// The C program is the last to detach.
	must(t, s.Close())
	writer.Wait()
	if _, err := sharedseg.Stat(name, nil); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Stat after the last Close: %v", err)
	}
}

// TestForeignQueue runs programs that wait for the registry as docs/format.md
// describes, and then take their turns.
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
		t.Skip("the dump is from a little-endian machine with pages of 4096 bytes")
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
		t.Errorf("docs/format.md and a segment differ (-page +segment):\n%s", diff)
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
		// hex.Dump differs only in the offset.
		fmt.Fprintf(&out, "%08x%s", off, hex.Dump(row)[8:])
	}
	fmt.Fprintf(&out, "%08x\n", len(b))
	return out.String()
}

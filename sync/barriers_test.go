package ipcsync_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/sharedseg/sharedseg/internal/proctest"
)

// No emulator shows the effects of a missing barrier. So this test reads the
// instructions of a program for arm64 that contains the sequence lock as
// segments use it, inlined or not.
func TestBarriersOfARM64(t *testing.T) {
	if proctest.Emulated() {
		t.Skip("the emulated machine has no go tool")
	}
	goTool, err := exec.LookPath("go")
	if err != nil {
		t.Skip("no go tool to build and disassemble with:", err)
	}
	run := func(args ...string) string {
		t.Helper()
		cmd := exec.Command(goTool, args...)
		cmd.Env = append(os.Environ(), "GOOS=linux", "GOARCH=arm64", "CGO_ENABLED=0", "GOFLAGS=")
		cmd.Stderr = os.Stderr
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("%v: %v", cmd.Args, err)
		}
		return string(out)
	}
	// go test caches the result of a test together with the files that the test
	// opened. Opening these makes a change to them invalidate the result.
	for _, dir := range []string{"../internal/fence", "../segment"} {
		_, err := os.ReadDir(dir)
		must(t, err)
	}
	exe := filepath.Join(proctest.TempDir(t), "telemetry")
	run("build", "-o", exe, "../examples/telemetry")

	code := map[string][]string{} // the instructions of each function
	var fn string
	for line := range strings.Lines(run("tool", "objdump", "-s", `/(internal/fence\.|sync\.\(\*SeqLock\)|segment\.\(\*)`, exe)) {
		if text, ok := strings.CutPrefix(line, "TEXT "); ok {
			fn, _, _ = strings.Cut(text, "(SB)")
		} else if f := strings.FieldsFunc(line, func(r rune) bool { return r == '\t' || r == '\n' }); len(f) > 3 {
			code[fn] = append(code[fn], strings.TrimSpace(f[3]))
		}
	}
	// order lists a function's barriers and ordered accesses, including those
	// of the functions of SeqLock and fence that it calls.
	var order func(fn string) string
	order = func(fn string) (s string) {
		for _, instruction := range code[fn] {
			switch op, arg, _ := strings.Cut(instruction, " "); {
			case op == "LDAR" || op == "STLR":
				s += op + " "
			case op == "DMB":
				s += instruction + " "
			case op == "CALL" && regexp.MustCompile(`/(internal/fence\.|sync\.\(\*SeqLock\))`).MatchString(arg):
				s += order(strings.TrimSuffix(arg, "(SB)"))
			}
		}
		return s
	}
	for _, c := range []struct{ what, functions, order string }{
		{"a load-load barrier precedes the recheck", `(\.load|\.tryRead|\.ReadRetry)$`, `^(STLR )?(LDAR )?DMB \$9 LDAR `}, // STLR: of LockReads
		{"a store-store barrier follows the announcement", `(\.publish|\.WriteAnnounce|\.WriteBegin)$`, `STLR DMB \$10 `},
	} {
		found := false
		for fn := range code {
			if regexp.MustCompile(c.functions).MatchString(fn) {
				found = true
				if got := order(fn); !regexp.MustCompile(c.order).MatchString(got) {
					t.Errorf("%s: %s has %q, want %s", c.what, fn, got, c.order)
				}
			}
		}
		if !found {
			t.Errorf("%s: no function of the program matches %s", c.what, c.functions)
		}
	}
}

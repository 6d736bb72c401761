package doctest

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sharedseg/sharedseg/internal/proctest"
)

const page = "# Page\n\n" +
	"```go\npackage main\n\nfunc main() {}\n```\n\n" +
	"<!-- given\ntype order struct{}\n-->\n```go\nvar o order\nfmt.Println(o, codec.String().ID())\n```\n\n" +
	"```text\nnot Go\n```\n\n" +
	"```go\ntype t struct{ d time.Duration }\n```\n"

func TestPage(t *testing.T) {
	file := filepath.Join(proctest.TempDir(t), "page.md")
	if err := os.WriteFile(file, []byte(page), 0o600); err != nil {
		t.Fatal(err)
	}
	blocks, err := Page(file)
	if err != nil {
		t.Fatal(err)
	}
	want := []struct {
		line    int
		program bool
		has     []string
	}{
		{4, true, nil},
		{13, false, []string{`import fmt "fmt"`, `import codec "github.com/sharedseg/sharedseg/codec"`, "func _(", "type order"}},
		{22, false, []string{`import time "time"`}},
	}
	if len(blocks) != len(want) {
		t.Fatalf("found %d blocks: %v", len(blocks), blocks)
	}
	for i, b := range blocks {
		source, err := b.source()
		if err != nil || b.Line != want[i].line || b.Program() != want[i].program {
			t.Errorf("block %d: line %d, a program: %t, %v", i, b.Line, b.Program(), err)
		}
		for _, text := range want[i].has {
			if !strings.Contains(source, text) {
				t.Errorf("block %d does not contain %s:\n%s", i, text, source)
			}
		}
	}
}

// TestCheck checks that what does not compile, or is not formatted, is found.
func TestCheck(t *testing.T) {
	for text, want := range map[string]string{
		"package main\n\nfunc main() {}\n":      "",
		"fmt.Println(undefined)\n":              "page.md:7: undefined: undefined",
		"x := 1\n":                              "page.md:7: declared and not used: x",
		"var x string = 1\nfmt.Println(x)\n":    "page.md:7: cannot use 1",
		"package main\n\nfunc main() { f() }\n": "page.md:9: undefined: f",
		"if x {\n":                              "expected '}'",
		"fmt.Println( 1 )\n":                    "gofmt would make this",
	} {
		problems, err := check([]Block{{File: "page.md", Line: 7, Text: text}}, proctest.TempDir(t))
		if err != nil {
			t.Skip(err)
		}
		if got := strings.Join(problems, "\n"); !strings.Contains(got, want) || (got == "") != (want == "") {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}

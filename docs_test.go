package sharedseg_test

import (
	"encoding/binary"
	"go/format"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// source is the text of all files of the given suffix below the given
// directories, tests excluded, with each run of white space as one space.
func source(t *testing.T, suffix string, dirs ...string) string {
	t.Helper()
	var all strings.Builder
	for _, dir := range dirs {
		err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || !strings.HasSuffix(path, suffix) || strings.HasSuffix(path, "_test.go") {
				return err
			}
			text, err := os.ReadFile(path)
			all.WriteString(strings.Join(strings.Fields(string(text)), " ") + "\n")
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return all.String()
}

var quote = regexp.MustCompile("`([^`]+)`")

// TestDesignQuotesTheCode looks for each line that the table of docs/design.md
// quotes, of the code in its first column and of a model in its second. In a row
// with a bold first word, the code's quotes are names of functions.
func TestDesignQuotesTheCode(t *testing.T) {
	page, err := os.ReadFile(filepath.Join("docs", "design.md"))
	if err != nil {
		t.Fatal(err)
	}
	code, models := source(t, ".go", "segment", "queue", "sync", "internal"), source(t, ".pml", filepath.Join("docs", "models"))
	_, table, found := strings.Cut(string(page), "| Go | model |\n| --- | --- |\n")
	if !found {
		t.Fatal("docs/design.md has no table of Go and model")
	}
	table, _, _ = strings.Cut(table, "\n\n")
	quotes := 0
	for row := range strings.Lines(table) {
		row = strings.ReplaceAll(row, `\|`, "\x00")
		cells := strings.Split(strings.Trim(row, "|\n"), "|")
		if len(cells) != 2 {
			t.Fatalf("%d cells in %s", len(cells), row)
		}
		for i, text := range []string{code, models} {
			for _, q := range quote.FindAllStringSubmatch(cells[i], -1) {
				quotes++
				want := strings.ReplaceAll(q[1], "\x00", "|")
				switch {
				case strings.HasSuffix(want, ".pml"):
					if _, err := os.Stat(filepath.Join("docs", "models", want)); err != nil {
						t.Error(err)
					}
				case i == 0 && strings.Contains(cells[0], "**"):
					if !regexp.MustCompile(`func (\([^)]*\) )?` + want + `[\[(]`).MatchString(code) {
						t.Errorf("there is no function %s", want)
					}
				case !strings.Contains(text, want):
					t.Errorf("nothing has %s", want)
				}
			}
		}
	}
	if quotes < 80 {
		t.Errorf("the table has %d quotes", quotes)
	}
}

// TestOperationsPrograms runs each program of docs/operations.md, which writes
// what stands in the block after it.
func TestOperationsPrograms(t *testing.T) {
	goTool, err := exec.LookPath("go")
	if err != nil || binary.NativeEndian.Uint16([]byte{1, 0}) != 1 {
		t.Skip("there is no go command, or the output is that of another byte order:", err)
	}
	page, err := os.ReadFile(filepath.Join("docs", "operations.md"))
	if err != nil {
		t.Fatal(err)
	}
	programs := regexp.MustCompile("(?s)```go\n(package main\n.*?)```.*?```text\n(.*?)```").FindAllStringSubmatch(string(page), -1)
	if len(programs) == 0 {
		t.Error("there is none")
	}
	for _, p := range programs {
		dir := t.TempDir()
		file := filepath.Join(dir, "program.go")
		if err := os.WriteFile(file, []byte(p[1]), 0o600); err != nil {
			t.Fatal(err)
		}
		if formatted, err := format.Source([]byte(p[1])); string(formatted) != p[1] {
			t.Errorf("gofmt would change it: %v", err)
		}
		out, err := exec.Command(goTool, "run", file, t.TempDir()).CombinedOutput()
		if string(out) != p[2] || err != nil {
			t.Errorf("%v, it wrote\n%s", err, out)
		}
	}
}

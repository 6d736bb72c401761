package sharedseg_test

import (
	"bufio"
	"encoding/binary"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/sharedseg/sharedseg/internal/doctest"
	"github.com/sharedseg/sharedseg/internal/proctest"

	// The pages use these packages. When one of them changes, go test must not
	// report a cached result.
	_ "github.com/sharedseg/sharedseg/codec"
	_ "github.com/sharedseg/sharedseg/queue"
	_ "github.com/sharedseg/sharedseg/segment"
	_ "github.com/sharedseg/sharedseg/sync"
)

// source returns the text of all files of the given suffix below the given
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

// TestDesignQuotesTheCode checks that each line quoted in the table of
// docs/design.md exists: in the code if it stands in the first column, in a
// model if in the second. In a row with a bold first word, the first column
// names functions.
func TestDesignQuotesTheCode(t *testing.T) {
	page, err := os.ReadFile(filepath.Join("docs", "design.md"))
	if err != nil {
		t.Fatal(err)
	}
	code, models := source(t, ".go", "segment", "queue", "sync", "internal"), source(t, ".pml", filepath.Join("docs", "models"))
	_, table, found := strings.Cut(string(page), "| Go | model |\n| --- | --- |\n")
	if !found {
		t.Fatal("docs/design.md has no table of Go and models")
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
						t.Errorf("no function is called %s", want)
					}
				case !strings.Contains(text, want):
					t.Errorf("no file contains %s", want)
				}
			}
		}
	}
	if quotes < 80 {
		t.Errorf("the table has only %d quotes", quotes)
	}
}

// TestModelsNameTheCode checks that each function and line that the table of
// docs/models/README.md names in its second column exists in the code.
func TestModelsNameTheCode(t *testing.T) {
	page, err := os.ReadFile(filepath.Join("docs", "models", "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	code := source(t, ".go", "segment", "queue", "sync", "internal", "natsbridge")
	_, table, found := strings.Cut(string(page), "| in the model | in Go |")
	if !found {
		t.Fatal("docs/models/README.md has no table of models and Go")
	}
	table, _, _ = strings.Cut(table, "\n\n")
	quotes := 0
	for row := range strings.Lines(table) {
		cells := strings.Split(row, " | ")
		if len(cells) < 2 {
			continue
		}
		for _, q := range quote.FindAllStringSubmatch(cells[1], -1) {
			quotes++
			name := q[1][strings.LastIndexByte(q[1], '.')+1:]
			if !strings.Contains(code, q[1]) && !regexp.MustCompile(`func (\([^)]*\) )?`+regexp.QuoteMeta(name)+`[\[(]`).MatchString(code) {
				t.Errorf("the code has no %s", q[1])
			}
		}
	}
	if quotes < 80 {
		t.Errorf("the table has only %d quotes", quotes)
	}
}

var testName = regexp.MustCompile(`\b(?:Test|Fuzz|Benchmark)[A-Z]\w*`)

// TestPagesNameTests checks that the tests that the pages name exist.
func TestPagesNameTests(t *testing.T) {
	tests := map[string]bool{}
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		text, err := os.ReadFile(path)
		for _, f := range regexp.MustCompile(`(?m)^func (\w+)\(`).FindAllSubmatch(text, -1) {
			tests[string(f[1])] = true
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	names := 0
	for _, page := range pages(t) {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range testName.FindAllString(string(text), -1) {
			names++
			if !tests[name] {
				t.Errorf("%s names %s, which does not exist", page, name)
			}
		}
	}
	if names < 80 {
		t.Errorf("the pages name only %d tests", names)
	}
}

// pages returns the pages in Markdown of this module.
func pages(t *testing.T) []string {
	t.Helper()
	docs, err := filepath.Glob(filepath.Join("docs", "*.md"))
	if err != nil {
		t.Fatal(err)
	}
	root, err := filepath.Glob("*.md")
	if err != nil {
		t.Fatal(err)
	}
	return append(append(root, docs...), filepath.Join("docs", "models", "README.md"), filepath.Join("examples", "stringbuf", "dll", "README.md"))
}

// blocks returns the Go of a page, of which there must be some.
func blocks(t *testing.T, page string) []doctest.Block {
	t.Helper()
	b, err := doctest.Page(page)
	if err != nil {
		t.Fatal(err)
	}
	if len(b) == 0 {
		t.Fatalf("%s has no block of Go", page)
	}
	return b
}

// TestBlocks builds all Go that the pages and the package comments show.
func TestBlocks(t *testing.T) {
	var all []doctest.Block
	for _, page := range pages(t) {
		b, err := doctest.Page(page)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, b...)
	}
	for _, pkg := range []string{".", "codec", "queue", "segment", "sync"} {
		b, err := doctest.PackageComment(pkg)
		if err != nil {
			t.Fatal(err)
		}
		for i := range b {
			b[i].Given = inComments
		}
		all = append(all, b...)
	}
	if len(all) < 13 {
		t.Errorf("found only %d blocks", len(all))
	}
	doctest.Build(t, all)
}

// inComments declares what the blocks in package comments use.
const inComments = `
type Order struct{ Tea int64 }

func brew(Order) {}

func rollBack() error { return nil }
`

var (
	fenced  = regexp.MustCompile("(?ms)^```.*?^```$")
	link    = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	heading = regexp.MustCompile(`(?m)^#+ (.*)$`)
	inNames = regexp.MustCompile(`[^\p{L}\p{N}_ -]`)
)

// TestLinks checks that the links between the pages lead to files and headings
// that exist.
func TestLinks(t *testing.T) {
	text := func(file string) string {
		page, err := os.ReadFile(file)
		if err != nil {
			t.Error(err)
		}
		return fenced.ReplaceAllString(string(page), "")
	}
	for _, page := range append(pages(t), filepath.Join("natsbridge", "README.md")) {
		for _, m := range link.FindAllStringSubmatch(text(page), -1) {
			if strings.Contains(m[1], "://") {
				continue
			}
			target, anchor, hasAnchor := strings.Cut(m[1], "#")
			file := page
			if target != "" {
				file = filepath.Join(filepath.Dir(page), filepath.FromSlash(target))
			}
			if _, err := os.Stat(file); err != nil {
				t.Errorf("%s: %v", page, err)
				continue
			}
			if !hasAnchor {
				continue
			}
			found := false
			for _, h := range heading.FindAllStringSubmatch(text(file), -1) {
				name := strings.ReplaceAll(inNames.ReplaceAllString(strings.ToLower(h[1]), ""), " ", "-")
				found = found || name == anchor
			}
			if !found {
				t.Errorf("%s: %s has no heading %s", page, file, anchor)
			}
		}
	}
}

// TestReadme runs the README's program, under a name of its own, in two
// processes: the first sees the second start.
func TestReadme(t *testing.T) {
	goTool, err := exec.LookPath("go")
	if err != nil {
		t.Skip("there is no go command:", err)
	}
	program := blocks(t, "README.md")[0]
	text := strings.Replace(program.Text, `Open("stats",`, "Open("+strconv.Quote(proctest.Name(t))+",", 1)
	if !program.Program() || text == program.Text {
		t.Fatal("the README's first block is not a program that opens stats")
	}
	source := filepath.Join(proctest.TempDir(t), "main.go")
	if err := os.WriteFile(source, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	binary := filepath.Join(proctest.TempDir(t), "program.exe")
	if out, err := exec.CommandContext(t.Context(), goTool, "build", "-o", binary, source).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	start := func() *bufio.Scanner {
		cmd := exec.CommandContext(t.Context(), binary) // killed at the end of the test
		out, err := cmd.StdoutPipe()
		if err == nil {
			cmd.Stderr = os.Stderr
			err = cmd.Start()
		}
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			cmd.Process.Kill()
			cmd.Wait()
		})
		return bufio.NewScanner(out)
	}
	next := func(s *bufio.Scanner, want string) {
		t.Helper()
		if !s.Scan() || !strings.HasPrefix(s.Text(), want) {
			t.Errorf("the program wrote %q, want %q: %v", s.Text(), want, s.Err())
		}
	}
	first := start()
	next(first, "1 starts")
	second := start()
	next(second, "2 starts")
	next(first, "2 starts")
}

// TestPrograms runs each program of docs that is followed by a block of text,
// which is its output.
func TestPrograms(t *testing.T) {
	goTool, err := exec.LookPath("go")
	if err != nil || binary.NativeEndian.Uint16([]byte{1, 0}) != 1 {
		t.Skip("there is no go command, or the output is that of another byte order:", err)
	}
	ran := 0
	for _, name := range pages(t) {
		page, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range regexp.MustCompile("(?ms)^```go\n(package main\n.*?)^```$.*?^```text\n(.*?)^```$").FindAllStringSubmatch(string(page), -1) {
			ran++
			file := filepath.Join(proctest.TempDir(t), "program.go")
			if err := os.WriteFile(file, []byte(p[1]), 0o600); err != nil {
				t.Fatal(err)
			}
			out, err := exec.CommandContext(t.Context(), goTool, "run", file, proctest.TempDir(t)).CombinedOutput()
			if string(out) != p[2] || err != nil {
				t.Errorf("%s: the program's output is\n%s%v\nwant\n%s", name, out, err, p[2])
			}
		}
	}
	if ran == 0 {
		t.Error("found no program")
	}
}

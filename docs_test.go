package sharedseg_test

import (
	"io/fs"
	"os"
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
	code, models := source(t, ".go", "segment", "sync", "internal"), source(t, ".pml", filepath.Join("docs", "models"))
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

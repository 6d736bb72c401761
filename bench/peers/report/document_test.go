package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestReplace(t *testing.T) {
	const before = "Above.\n\n<!-- begin x -->\nold\n\n<!-- end x -->\n\nBelow.\n"
	const after = "Above.\n\n<!-- begin x -->\n\nnew\n\n<!-- end x -->\n\nBelow.\n"
	for _, text := range []string{before, after} {
		got, err := replace([]byte(text), "x", []byte("new\n"))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(after, string(got)); diff != "" {
			t.Error(diff)
		}
	}
	for text, want := range map[string]string{
		"":                                     "no line <!-- begin x -->",
		"<!-- begin x -->\n":                   "no line <!-- end x -->",
		"<!-- begin xy -->\n<!-- end x -->\n":  "no line <!-- begin x -->",
		"<!-- end x -->\n<!-- begin x -->\n":   "above",
		before + before:                        "2 lines <!-- begin x -->",
		before + "<!-- end x -->\n":            "2 lines <!-- end x -->",
		"<!-- begin x -->\n" + before + before: "3 lines <!-- begin x -->",
	} {
		if _, err := replace([]byte(text), "x", nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: error is %v, want %q", text, err, want)
		}
	}
}

func TestUpdateDocument(t *testing.T) {
	var empty strings.Builder
	for _, p := range parts {
		empty.WriteString("Before " + p.name + ".\n\n<!-- begin " + p.name + " -->\n<!-- end " + p.name + " -->\n")
	}
	dir := t.TempDir()
	name := filepath.Join(dir, "benchmarks.md")
	if err := os.WriteFile(name, []byte(empty.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := checkMarkers(name); err != nil {
		t.Fatal(err)
	}
	r := parsed(t, output, deaths)
	var texts []string
	for range 2 {
		if err := updateDocument(name, r); err != nil {
			t.Fatal(err)
		}
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		texts = append(texts, string(text))
	}
	if diff := cmp.Diff(texts[0], texts[1]); diff != "" {
		t.Error("a second update changes the document:", diff)
	}
	for _, want := range []string{
		"Before budgets.\n\n<!-- begin budgets -->\n\n| what |", "Some CPU", "| `Lock/impl=sync.Mutex/procs=1` |",
	} {
		if !strings.Contains(texts[0], want) {
			t.Errorf("no %q in\n%s", want, texts[0])
		}
	}
	if files, err := os.ReadDir(dir); len(files) != 1 {
		t.Errorf("files left: %v, %v", files, err)
	}
}

// TestMarkers checks the markers in docs/benchmarks.md.
func TestMarkers(t *testing.T) {
	if err := checkMarkers("../../../docs/benchmarks.md"); err != nil {
		t.Error(err)
	}
}

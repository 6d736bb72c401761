package layout

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const (
	module = "github.com/sharedseg/sharedseg"
	root   = "../.."
)

// imports returns the imports of each of the module's Go files except tests, by
// the file's path from the module's root.
func imports(t *testing.T) map[string][]string {
	files := map[string][]string{}
	err := filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			_, err := os.Stat(filepath.Join(p, "go.mod"))
			if p != root && (err == nil || strings.HasPrefix(d.Name(), ".") || d.Name() == "testdata") {
				return filepath.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(p, ".go") || strings.HasSuffix(p, "_test.go") {
			return nil
		}
		f, err := parser.ParseFile(token.NewFileSet(), p, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, p)
		rel = filepath.ToSlash(rel)
		files[rel] = nil
		for _, i := range f.Imports {
			imported, _ := strconv.Unquote(i.Path.Value)
			files[rel] = append(files[rel], imported)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(files[path.Join("internal/layout", "layout.go")]) == 0 {
		t.Fatal("the module's source tree was not found")
	}
	return files
}

// TestUnsafeIsConfined checks that unsafe is used only where the platform and
// the format need it.
func TestUnsafeIsConfined(t *testing.T) {
	allowed := []string{
		"internal/layout/", "internal/mapping/", "internal/park/", "internal/fence/", "internal/kernel/", "internal/fault/", "internal/payload/",
		"codec/fixed.go", "examples/stringbuf/dll/",
	}
	for file, imported := range imports(t) {
		ok := false
		for _, a := range allowed {
			ok = ok || strings.HasPrefix(file, a)
		}
		for _, i := range imported {
			if i == "unsafe" && !ok || i == "C" && !strings.HasPrefix(file, "examples/stringbuf/dll/") {
				t.Errorf("%s imports %s", file, i)
			}
		}
	}
}

// TestFaultsAreConfined checks that only package fault knows how a fault of
// mapped memory is caught. The DLL protects itself from its caller's memory,
// and proctest has a tool for tests.
func TestFaultsAreConfined(t *testing.T) {
	allowed := []string{"internal/fault/", "internal/proctest/", "examples/stringbuf/dll/memory.go"}
	catches := []string{"SetPanicOnFault", "recover", "SIGBUS", "SIGSEGV", "SYS_RT_SIGACTION", "SYS_SIGACTION"}
	for file := range imports(t) {
		if slices.ContainsFunc(allowed, func(a string) bool { return strings.HasPrefix(file, a) }) {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), path.Join(root, file), nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(f, func(n ast.Node) bool {
			if id, ok := n.(*ast.Ident); ok && slices.Contains(catches, id.Name) {
				t.Errorf("%s uses %s", file, id.Name)
			}
			return true
		})
	}
}

// TestImportsRunOneWay checks that each package imports only packages below it.
// A package that is not listed, such as an example, may import any listed one,
// but no listed one may import it.
func TestImportsRunOneWay(t *testing.T) {
	level := map[string]int{
		"segment":            10,
		"queue":              10,
		"internal/turn":      9,
		"sync":               8,
		"internal/payload":   8,
		"internal/notify":    6,
		".":                  7,
		"internal/member":    6,
		"internal/ring":      5,
		"internal/mapping":   5,
		"internal/park":      5,
		"internal/fault":     4,
		"internal/layout":    3,
		"internal/kernel":    3,
		"internal/fence":     2,
		"codec":              2,
		"internal/form":      1,
		"internal/step":      1,
		"internal/goroutine": 1,
		"internal/wait":      1,
	}
	seen := map[string]bool{}
	for file, imported := range imports(t) {
		from := path.Dir(file)
		seen[from] = true
		for _, i := range imported {
			to, ours := strings.CutPrefix(i, module+"/")
			if i == module {
				to, ours = ".", true
			}
			if !ours || level[from] == 0 {
				continue
			}
			if level[to] == 0 || level[to] >= level[from] || to == "codec" && from != "segment" && from != "queue" && from != "internal/payload" {
				t.Errorf("%s imports %s", file, to)
			}
		}
	}
	for p := range level {
		if !seen[p] {
			t.Errorf("package %s does not exist", p)
		}
	}
}

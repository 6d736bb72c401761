package mapping

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"strings"
	"testing"
)

// TestInterruptedCallsAreMadeAgain checks that every system call in the files
// for Unix is made through again. Package os repeats its own calls.
func TestInterruptedCallsAreMadeAgain(t *testing.T) {
	const noAgain = "Close" // see closeFile
	names, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	called := map[string]int{}
	files := token.NewFileSet()
	for _, name := range names {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(files, name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, i := range f.Imports {
			if i.Path.Value == `"syscall"` {
				t.Errorf("%s makes system calls by package syscall", name)
			}
		}
		var within func(again bool) func(ast.Node) bool
		within = func(again bool) func(ast.Node) bool {
			return func(n ast.Node) bool {
				call, ok := n.(*ast.CallExpr)
				if !ok {
					return true
				}
				if f, ok := call.Fun.(*ast.Ident); ok && f.Name == "again" {
					for _, arg := range call.Args {
						ast.Inspect(arg, within(true))
					}
					return false
				}
				if f, ok := call.Fun.(*ast.SelectorExpr); ok {
					if p, ok := f.X.(*ast.Ident); ok && p.Name == "unix" {
						called[f.Sel.Name]++
						if !again && f.Sel.Name != noAgain {
							t.Errorf("%s: unix.%s is not called through again", files.Position(call.Pos()), f.Sel.Name)
						}
						if again && f.Sel.Name == noAgain {
							t.Errorf("%s: unix.%s is called through again", files.Position(call.Pos()), f.Sel.Name)
						}
					}
				}
				return true
			}
		}
		ast.Inspect(f, within(false))
	}
	for _, name := range []string{
		"Open", "Close", "Fchmod", "Fstat", "Lstat", "Ftruncate", "Unlink", "Fallocate", "Pread", "Pwrite", "FcntlFlock",
		"MmapPtr", "MunmapPtr", "Mprotect", "Madvise", "Getrlimit",
	} {
		if called[name] == 0 {
			t.Errorf("unix.%s is called nowhere", name)
		}
	}
}

// Package doctest builds the Go that documentation shows.
//
// A block of a page is a whole program, declarations, or statements. A program
// is built as it stands. Declarations get a package clause and the imports that
// they use. Statements are also wrapped in a function, in which ctx is a
// context and err an error. What else a block needs is declared in an HTML
// comment above it, which a reader of the page does not see:
//
//	<!-- given
//	type Order struct{ Tea int }
//	-->
package doctest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"go/ast"
	"go/doc/comment"
	"go/format"
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/sharedseg/sharedseg/internal/proctest"
)

// imports has the packages that a block can use without importing them.
var imports = map[string]string{
	"codec":      "github.com/sharedseg/sharedseg/codec",
	"context":    "context",
	"errors":     "errors",
	"fmt":        "fmt",
	"fs":         "io/fs",
	"io":         "io",
	"ipcsync":    "github.com/sharedseg/sharedseg/sync",
	"jetstream":  "github.com/nats-io/nats.go/jetstream",
	"log":        "log",
	"nats":       "github.com/nats-io/nats.go",
	"natsbridge": "github.com/sharedseg/sharedseg/natsbridge",
	"os":         "os",
	"queue":      "github.com/sharedseg/sharedseg/queue",
	"segment":    "github.com/sharedseg/sharedseg/segment",
	"sharedseg":  "github.com/sharedseg/sharedseg",
	"time":       "time",
}

// Block is Go that a page or a package comment shows.
type Block struct {
	File  string // the page, or the Go file with the comment
	Line  int    // of File, on which Text begins
	Text  string
	Given string // declarations that Text needs

	// Unused allows variables that Text does not use.
	Unused bool
}

// fenced is a block of Go in Markdown, with the declarations given for it.
var fenced = regexp.MustCompile("(?ms)(?:^<!-- given\n(.*?)^-->\n+)?^```go\n(.*?)^```$")

// Page returns the blocks of a page in Markdown.
func Page(file string) ([]Block, error) {
	page, err := os.ReadFile(file)
	var blocks []Block
	for _, m := range fenced.FindAllSubmatchIndex(page, -1) {
		b := Block{File: file, Line: 1 + bytes.Count(page[:m[4]], []byte("\n")), Text: string(page[m[4]:m[5]])}
		if m[2] >= 0 {
			b.Given = string(page[m[2]:m[3]])
		}
		blocks = append(blocks, b)
	}
	return blocks, err
}

// PackageComment returns the indented blocks in the package comment of the
// package in dir, except those that declare no variable: they are commands and
// tables. The results of the last calls in a block can be unused.
func PackageComment(dir string) ([]Block, error) {
	files, err := filepath.Glob(filepath.Join(dir, "*.go"))
	var blocks []Block
	for _, file := range files {
		f, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.PackageClauseOnly|parser.ParseComments)
		if err != nil {
			return nil, err
		}
		if f.Doc == nil || strings.HasSuffix(file, "_test.go") {
			continue
		}
		for _, part := range new(comment.Parser).Parse(f.Doc.Text()).Content {
			if code, ok := part.(*comment.Code); ok && strings.Contains(code.Text, ":=") {
				blocks = append(blocks, Block{File: file, Line: 1, Text: code.Text, Unused: true})
			}
		}
	}
	return blocks, err
}

// Program reports whether the block is a whole program.
func (b *Block) Program() bool { return strings.HasPrefix(b.Text, "package main\n") }

// source returns a Go file with the block.
func (b *Block) source() (string, error) {
	line := fmt.Sprintf("//line %s:%d\n", b.File, b.Line)
	if b.Program() {
		return line + b.Text, nil
	}
	// The block comes first, so that its lines keep their numbers.
	text := line + b.Text + "\n//line given:1\n" + b.Given
	f, err := parser.ParseFile(token.NewFileSet(), "", "package p\n"+text, 0)
	if err != nil {
		begin := "func _(ctx context.Context) (err error) {\n" + line + b.Text + "\n//line wrapped:1\n_ = ctx\n"
		end := "return err\n}\n//line given:1\n" + b.Given
		text = begin + end
		f, err = parser.ParseFile(token.NewFileSet(), "", "package p\n"+text, 0)
		if err == nil && b.Unused {
			text = begin + uses(f.Decls[0].(*ast.FuncDecl)) + end
		}
	}
	if err != nil {
		return "", err
	}
	var used []string
	ast.Inspect(f, func(n ast.Node) bool {
		if s, ok := n.(*ast.SelectorExpr); ok {
			if x, ok := s.X.(*ast.Ident); ok && x.Obj == nil && imports[x.Name] != "" && !slices.Contains(used, x.Name) {
				used = append(used, x.Name)
			}
		}
		return true
	})
	head := "package p\n"
	for _, name := range used {
		head += fmt.Sprintf("import %s %q\n", name, imports[name])
	}
	return head + text, nil
}

// uses returns statements that use each variable that f declares by := outside
// of inner blocks.
func uses(f *ast.FuncDecl) (text string) {
	for _, statement := range f.Body.List {
		a, ok := statement.(*ast.AssignStmt)
		if !ok || a.Tok != token.DEFINE {
			continue
		}
		for _, x := range a.Lhs {
			if name, ok := x.(*ast.Ident); ok && name.Name != "_" {
				text += "_ = " + name.Name + "\n"
			}
		}
	}
	return text
}

// Build fails the test unless gofmt leaves each block as it is and go build
// accepts it. It skips the test if there is no go command.
func Build(t *testing.T, blocks []Block) {
	t.Helper()
	problems, err := check(blocks, proctest.TempDir(t))
	if err != nil {
		t.Skip(err)
	}
	for _, p := range problems {
		t.Error(p)
	}
}

// check returns what is wrong with the blocks. The blocks are packages of the
// module of the current directory, in an overlay, so that nothing is written
// there. Their files are in temp. The error says that there is no go command.
func check(blocks []Block, temp string) (problems []string, err error) {
	goTool, err := exec.LookPath("go")
	if err != nil {
		return nil, err
	}
	dir, err := os.Getwd()
	if err != nil {
		return []string{err.Error()}, nil
	}
	overlay := struct{ Replace map[string]string }{map[string]string{}}
	config := filepath.Join(temp, "overlay.json")
	args := []string{"build", "-o", os.DevNull, "-overlay", config}
	for i, b := range blocks {
		formatted, err := format.Source([]byte(b.Text))
		if err != nil {
			problems = append(problems, fmt.Sprintf("%s:%d: %v in\n%s", b.File, b.Line, err, b.Text))
			continue
		}
		if string(formatted) != b.Text {
			problems = append(problems, fmt.Sprintf("%s:%d: gofmt would make this\n%s", b.File, b.Line, formatted))
		}
		source, err := b.source()
		if err != nil {
			problems = append(problems, fmt.Sprintf("%s:%d: %v in\n%s", b.File, b.Line, err, b.Text))
			continue
		}
		file := filepath.Join(temp, fmt.Sprintf("block%d.go", i))
		if err := os.WriteFile(file, []byte(source), 0o600); err != nil {
			return []string{err.Error()}, nil
		}
		pkg := fmt.Sprintf("doctest_block%d", i)
		overlay.Replace[filepath.Join(dir, pkg, "block.go")] = file
		args = append(args, "./"+pkg)
	}
	if len(overlay.Replace) == 0 {
		return problems, nil
	}
	text, err := json.Marshal(overlay)
	if err == nil {
		err = os.WriteFile(config, text, 0o600)
	}
	if err != nil {
		return []string{err.Error()}, nil
	}
	if out, err := exec.Command(goTool, args...).CombinedOutput(); err != nil {
		problems = append(problems, fmt.Sprintf("go build: %v\n%s", err, out))
	}
	return problems, nil
}

package segment_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"strings"
	"testing"
)

// The wall clock can be set while processes wait. The deadlines and timers of
// Go and the time-outs of system calls use the monotonic clock, unless the code
// asks a time.Time for the wall clock. No code does.
func TestNoWallClock(t *testing.T) {
	wall := map[string]bool{
		"Unix": true, "UnixMilli": true, "UnixMicro": true, "UnixNano": true, "Round": true, "UTC": true, "Local": true, "AddDate": true,
		"Date": true, "ClockGettime": true, "Gettimeofday": true, "GetSystemTimeAsFileTime": true,
	}
	files := 0
	for _, dir := range []string{".", "../sync", "../codec", "../internal"} {
		err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
			if err == nil && (e.Name() == "proctest" || e.Name() == "attack") {
				return fs.SkipDir // only tests use it
			}
			if err != nil || e.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
				return err
			}
			files++
			set := token.NewFileSet()
			f, err := parser.ParseFile(set, path, nil, 0)
			if err != nil {
				return err
			}
			ast.Inspect(f, func(n ast.Node) bool {
				if c, ok := n.(*ast.CallExpr); ok && len(c.Args) > 0 {
					if s, ok := c.Args[0].(*ast.SelectorExpr); ok && s.Sel.Name == "CLOCK_MONOTONIC" {
						return false
					}
				}
				if s, ok := n.(*ast.SelectorExpr); ok && wall[s.Sel.Name] {
					t.Errorf("%v: %s may read the wall clock", set.Position(s.Pos()), s.Sel.Name)
				}
				return true
			})
			return nil
		})
		must(t, err)
	}
	if files < 20 {
		t.Fatalf("only %d files were checked", files)
	}
}

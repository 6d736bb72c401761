package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// commandLine matches a command in the documentation: alone on its line, after
// a prompt, or in backquotes.
var commandLine = regexp.MustCompile("(?m)^(?:\t|\\$ (?:[^`\n]* -- |docker [^`\n]* /)?)sharedseg ([^\n#]*)|`sharedseg ([^`]*)`")

// TestDocumentedCommands checks that the commands in the documentation exist,
// with their flags and arguments.
func TestDocumentedCommands(t *testing.T) {
	found := 0
	for _, page := range []string{"README.md", filepath.Join("docs", "operations.md")} {
		text, err := os.ReadFile(filepath.Join("..", "..", page))
		must(t, err)
		for _, m := range commandLine.FindAllStringSubmatch(string(text), -1) {
			line, _, _ := strings.Cut(m[1]+m[2], "|")
			args := strings.Fields(line)
			found++
			ok := false
			for _, cmd := range commands() {
				if cmd.name == args[0] {
					ok = true
					if err := cmd.parse(new(call), args[1:]); err != nil {
						t.Errorf("%s: sharedseg %s: %v", page, line, err)
					}
				}
			}
			if !ok {
				t.Errorf("%s: unknown command: sharedseg %s", page, line)
			}
		}
	}
	if found < 30 {
		t.Errorf("the documentation shows only %d commands", found)
	}
}

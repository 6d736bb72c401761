package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/sharedseg/sharedseg/codec"
	"github.com/sharedseg/sharedseg/internal/proctest"
)

// shell runs a script in a shell in which sharedseg is this command.
func shell(t *testing.T, sh, script string) string {
	t.Helper()
	path, err := exec.LookPath(sh)
	if runtime.GOOS == "windows" || err != nil && sh != "bash" {
		t.Skipf("%s is not installed: %v", sh, err)
	}
	must(t, err)
	dir := proctest.TempDir(t)
	exe, err := os.Executable()
	must(t, err)
	program := filepath.Join(dir, "sharedseg")
	tool := "#!/bin/sh\nSHAREDSEG_TEST_ROLE=tool exec " + emulator() + "'" + exe + "' \"$@\"\n"
	must(t, os.WriteFile(program, []byte(tool), 0o700))
	cmd := exec.Command(path, "-c", script)
	cmd.Env = append(os.Environ(), "PATH="+dir+":"+os.Getenv("PATH"), "HOME="+dir)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Errorf("%s: %v\n%s", sh, err, out)
	}
	return string(out)
}

// emulator returns the program that runs the test binary, if there is one.
func emulator() string {
	if e := os.Getenv("SHAREDSEG_TEST_EMULATOR"); e != "" {
		return e + " "
	}
	return ""
}

func TestBashCompletion(t *testing.T) {
	dir := proctest.TempDir(t)
	open(t, "apple", dir, codec.String(), "")
	open(t, "apricot", dir, codec.String(), "")
	open(t, "banana", dir, codec.String(), "")
	script := works(t, "completion", "bash")
	file := filepath.Join(proctest.TempDir(t), "script")
	must(t, os.WriteFile(file, []byte(script), 0o600))
	if out := shell(t, "bash", "bash -n "+file); out != "" {
		t.Error(out)
	}
	complete := func(words ...string) []string {
		t.Helper()
		quoted := "'" + strings.Join(words, "' '") + "'"
		out := shell(t, "bash", "source "+file+"; COMP_WORDS=("+quoted+"); COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); _sharedseg; printf '%s\\n' \"${COMPREPLY[@]}\"")
		return strings.Fields(out)
	}
	for _, c := range []struct{ words, want []string }{
		{[]string{"sharedseg", "s"}, []string{"set", "stat", "sweep"}},
		{[]string{"sharedseg", "get", "-dir", dir, "ap"}, []string{"apple", "apricot"}},
		{[]string{"sharedseg", "stat", "-dir", dir, "apple", "b"}, []string{"banana"}},
		{[]string{"sharedseg", "ls", "-dir", dir, "ap"}, nil},
		{[]string{"sharedseg", "watch", "-"}, []string{"-dir", "-global", "-json", "-n"}},
		{[]string{"sharedseg", "completion", ""}, []string{"bash", "fish", "zsh"}},
		{[]string{"sharedseg", "rm", "-dir", filepath.Dir(dir) + "/" + filepath.Base(dir)[:len(filepath.Base(dir))-1]}, []string{dir}},
	} {
		got := complete(c.words...)
		slices.Sort(got)
		if !slices.Equal(got, c.want) {
			t.Errorf("%q: %q, want %q", c.words, got, c.want)
		}
	}
}

// The other shells, where they are installed, parse and run their scripts.
func TestOtherCompletions(t *testing.T) {
	for _, sh := range []string{"zsh", "fish"} {
		t.Run(sh, func(t *testing.T) {
			script := works(t, "completion", sh)
			file := filepath.Join(proctest.TempDir(t), "script")
			must(t, os.WriteFile(file, []byte(script), 0o600))
			if out := shell(t, sh, sh+" -n "+file); out != "" {
				t.Error(out)
			}
		})
	}
	dir := proctest.TempDir(t)
	open(t, "apple", dir, codec.String(), "")
	open(t, "banana", dir, codec.String(), "")
	t.Run("fish completes", func(t *testing.T) {
		out := shell(t, "fish", "sharedseg completion fish | source; complete -C 'sharedseg get -dir "+dir+" ap'; complete -C 'sharedseg sw'; complete -C 'sharedseg sweep -'; complete -C 'sharedseg ls -g'")
		want := "apple sweep remove the names that killed processes left behind" +
			" -dir use the names in a directory" +
			` -global on Windows, use the names of all sessions, Global\` +
			" -json write one JSON object per line" +
			" -n show what would be removed, and remove nothing" +
			` -global on Windows, use the names of all sessions, Global\`
		if got := strings.Join(strings.Fields(out), " "); got != want {
			t.Errorf("%q", got)
		}
	})
	t.Run("zsh completes", func(t *testing.T) {
		out := shell(t, "zsh", `compdef() { :; }; compadd() { print -l -- ${@:2}; }; _describe() { print -l -- ${(P)2}; }
source <(sharedseg completion zsh)
words=(sharedseg get -dir `+dir+` ap); CURRENT=5; _sharedseg
words=(sharedseg sw); CURRENT=2; _sharedseg`)
		if got := strings.Join(strings.Fields(out), " "); !strings.HasPrefix(got, "apple banana ls:list") {
			t.Errorf("%q", got)
		}
	})
}

package main

import (
	"bytes"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sharedseg/sharedseg/internal/proctest"
)

// lineBuffer is a bytes.Buffer that can be read while another goroutine writes.
type lineBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *lineBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *lineBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// await waits for a text, and removes everything up to its end.
func (b *lineBuffer) await(t *testing.T, text string) {
	t.Helper()
	for start := time.Now(); ; time.Sleep(time.Millisecond) {
		b.mu.Lock()
		i := bytes.Index(b.b.Bytes(), []byte(text))
		if i >= 0 {
			b.b.Next(i + len(text))
		}
		b.mu.Unlock()
		if i >= 0 {
			return
		}
		if time.Since(start) > proctest.Patience {
			t.Fatalf("%q was not written; the output is %q", text, b.String())
		}
	}
}

func TestSafe(t *testing.T) {
	for in, want := range map[string]string{
		"tea":                  "tea",
		"Tee, größer 茶 🍵":      "Tee, größer 茶 🍵",
		"\x1b[2J":              `\x1b[2J`,
		"a\nb\r\t\x00":         `a\nb\r\t\x00`,
		"\u009b2J":             `\u009b2J`,
		"\x9b2J":               `\x9b2J`,
		"\u202egnp.exe\u2066":  `\u202egnp.exe\u2066`,
		"\U000e0041":           `\U000e0041`,
		"a\u00a0b":             `a\u00a0b`,
		"\uFFFD":               "\uFFFD",
		"\x7f":                 `\x7f`,
		"\x1b]0;title\x07":     `\x1b]0;title\a`,
		"\x1bP+q544e\x1b\\":    `\x1bP+q544e\x1b\`,
		strings.Repeat("x", 9): "xxxxxxxxx",
	} {
		if got := safe(in); got != want {
			t.Errorf("safe(%q) = %q, want %q", in, got, want)
		}
		harmless(t, safe(in))
	}
	if got := string(safeJSON([]byte("\"\x7f\u009b\U000e0041\xff茶\"\n"))); got != `"\u007f\u009b\udb40\udc41\ufffd茶"`+"\n" {
		t.Error(got)
	}
}

func TestCut(t *testing.T) {
	for _, c := range []struct {
		text  string
		width int
		want  string
	}{
		{"tea", 3, "tea"}, {"milk", 3, "mi…"}, {"茶茶", 4, "茶茶"}, {"茶茶", 3, "茶…"}, {"茶茶", 2, "…"}, {"e\u0301e\u0301e\u0301", 3, "e\u0301e\u0301e\u0301"},
		{"größer", 4, "grö…"}, {"", 0, ""}, {"x", 0, "…"},
	} {
		if got := cut(c.text, c.width); got != c.want {
			t.Errorf("cut(%q, %d) = %q, want %q", c.text, c.width, got, c.want)
		}
	}
}

func TestTable(t *testing.T) {
	var b bytes.Buffer
	o := newOutput(&b)
	o.table([][]string{{"NAME", "N", "TYPE"}, {"tea", "7", "string"}, {"茶", "4096", "\x1b[2J"}, {"a longer one", "-", ""}})
	o.width = 12
	o.line("cut at twelve columns")
	o.flush()
	want := "NAME             N  TYPE\ntea              7  string\n茶            4096  \\x1b[2J\na longer one     -\ncut at twel…\n"
	if b.String() != want {
		t.Errorf("%s\nwant\n%s", b.String(), want)
	}
}

func TestSize(t *testing.T) {
	for n, want := range map[int64]string{0: "0", 10239: "10239", 10240: "10.0K", 1 << 20: "1.0M", 1023 << 10: "1.0M", 3 << 30: "3.0G", 1<<63 - 1: "8.0E"} {
		if got := size(n); got != want {
			t.Errorf("size(%d) = %s, want %s", n, got, want)
		}
	}
}

package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"
)

// output is the output of a command. It contains only printable characters and
// its own line breaks, whatever is written to it, except by get -raw.
type output struct {
	w     *bufio.Writer
	file  *os.File // nil if the output is not a file
	width int      // of the terminal, in columns; 0 if the output is not a terminal
}

func newOutput(w io.Writer) *output {
	o := &output{w: bufio.NewWriter(w)}
	if f, ok := w.(*os.File); ok {
		o.file = f
		o.width, _, _ = terminalSize(f)
	}
	return o
}

func (o *output) flush() error { return o.w.Flush() }

// line writes a line, cut at the terminal's width.
func (o *output) line(text string) {
	text = safe(text)
	if o.width > 0 {
		text = cut(text, o.width)
	}
	o.w.WriteString(text)
	o.w.WriteByte('\n')
}

func (o *output) linef(format string, args ...any) { o.line(fmt.Sprintf(format, args...)) }

// table writes rows with aligned columns. Columns of numbers are aligned to the
// right.
func (o *output) table(rows [][]string) {
	var widths []int
	for i, row := range rows {
		for k, cell := range row {
			rows[i][k] = safe(cell)
			if k == len(widths) {
				widths = append(widths, 0)
			}
			if k < len(row)-1 {
				widths[k] = max(widths[k], columns(rows[i][k]))
			}
		}
	}
	text := make([]bool, len(widths))
	for _, row := range rows[min(1, len(rows)):] {
		for k, cell := range row {
			text[k] = text[k] || cell != "-" && strings.Trim(cell, "0123456789.KMGTPE") != "" || cell == ""
		}
	}
	for _, row := range rows {
		var line strings.Builder
		for k, cell := range row {
			if k > 0 {
				line.WriteString("  ")
			}
			space := strings.Repeat(" ", max(widths[k]-columns(cell), 0))
			switch {
			case k == len(row)-1:
				line.WriteString(cell)
			case !text[k]:
				line.WriteString(space + cell)
			default:
				line.WriteString(cell + space)
			}
		}
		o.line(strings.TrimRight(line.String(), " "))
	}
}

// object writes one JSON object, on one line.
func (o *output) object(v any) error {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return err
	}
	o.w.Write(safeJSON(b.Bytes()))
	return nil
}

// safe returns text with each unprintable character replaced by a Go escape
// sequence, so that a terminal does not interpret it.
func safe(text string) string {
	plain := true
	for _, r := range text {
		if r == utf8.RuneError || !unicode.IsPrint(r) {
			plain = false
			break
		}
	}
	if plain {
		return text
	}
	b := make([]byte, 0, len(text)+16)
	for len(text) > 0 {
		r, n := utf8.DecodeRuneInString(text)
		if r != utf8.RuneError && unicode.IsPrint(r) {
			b = append(b, text[:n]...)
		} else {
			q := strconv.Quote(text[:n])
			b = append(b, q[1:len(q)-1]...)
		}
		text = text[n:]
	}
	return string(b)
}

// safeJSON escapes the unprintable characters of JSON, some of which
// encoding/json does not escape. It keeps line breaks, which occur only between
// values.
func safeJSON(text []byte) []byte {
	b := make([]byte, 0, len(text))
	for len(text) > 0 {
		r, n := utf8.DecodeRune(text)
		switch {
		case r == utf8.RuneError:
			b = append(b, `\ufffd`...)
		case unicode.IsPrint(r) || r == '\n':
			b = append(b, text[:n]...)
		case r < 0x10000:
			b = fmt.Appendf(b, `\u%04x`, r)
		default:
			high, low := utf16.EncodeRune(r)
			b = fmt.Appendf(b, `\u%04x\u%04x`, high, low)
		}
		text = text[n:]
	}
	return b
}

// cut cuts text to a number of columns. text must be safe.
func cut(text string, width int) string {
	if len(text) <= width || columns(text) <= width {
		return text
	}
	at, used := 0, 0
	for i, r := range text {
		if w := runeColumns(r); used+w > width-1 {
			break
		} else {
			used += w
		}
		at = i + utf8.RuneLen(r)
	}
	return text[:at] + "…"
}

// columns returns how many columns of a terminal text takes. text must be safe.
func columns(text string) (n int) {
	for _, r := range text {
		n += runeColumns(r)
	}
	return n
}

// runeColumns returns how many columns a printable character takes. The ranges
// contain almost all characters that take two, by Unicode's East Asian Width.
func runeColumns(r rune) int {
	switch {
	case r < 0x300:
		return 1
	case unicode.In(r, unicode.Mn, unicode.Me):
		return 0
	case 0x1100 <= r && r <= 0x115F, 0x2E80 <= r && r <= 0x303E, 0x3041 <= r && r <= 0xA4CF, 0xA960 <= r && r <= 0xA97C, 0xAC00 <= r && r <= 0xD7A3,
		0xF900 <= r && r <= 0xFAFF, 0xFE30 <= r && r <= 0xFE6F, 0xFF01 <= r && r <= 0xFF60, 0xFFE0 <= r && r <= 0xFFE6,
		0x1F300 <= r && r <= 0x1F64F, 0x1F680 <= r && r <= 0x1F6FF, 0x1F900 <= r && r <= 0x1FAFF, 0x20000 <= r && r <= 0x3FFFD:
		return 2
	}
	return 1
}

// size formats a number of bytes for people.
func size(n int64) string {
	if n < 10<<10 {
		return strconv.FormatInt(n, 10)
	}
	f := float64(n)
	for _, unit := range []string{"K", "M", "G", "T", "P"} {
		if f /= 1024; f < 1000 {
			return strconv.FormatFloat(f, 'f', 1, 64) + unit
		}
	}
	return strconv.FormatFloat(f/1024, 'f', 1, 64) + "E"
}

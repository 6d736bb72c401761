package main

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/sharedseg/sharedseg/codec"
	"github.com/sharedseg/sharedseg/internal/fixed"
)

// value is an encoded value. Its type is known only by the ID of its codec.
type value struct {
	codec string
	b     []byte
}

// The IDs of codecs whose values are shown decoded.
var (
	idString = codec.String().ID()
	idUTF16  = codec.UTF16().ID()
	idJSON   = codec.JSON[any]().ID()
	idBytes  = codec.Bytes().ID()
)

// text returns the value as a string. ok is false if the codec is not one for
// strings.
func (v value) text() (text string, ok bool) {
	switch v.codec {
	case idString:
		return string(v.b), true
	case idUTF16:
		err := codec.UTF16().Decode(v.b, &text)
		return text, err == nil
	}
	return "", false
}

// fixed returns the value as one of codec.Fixed. ok is false if the ID is not
// one of codec.Fixed, or if the value does not have its size.
func (v value) fixed() (f fixed.Value, ok bool) {
	if !strings.HasPrefix(v.codec, fixed.Prefix) {
		return f, false
	}
	l, err := fixed.Parse(v.codec)
	if err == nil {
		f, err = l.Value(v.b)
	}
	return f, err == nil
}

func (v value) isJSON() bool { return v.codec == idJSON && json.Valid(v.b) }

// inline returns the value on one line: a string quoted, JSON unchanged, a
// struct field by field, and any other value in hexadecimal. If the value is
// long, inline returns its beginning, of at least limit bytes.
func (v value) inline(limit int) string {
	if text, ok := v.text(); ok {
		return strconv.Quote(beginning(text, limit))
	}
	if f, ok := v.fixed(); ok {
		return string(f.AppendText(nil, limit))
	}
	if v.isJSON() {
		var b bytes.Buffer
		json.Compact(&b, v.b)
		return beginning(b.String(), limit)
	}
	return "0x" + hex.EncodeToString(v.b[:min(len(v.b), limit)])
}

func beginning(text string, limit int) string {
	for limit < len(text) && !utf8.RuneStart(text[limit]) {
		limit++
	}
	return text[:min(len(text), limit)]
}

// valueJSON is a value as -json writes it: Value if it can be written as JSON,
// otherwise Bytes.
type valueJSON struct {
	Value json.RawMessage `json:"value,omitempty"`
	Bytes []byte          `json:"bytes,omitzero"` // in base64
}

func (v value) toJSON() valueJSON {
	if text, ok := v.text(); ok && utf8.ValidString(text) {
		b, _ := json.Marshal(text)
		return valueJSON{Value: b}
	}
	if f, ok := v.fixed(); ok {
		return valueJSON{Value: f.AppendJSON(nil)}
	}
	if v.isJSON() {
		return valueJSON{Value: v.b}
	}
	return valueJSON{Bytes: append([]byte{}, v.b...)} // not nil, which would be left out
}

// show writes the value: a struct field by field, JSON indented, and bytes as
// hexdump does.
func (v value) show(o *output) {
	if text, ok := v.text(); ok {
		o.line(strconv.Quote(text))
		return
	}
	if f, ok := v.fixed(); ok {
		showFixed(o, f)
		return
	}
	if v.isJSON() {
		var b bytes.Buffer
		json.Indent(&b, v.b, "", "  ")
		for line := range bytes.Lines(safeJSON(b.Bytes())) {
			o.line(string(bytes.TrimSuffix(line, []byte("\n"))))
		}
		return
	}
	for line := range strings.Lines(hex.Dump(v.b)) {
		o.line(strings.TrimSuffix(line, "\n"))
	}
}

func showFixed(o *output, f fixed.Value) {
	const batch = 1000 // rows that are aligned together; a value can have billions
	var rows [][]string
	for path, leaf := range f.Leaves() {
		if path == "" {
			o.line(inlineFixed(o, leaf))
			return
		}
		if rows = append(rows, []string{path, inlineFixed(o, leaf)}); len(rows) == batch {
			o.fields(rows)
			rows = rows[:0]
		}
	}
	o.fields(rows)
}

func inlineFixed(o *output, f fixed.Value) string {
	return string(f.AppendText(nil, o.limit()))
}

// field returns the part of the value at path: of a struct, an array, or JSON.
func (v value) field(path string) (part, error) {
	if f, ok := v.fixed(); ok {
		f, err := f.At(path)
		return part{fixed: f}, err
	}
	if !v.isJSON() {
		return part{}, fmt.Errorf("a value of codec %.60q has no fields", v.codec)
	}
	d := json.NewDecoder(bytes.NewReader(v.b))
	d.UseNumber()
	var doc any
	if err := d.Decode(&doc); err != nil {
		return part{}, err
	}
	for _, name := range splitPath(path) {
		switch x := doc.(type) {
		case map[string]any:
			next, ok := x[name]
			if !ok {
				return part{}, fmt.Errorf("no field %q", path)
			}
			doc = next
		case []any:
			i, err := strconv.Atoi(name)
			if err != nil || i < 0 || i >= len(x) {
				return part{}, fmt.Errorf("no element %q: there are %d elements, counted from 0", path, len(x))
			}
			doc = x[i]
		default:
			return part{}, fmt.Errorf("no field %q", path)
		}
	}
	b, err := json.Marshal(doc)
	return part{json: b}, err
}

// splitPath splits A.B[3] into A, B and 3.
func splitPath(path string) []string {
	return strings.FieldsFunc(path, func(r rune) bool { return r == '.' || r == '[' || r == ']' })
}

// part is a field of a value.
type part struct {
	fixed fixed.Value
	json  []byte // not nil if the value is JSON
}

func (p part) inline(o *output) string {
	if p.json != nil {
		return string(p.json)
	}
	return inlineFixed(o, p.fixed)
}

func (p part) toJSON() json.RawMessage {
	if p.json != nil {
		return p.json
	}
	return p.fixed.AppendJSON(nil)
}

// limit returns how many bytes of a value are worth formatting.
func (o *output) limit() int {
	if o.width > 0 {
		return 4 * o.width
	}
	return 1 << 30
}

// fields writes names and values in two columns.
func (o *output) fields(rows [][]string) {
	width := 0
	for _, row := range rows {
		width = max(width, columns(row[0]))
	}
	for _, row := range rows {
		o.line(row[0] + strings.Repeat(" ", width-columns(row[0])+2) + row[1])
	}
}

var errNotUTF8 = errors.New("the value is not valid UTF-8")

// encode encodes a value that a user wrote. old is the encoding of the value
// that it replaces.
func encode(id string, old []byte, args []string) ([]byte, error) {
	if strings.HasPrefix(id, fixed.Prefix) {
		return encodeFixed(id, old, args)
	}
	if len(args) != 1 {
		return nil, usageError(fmt.Sprintf("a value of codec %.60q must be one argument", id))
	}
	text := args[0]
	switch id {
	case idString:
		if !utf8.ValidString(text) {
			return nil, errNotUTF8
		}
		return []byte(text), nil
	case idUTF16:
		return codec.UTF16().Append(nil, text)
	case idJSON:
		if !utf8.ValidString(text) {
			return nil, errNotUTF8
		}
		var b bytes.Buffer
		if err := json.Compact(&b, []byte(text)); err != nil {
			return nil, fmt.Errorf("the value is not JSON: %w; a JSON string needs its own quotes, as in '\"tea\"'", err)
		}
		var escaped bytes.Buffer
		json.HTMLEscape(&escaped, b.Bytes())
		return escaped.Bytes(), nil
	case idBytes:
		digits, ok := strings.CutPrefix(text, "0x")
		b, err := hex.DecodeString(digits)
		if !ok || err != nil {
			return nil, errors.New("bytes must be written in hexadecimal, as in 0x00ff")
		}
		return b, nil
	}
	return nil, fmt.Errorf("it has the codec %.60q: only strings, JSON, bytes and codec.Fixed can be set", id)
}

// encodeFixed changes the fields that the arguments name, each as FIELD=VALUE,
// or the whole value.
func encodeFixed(id string, old []byte, args []string) ([]byte, error) {
	l, err := fixed.Parse(id)
	if err != nil {
		return nil, err
	}
	if len(old) == 0 { // nothing was stored yet
		if l.Type.Size > 1<<30 {
			return nil, errors.New("nothing was stored yet, and the type is too large for set to create a value")
		}
		old = make([]byte, l.Type.Size)
	}
	v, err := l.Value(old)
	if err != nil {
		return nil, err
	}
	for _, arg := range args {
		path, text, named := strings.Cut(arg, "=")
		switch {
		case named && v.Type().Kind == reflect.Struct || named && strings.HasPrefix(path, "["):
		case len(args) == 1 && (v.Type().Kind != reflect.Struct || strings.HasPrefix(arg, "{")):
			path, text = "", arg
		default:
			return nil, usageError(fmt.Sprintf("%q is not FIELD=VALUE", arg))
		}
		part, err := v.At(path)
		if err == nil {
			err = part.Set(text)
		}
		if err != nil {
			if path == "" {
				return nil, err
			}
			return nil, fmt.Errorf("%s: %w", path, err)
		}
	}
	return old, nil
}

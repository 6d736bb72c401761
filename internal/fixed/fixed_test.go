package fixed_test

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"reflect"
	"strings"
	"testing"
	"unicode"

	"github.com/google/go-cmp/cmp"
	"github.com/sharedseg/sharedseg/codec"
	"github.com/sharedseg/sharedseg/internal/fixed"
	"github.com/sharedseg/sharedseg/internal/proctest"
)

type inner struct {
	On  bool
	_   [3]uint8
	Pos [2]float32
}

type everything struct {
	I8  int8
	_   [1]byte
	I16 int16
	I32 int32
	I64 int64
	U8  uint8
	U16 uint16
	U32 uint32
	U64 uint64
	F32 float32
	F64 float64
	C64 complex64
	C   complex128
	B   bool
	T   [12]byte
	In  inner
	Ins [2]inner
	M   [2][3]int16
	Ünï uint8
}

var sample = everything{
	I8: -1, I16: math.MinInt16, I32: -7, I64: math.MinInt64, U8: 200, U16: math.MaxUint16, U32: 1 << 31, U64: math.MaxUint64,
	F32: 1.5, F64: math.Pi, C64: 1 + 2i, C: 3 - 1i, B: true, T: [12]byte{'t', 'e', 'a', '\n'},
	In: inner{On: true, Pos: [2]float32{1, 2}}, Ins: [2]inner{1: {Pos: [2]float32{3, float32(math.Inf(1))}}},
	M: [2][3]int16{{1, 2, 3}, {4, 5, -6}}, Ünï: 9,
}

var must = proctest.Must

// describe returns v as a Value, according to the ID of its codec.
func describe[T any](t testing.TB, v T) fixed.Value {
	t.Helper()
	c := codec.Fixed[T]()
	l, err := fixed.Parse(c.ID())
	must(t, err)
	b, err := c.Append(nil, v)
	must(t, err)
	value, err := l.Value(b)
	must(t, err)
	return value
}

func text(v fixed.Value) string { return string(v.AppendText(nil, 1<<20)) }

// The layout in an ID is that of the compiler.
func TestLayoutIsTheCompilers(t *testing.T) {
	l, err := fixed.Parse(codec.Fixed[everything]().ID())
	must(t, err)
	var check func(path string, got *fixed.Type, want reflect.Type)
	check = func(path string, got *fixed.Type, want reflect.Type) {
		if got.Size != int64(want.Size()) || got.Kind != want.Kind() {
			t.Errorf("%s is a %v of %d bytes, want a %v of %d", path, got.Kind, got.Size, want.Kind(), want.Size())
		}
		switch want.Kind() {
		case reflect.Array:
			if got.Len != int64(want.Len()) {
				t.Errorf("%s has %d elements, want %d", path, got.Len, want.Len())
			}
			check(path+"[]", got.Elem, want.Elem())
		case reflect.Struct:
			fields := got.Fields
			for i := range want.NumField() {
				f := want.Field(i)
				if f.Name == "_" {
					continue
				}
				if fields[0].Name != f.Name || fields[0].Offset != int64(f.Offset) {
					t.Errorf("%s is at %d, want %s at %d", fields[0].Name, fields[0].Offset, f.Name, f.Offset)
				}
				check(path+"."+f.Name, fields[0].Type, f.Type)
				fields = fields[1:]
			}
		}
	}
	check("everything", l.Type, reflect.TypeFor[everything]())
}

func TestText(t *testing.T) {
	v := describe(t, sample)
	var got strings.Builder
	for path, leaf := range v.Leaves() {
		again, err := v.At(path)
		must(t, err)
		if text(again) != text(leaf) {
			t.Errorf("At(%s) is %s, not %s", path, text(again), text(leaf))
		}
		fmt.Fprintf(&got, "%s %s\n", path, text(leaf))
	}
	want := `I8 -1
I16 -32768
I32 -7
I64 -9223372036854775808
U8 200
U16 65535
U32 2147483648
U64 18446744073709551615
F32 1.5
F64 3.141592653589793
C64 (1+2i)
C (3-1i)
B true
T "tea\n"
In.On true
In.Pos [1 2]
Ins[0].On false
Ins[0].Pos [0 0]
Ins[1].On false
Ins[1].Pos [3 +Inf]
M [[1 2 3] [4 5 -6]]
Ünï 9
`
	if diff := cmp.Diff(want, got.String()); diff != "" {
		t.Error(diff)
	}
	for path, want := range map[string]string{
		"In": "{On true, Pos [1 2]}", "Ins[1].Pos[0]": "3", "M[1]": "[4 5 -6]", "M[1][2]": "-6", "T[0]": "116", "In.On": "true",
	} {
		part, err := v.At(path)
		if err != nil || text(part) != want {
			t.Errorf("%s is %s, %v; want %s", path, text(part), err, want)
		}
	}
	for _, path := range []string{"In.Off", "in", ".In", "In.", "In[0]", "I8.X", "M[2]", "M[-1]", "M[", "M[1", "M[]", "M[x]", "M[1]x", "_", "In..On", "[0]"} {
		if part, err := v.At(path); err == nil {
			t.Errorf("%s is %s", path, text(part))
		}
	}
	all := text(v)
	for limit := range len(all) + 2 {
		if got := string(v.AppendText(nil, limit)); len(got) > limit+60 || limit > len(all) && got != all {
			t.Errorf("up to %d bytes it is %s", limit, got)
		}
	}
}

// encoding/json reads the JSON of a value into the same type.
func TestJSON(t *testing.T) {
	finite := sample
	finite.Ins[1].Pos[1], finite.C64, finite.C = 0, 0, 0
	var got struct {
		everything
		C64, C any // arrays in JSON
	}
	b := describe(t, finite).AppendJSON(nil)
	if err := json.Unmarshal(b, &got); err != nil || got.everything != finite {
		t.Errorf("%v: %s\nis %+v", err, b, got)
	}
	odd := describe(t, [4]float64{math.NaN(), math.Inf(1), math.Inf(-1), 1e300})
	if got := string(odd.AppendJSON(nil)); got != `["NaN","+Inf","-Inf",1e+300]` {
		t.Error(got)
	}
	if got := string(describe(t, struct{ C complex64 }{2 - 1i}).AppendJSON(nil)); got != `{"C":[2,-1]}` {
		t.Error(got)
	}
}

// Set accepts the text and the JSON of a value.
func TestSet(t *testing.T) {
	v, zero := describe(t, sample), describe(t, everything{})
	must(t, zero.Set(string(v.AppendJSON(nil))))
	if got, want := text(zero), text(v); got != want {
		t.Errorf("from JSON it is\n%s\nwant\n%s", got, want)
	}
	fields := describe(t, everything{})
	for path, leaf := range v.Leaves() {
		part, err := fields.At(path)
		must(t, err)
		s := text(leaf)
		if leaf.Type().Kind == reflect.Array && !strings.HasPrefix(s, `"`) {
			s = string(leaf.AppendJSON(nil))
		}
		must(t, part.Set(s))
	}
	if got, want := text(fields), text(v); got != want {
		t.Errorf("field by field it is\n%s\nwant\n%s", got, want)
	}
	for _, c := range []struct{ path, text, want string }{
		{"U16", "0xFF", "255"}, {"F64", "NaN", "NaN"}, {"B", "0", "false"}, {"T", `"milk"`, `"milk"`}, {"T", `""`, "[0 0 0 0 0 0 0 0 0 0 0 0]"},
		{"In", `{"On": false}`, "{On false, Pos [1 2]}"}, {"C", "[1, 2]", "(1+2i)"}, {"C64", "3i", "(0+3i)"}, {"M[0]", "[7,8,9]", "[7 8 9]"},
	} {
		part, err := v.At(c.path)
		must(t, err)
		if c.path == "C" { // a list is JSON, a scalar is in Go's syntax
			err = v.Set(`{"C": ` + c.text + `}`)
		} else {
			err = part.Set(c.text)
		}
		if err != nil || text(part) != c.want {
			t.Errorf("set %s to %s: it is %s, %v", c.path, c.text, text(part), err)
		}
	}
	for _, c := range [][2]string{
		{"U8", "256"}, {"U8", "-1"}, {"I8", "128"}, {"I8", ""}, {"U8", "1.5"}, {"F32", "1e100"}, {"F64", "tea"}, {"B", "2"}, {"B", ""},
		{"T", `"more than twelve"`}, {"T", "tea"}, {"M[0]", "[1,2]"}, {"M[0]", "[1,2,3,4]"}, {"M[0]", "[1,2,3] 4"}, {"M", "[1,2]"},
		{"In", `{"Off": true}`}, {"In", "null"}, {"In", `{"On": null}`}, {"In", "7"}, {"In", `[1]`}, {"M[0]", `{"a":1}`}, {"C", "1+"},
		{"U64", "18446744073709551616"}, {"M[0]", "[1,2,70000]"}, {"In", `{"On.x": true}`}, {"In", `{"Pos[0]": [1,2]}`}, {"T", "\"\xff\""},
	} {
		part, err := v.At(c[0])
		must(t, err)
		if err := part.Set(c[1]); err == nil {
			t.Errorf("%s can be set to %s: it is %s", c[0], c[1], text(part))
		}
	}
}

// Numbers are read in the byte order of the ID, on any machine.
func TestByteOrders(t *testing.T) {
	for order, want := range map[string]string{"le": "{A 513, F 1, C (1+2i)}", "be": "{A 258, F 1, C (1+2i)}"} {
		l, err := fixed.Parse("fixed/" + order + ":{A uint16@0;F float32@4;C complex64@8}#16")
		must(t, err)
		b := make([]byte, 16)
		v, err := l.Value(b)
		must(t, err)
		must(t, v.Set(`{"F": 1, "C": [1, 2]}`))
		b[0], b[1] = 1, 2
		if got := text(v); got != want {
			t.Errorf("%s: %s, want %s", order, got, want)
		}
		if b[4] == 0 != (order == "le") {
			t.Errorf("%s: the float is % x", order, b[4:8])
		}
	}
}

func TestForeignBool(t *testing.T) {
	l, err := fixed.Parse("fixed/le:{B bool@0}#1")
	must(t, err)
	v, err := l.Value([]byte{7})
	must(t, err)
	if got := text(v) + string(v.AppendJSON(nil)); got != `{B 0x07}{"B":7}` {
		t.Error(got)
	}
	if _, err := l.Value([]byte{0, 0}); err == nil {
		t.Error("a value of one byte was made from two")
	}
}

func TestParseRefuses(t *testing.T) {
	for _, id := range []string{
		"", "json", "fixed/", "fixed/le", "fixed/le:", "fixed/me:int8", "fixed/le:int", "fixed/le:string", "fixed/le:int8 ", "fixed/le:[0]int8",
		"fixed/le:[]int8", "fixed/le:[1]", "fixed/le:[1", "fixed/le:[-1]int8", "fixed/le:[01]int8", "fixed/le:[99999999999999999999]int8",
		"fixed/le:[140737488355328][140737488355328]int8", "fixed/le:[140737488355328]int16", "fixed/le:{", "fixed/le:{}", "fixed/le:{}#", "fixed/le:{}#0",
		"fixed/le:{A int8}#1", "fixed/le:{A int8@}#1", "fixed/le:{A int8@1}#1", "fixed/le:{A int16@0;B int8@1}#4", "fixed/le:{A int8@0 B int8@1}#2",
		"fixed/le:{A int8@0;}#1", "fixed/le:{A int8@0;A int16@2}#4", "fixed/le:{1 int8@0}#1", "fixed/le:{a-b int8@0}#1", "fixed/le:{\x1b[2J int8@0}#1", "fixed/le:{func int8@0}#1",
		"fixed/le:" + strings.Repeat("[1]", 200) + "int8", "fixed/le:" + strings.Repeat("{A ", 1<<15), "fixed/le:" + strings.Repeat("A", 1<<16),
	} {
		if l, err := fixed.Parse(id); !errors.Is(err, fixed.ErrID) || l != nil {
			t.Errorf("%.60q is %v, %v", id, l, err)
		}
	}
	for _, id := range []string{"fixed/be:bool", "fixed/le:{}#8", "fixed/le:{_ [3]uint8@0}#3", "fixed/le:{A [140737488355328]int8@0}#140737488355328"} {
		if _, err := fixed.Parse(id); err != nil {
			t.Errorf("%s: %v", id, err)
		}
	}
}

// FuzzFixed shows values of arbitrary types, and sets each part to its own
// text.
func FuzzFixed(f *testing.F) {
	whole, err := codec.Fixed[everything]().Append(nil, sample)
	must(f, err)
	f.Add(codec.Fixed[everything]().ID(), whole, "In.Pos[1]", "[1,2]")
	f.Add("fixed/be:[2]{A uint16@0;F float32@4;C complex64@8}#16", bytes.Repeat([]byte{1, 2}, 16), "[1].C", `"x"`)
	f.Add("fixed/le:"+strings.Repeat("[1]", 200)+"int8", []byte{1}, "[0][0]", "null")
	f.Add("fixed/le:{A [140737488355328]int8@0}#140737488355328", []byte{1}, "A[9]", `{"A":[1]}`)
	f.Add("fixed/le:{}#8", make([]byte, 8), "", "{}")
	f.Fuzz(func(t *testing.T, id string, b []byte, path, set string) {
		l, err := fixed.Parse(id)
		if err != nil {
			if !errors.Is(err, fixed.ErrID) {
				t.Error(err)
			}
			return
		}
		if l.Type.Size <= 1<<16 { // all bytes of that size are a value
			b = append(b, make([]byte, l.Type.Size)...)[:l.Type.Size]
		}
		v, err := l.Value(b)
		if err != nil {
			return
		}
		shown := text(v)
		asJSON := v.AppendJSON(nil)
		if !json.Valid(asJSON) {
			t.Fatalf("this is not JSON: %s", asJSON)
		}
		for _, r := range shown {
			if !unicode.IsPrint(r) {
				t.Fatalf("a character that is not printable is shown: %q", shown)
			}
		}
		if n := len(v.AppendText(nil, 10)); n > 10+2*len(id)+len(b)*4+100 {
			t.Errorf("ten bytes are %d", n)
		}
		n := 0
		for p, leaf := range v.Leaves() {
			if n++; n > 100 {
				break
			}
			at, err := v.At(p)
			if err != nil {
				t.Fatalf("At(%s): %v", p, err)
			}
			if strings.Contains(text(leaf), "0x") || strings.Contains(text(leaf), "NaN") { // invalid bools, and NaNs of any bits
				continue
			}
			before := text(at)
			if err := at.Set(string(leaf.AppendJSON(nil))); err != nil && leaf.Type().Kind != reflect.Float32 && leaf.Type().Kind != reflect.Float64 &&
				leaf.Type().Kind != reflect.Complex64 && leaf.Type().Kind != reflect.Complex128 {
				t.Fatalf("%s cannot be set to what it is, %s: %v", p, leaf.AppendJSON(nil), err)
			}
			if text(at) != before {
				t.Fatalf("%s was %s and is set to %s", p, before, text(at))
			}
		}
		if part, err := v.At(path); err == nil {
			part.Set(set)
			text(part)
		}
	})
}

func TestNative(t *testing.T) {
	l, err := fixed.Parse(codec.Fixed[uint16]().ID())
	must(t, err)
	if want := binary.NativeEndian.Uint16([]byte{1, 0}) == 1; (l.Order == binary.LittleEndian) != want {
		t.Errorf("the order of this machine is %v", l.Order)
	}
}

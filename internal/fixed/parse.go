// Package fixed parses the IDs of codec.Fixed, which describe a type
// completely. So a program without the type can show and change a value field
// by field. IDs and values are untrusted.
package fixed

import (
	"encoding/binary"
	"errors"
	"fmt"
	"go/token"
	"reflect"
	"strconv"
	"strings"
)

// Prefix is the beginning of every ID.
const Prefix = "fixed/"

// maxDepth limits how deep types can be nested. Go programs are far below it.
const maxDepth = 100

// maxSize is the largest supported size of a value, in bytes: 2^47.
const maxSize = 1 << 47

// ErrID is wrapped by the errors of Parse.
var ErrID = errors.New("not an ID of codec.Fixed")

// Layout is the content of an ID: a type, and the byte order of its numbers.
type Layout struct {
	Order binary.ByteOrder
	Type  *Type
}

// Type is a number, a bool, or an array or struct of them.
type Type struct {
	Kind   reflect.Kind
	Size   int64   // in bytes, positive
	Elem   *Type   // of an array
	Len    int64   // of an array, positive
	Fields []Field // of a struct, in the order of their offsets, without blank fields
}

// Field is a field of a struct.
type Field struct {
	Name   string
	Offset int64 // from the start of the struct, in bytes
	Type   *Type
}

var scalars = map[string]*Type{}

func init() {
	for _, t := range []reflect.Type{
		reflect.TypeFor[bool](), reflect.TypeFor[int8](), reflect.TypeFor[int16](), reflect.TypeFor[int32](), reflect.TypeFor[int64](),
		reflect.TypeFor[uint8](), reflect.TypeFor[uint16](), reflect.TypeFor[uint32](), reflect.TypeFor[uint64](),
		reflect.TypeFor[float32](), reflect.TypeFor[float64](), reflect.TypeFor[complex64](), reflect.TypeFor[complex128](),
	} {
		scalars[t.Name()] = &Type{Kind: t.Kind(), Size: int64(t.Size())}
	}
}

// Parse parses an ID. The grammar is documented at codec.Fixed. Errors wrap
// ErrID.
func Parse(id string) (*Layout, error) {
	rest, ok := strings.CutPrefix(id, Prefix)
	l := &Layout{Order: binary.LittleEndian}
	switch {
	case ok && strings.HasPrefix(rest, "le:"):
	case ok && strings.HasPrefix(rest, "be:"):
		l.Order = binary.BigEndian
	default:
		return nil, fmt.Errorf("%w: it must begin with fixed/le: or fixed/be: and a type", ErrID)
	}
	p := parser{id: id, at: len(Prefix) + len("le:")}
	var err error
	if l.Type, err = p.parseType(0); err != nil {
		return nil, err
	}
	if p.at != len(id) {
		return nil, p.failed("unexpected text after the type")
	}
	return l, nil
}

// parser is a position in an ID.
type parser struct {
	id string
	at int
}

func (p *parser) failed(what string) error {
	return fmt.Errorf("%w: at byte %d: %s", ErrID, p.at, what)
}

// accept skips text and reports true, if text comes next.
func (p *parser) accept(text string) bool {
	if !strings.HasPrefix(p.id[p.at:], text) {
		return false
	}
	p.at += len(text)
	return true
}

// number parses a decimal number of at most maxSize, without leading zeros.
func (p *parser) number() (int64, error) {
	end := p.at
	for end < len(p.id) && '0' <= p.id[end] && p.id[end] <= '9' {
		end++
	}
	digits := p.id[p.at:end]
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil || n > maxSize || digits[0] == '0' && len(digits) > 1 {
		return 0, p.failed("a number is missing or too large")
	}
	p.at = end
	return n, nil
}

func (p *parser) parseType(depth int) (*Type, error) {
	switch {
	case depth > maxDepth:
		return nil, p.failed("types are nested too deep")
	case p.accept("["):
		return p.parseArray(depth)
	case p.accept("{"):
		return p.parseStruct(depth)
	}
	end := p.at
	for end < len(p.id) && ('a' <= p.id[end] && p.id[end] <= 'z' || '0' <= p.id[end] && p.id[end] <= '9') {
		end++
	}
	t := scalars[p.id[p.at:end]]
	if t == nil {
		return nil, p.failed("unknown type")
	}
	p.at = end
	return t, nil
}

// parseArray parses an array behind its opening bracket.
func (p *parser) parseArray(depth int) (*Type, error) {
	n, err := p.number()
	if err != nil {
		return nil, err
	}
	if !p.accept("]") || n == 0 {
		return nil, p.failed("invalid length of an array")
	}
	elem, err := p.parseType(depth + 1)
	if err != nil {
		return nil, err
	}
	if n > maxSize/elem.Size {
		return nil, p.failed("an array is too large")
	}
	return &Type{Kind: reflect.Array, Size: n * elem.Size, Elem: elem, Len: n}, nil
}

// parseStruct parses a struct behind its opening brace.
func (p *parser) parseStruct(depth int) (*Type, error) {
	t := &Type{Kind: reflect.Struct}
	names := map[string]bool{}
	end := int64(0) // of the last field
	for first := true; !p.accept("}#"); first = false {
		if !first && !p.accept(";") {
			return nil, p.failed("a struct does not end")
		}
		name, _, found := strings.Cut(p.id[p.at:], " ")
		if !found || !token.IsIdentifier(name) {
			return nil, p.failed("invalid name of a field")
		}
		if names[name] && name != "_" {
			return nil, p.failed("duplicate field")
		}
		names[name] = true
		p.at += len(name) + 1
		ft, err := p.parseType(depth + 1)
		if err != nil {
			return nil, err
		}
		if !p.accept("@") {
			return nil, p.failed("the offset of a field is missing")
		}
		off, err := p.number()
		if err != nil {
			return nil, err
		}
		if off < end {
			return nil, p.failed("fields overlap")
		}
		if end = off + ft.Size; name != "_" {
			t.Fields = append(t.Fields, Field{name, off, ft})
		}
	}
	size, err := p.number()
	if err != nil {
		return nil, err
	}
	if size < max(end, 1) {
		return nil, p.failed("a struct is smaller than its fields")
	}
	t.Size = size
	return t, nil
}

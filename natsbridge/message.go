package natsbridge

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/sharedseg/sharedseg"
	"github.com/sharedseg/sharedseg/codec"
)

// The headers of a message, whose data is the encoding. What is not printable
// ASCII in a codec's ID or a type is quoted, as by [strconv.Quote].
const (
	HeaderCodec    = "Sharedseg-Codec"    // the codec's ID
	HeaderType     = "Sharedseg-Type"     // the Go type, as the creator of the name called it
	HeaderOrder    = "Sharedseg-Order"    // the byte order of the machine, "le" or "be"
	HeaderCapacity = "Sharedseg-Capacity" // bytes of the largest encoding
	HeaderOrigin   = "Sharedseg-Origin"   // of a value: a random number of the bridge's host, segment and key
)

// A label is what a message says of its encoding.
type label struct {
	codec, typ, order string
	capacity          int
}

func labelOf(info *sharedseg.Info) label {
	l := label{codec: info.Codec, typ: info.Type, order: order, capacity: int(info.Capacity)}
	if l.typ == "[]uint8" && l.codec != codec.Bytes().ID() {
		l.typ = "" // a bridge created it
	}
	return l
}

// order is the byte order of this machine.
var order = func() string {
	if bytes.Equal(binary.NativeEndian.AppendUint16(nil, 1), []byte{1, 0}) {
		return "le"
	}
	return "be"
}()

func (l *label) header() nats.Header {
	return nats.Header{
		HeaderCodec:    {quote(l.codec)},
		HeaderType:     {quote(l.typ)},
		HeaderOrder:    {l.order},
		HeaderCapacity: {strconv.Itoa(l.capacity)},
	}
}

// readLabel returns the label of a message; for one that has none, as others
// than bridges publish, that of the codec with the ID assumed.
func readLabel(h nats.Header, assumed string) (l label, err error) {
	id := h.Get(HeaderCodec)
	if id == "" {
		if assumed == "" {
			return l, incompatible("a value has no header %s: it was not published by a bridge; set Codec in the options to the ID that such values have", HeaderCodec)
		}
		return label{codec: assumed, order: order}, nil
	}
	l.order = h.Get(HeaderOrder)
	if l.codec, err = unquote(id); err == nil {
		l.typ, err = unquote(h.Get(HeaderType))
	}
	if s := h.Get(HeaderCapacity); err == nil && s != "" {
		l.capacity, err = strconv.Atoi(s)
		if l.capacity < 0 {
			err = strconv.ErrRange
		}
	}
	if err != nil {
		return l, incompatible("a value has headers that no bridge writes: %v", err)
	}
	return l, nil
}

// check returns nil if an encoding with label l is one for a segment or queue
// with label to. where says where l was found.
func (l *label) check(where string, to *label) error {
	switch {
	case l.codec != to.codec:
		return incompatible("%s has values of codec %s, here it is %s", where, l, to)
	case l.order != to.order && !neutral(l.codec):
		return incompatible("%s has values of byte order %q, here it is %q, and codec %q is not known to be the same in both",
			where, l.order, to.order, l.codec)
	}
	return nil
}

// neutral reports whether a codec has the same encodings on all machines. The
// IDs of codec.Fixed have the byte order in them.
func neutral(id string) bool {
	switch id {
	case codec.JSON[any]().ID(), codec.Gob[any]().ID(), codec.String().ID(), codec.UTF16().ID(), codec.Bytes().ID():
		return true
	}
	return strings.HasPrefix(id, "fixed/")
}

func (l *label) String() string {
	if l.typ == "" {
		return strconv.Quote(l.codec)
	}
	return fmt.Sprintf("%q (%s)", l.codec, l.typ)
}

func quote(s string) string {
	for i := range len(s) {
		if c := s[i]; c <= ' ' && (c < ' ' || i == 0 || i == len(s)-1) || c > '~' || c == '"' && i == 0 {
			return strconv.Quote(s)
		}
	}
	return s
}

func unquote(s string) (string, error) {
	if strings.HasPrefix(s, `"`) {
		return strconv.Unquote(s)
	}
	return s, nil
}

func incompatible(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{sharedseg.ErrIncompatible}, args...)...)
}

func invalid(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{fs.ErrInvalid}, args...)...)
}

// errTooLarge is sharedseg.ErrTooLarge where it ends a bridge.
var errTooLarge = fmt.Errorf("the message stays where it is: %w", sharedseg.ErrTooLarge)

// refused returns an error that wraps sharedseg.ErrTooLarge if err means that
// the server, or the stream, does not take a message because of its size; else
// nil.
func refused(conn *nats.Conn, m *nats.Msg, err error) error {
	api, isAPI := errors.AsType[*jetstream.APIError](err)
	const headerExceedsMaximum = 10097
	switch {
	case errors.Is(err, nats.ErrMaxPayload):
		return fmt.Errorf("%w: %d bytes with its headers, the server takes max_payload = %d", sharedseg.ErrTooLarge, m.Size(), conn.MaxPayload())
	case isAPI && api.ErrorCode == jetstream.JSErrCodeStreamMessageExceedsMaximum:
		return fmt.Errorf("%w: %d bytes with its headers: %v", sharedseg.ErrTooLarge, m.Size(), api)
	case isAPI && api.ErrorCode == headerExceedsMaximum:
		return fmt.Errorf("%w: the headers, with the codec's ID of %d bytes: %v", sharedseg.ErrTooLarge, len(m.Header.Get(HeaderCodec)), api)
	}
	return nil
}

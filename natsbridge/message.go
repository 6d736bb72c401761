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

// The headers of a message. Its data is the encoding of the value. If a codec's
// ID or a type contains anything except printable ASCII, it is quoted as by
// [strconv.Quote].
const (
	HeaderCodec    = "Sharedseg-Codec"    // the codec's ID
	HeaderType     = "Sharedseg-Type"     // the Go type in the program that created the name
	HeaderOrder    = "Sharedseg-Order"    // the byte order of the machine, "le" or "be"
	HeaderCapacity = "Sharedseg-Capacity" // bytes of the largest encoding
	HeaderOrigin   = "Sharedseg-Origin"   // of a value: a random number that identifies the host, segment and key
)

// A label describes the encoding in a message.
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

// readLabel returns the label of a message. A message that was not published by
// a bridge has none: then readLabel returns that of the codec with the ID
// assumed.
func readLabel(h nats.Header, assumed string) (l label, err error) {
	id := h.Get(HeaderCodec)
	if id == "" {
		if assumed == "" {
			return l, incompatible("a value has no header %s, as it was not published by a bridge; set Codec in the options to the codec ID of such values", HeaderCodec)
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
		return l, incompatible("a value has invalid headers: %v", err)
	}
	return l, nil
}

// check returns nil if an encoding with label l fits a segment or queue with
// label to. where is the place of l, for the error.
func (l *label) check(where string, to *label) error {
	switch {
	case l.codec != to.codec:
		return incompatible("%s has values of codec %s, the codec here is %s", where, l, to)
	case l.order != to.order && !neutral(l.codec):
		return incompatible("%s has values of byte order %q, the order here is %q, and the encodings of codec %q may depend on it",
			where, l.order, to.order, l.codec)
	}
	return nil
}

// neutral reports whether a codec has the same encodings on all machines. The
// IDs of codec.Fixed include the byte order.
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

// errTooLarge wraps sharedseg.ErrTooLarge where it ends a bridge.
var errTooLarge = fmt.Errorf("the message stays in its queue or stream: %w", sharedseg.ErrTooLarge)

// refused returns an error that wraps sharedseg.ErrTooLarge if err means that
// the server or the stream refused a message because of its size. Otherwise it
// returns nil.
func refused(conn *nats.Conn, m *nats.Msg, err error) error {
	api, isAPI := errors.AsType[*jetstream.APIError](err)
	const headerExceedsMaximum = 10097
	switch {
	case errors.Is(err, nats.ErrMaxPayload):
		return fmt.Errorf("%w: %d bytes with headers, and the server's max_payload is %d", sharedseg.ErrTooLarge, m.Size(), conn.MaxPayload())
	case isAPI && api.ErrorCode == jetstream.JSErrCodeStreamMessageExceedsMaximum:
		return fmt.Errorf("%w: %d bytes with headers: %v", sharedseg.ErrTooLarge, m.Size(), api)
	case isAPI && api.ErrorCode == headerExceedsMaximum:
		return fmt.Errorf("%w: the headers, which include a codec ID of %d bytes: %v", sharedseg.ErrTooLarge, len(m.Header.Get(HeaderCodec)), api)
	}
	return nil
}

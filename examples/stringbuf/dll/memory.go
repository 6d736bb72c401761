package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"runtime/debug"
	"sync"
	"unicode/utf16"

	"github.com/sharedseg/sharedseg"
	"github.com/sharedseg/sharedseg/codec"
	"github.com/sharedseg/sharedseg/segment"
)

// room is how many UTF-16 units the shared memory has, one of them for the
// terminator.
const room = 2048

var (
	errInvalid     = errors.New("invalid argument")
	errTruncated   = errors.New("the buffer is too small for all of the text")
	errUnavailable = errors.New("there is no shared memory")
)

// memory is the shared memory, as this process sees it: UTF-16LE text with a
// terminator, and no header, so that programs that know nothing of this library
// find what they expect.
type memory struct {
	name string

	mu     sync.Mutex // held by each call: nothing else keeps the threads of this process from mixing their texts
	bare   *segment.Bare[[]byte]
	closed bool
}

// open opens the memory if it is not open. What fails is tried again by the
// next call. The caller holds mu.
func (m *memory) open() error {
	if m.bare != nil {
		return nil
	}
	if m.closed {
		return fmt.Errorf("%w: %w", errUnavailable, fs.ErrClosed)
	}
	// codec.UTF16 would make strings, and those have no place for half a
	// surrogate pair, which C programs may store.
	bare, err := segment.OpenBare(m.name, 2*room, codec.Bytes(), nil)
	if err != nil {
		return fmt.Errorf("%w: %w", errUnavailable, err)
	}
	m.bare = bare
	return nil
}

// hold opens the memory, so that it stays while this process lives.
func (m *memory) hold() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.open()
}

// use opens the memory if need be, and calls f.
func (m *memory) use(f func() error) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.open(); err != nil {
		return err
	}
	err := f()
	if errors.Is(err, sharedseg.ErrCorrupt) { // its file was truncated, and mends when it is opened again
		m.bare.Close()
		m.bare = nil
	}
	return err
}

// release closes the memory for good.
func (m *memory) release() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.closed = true
	if m.bare == nil {
		return nil
	}
	bare := m.bare
	m.bare = nil
	return bare.Close()
}

// set makes the text up to the first NUL that of all processes. It does not
// look behind that NUL.
func (m *memory) set(text []uint16) error {
	encoded, err := encode(text)
	if err != nil {
		return err
	}
	return m.use(func() error { return m.bare.Store(encoded) })
}

// get puts into buf as much of the text as it has room for, and a terminator.
// It does not touch the rest of buf. needed is the room that all of the text
// takes.
func (m *memory) get(buf []uint16) (needed int, err error) {
	var text []uint16
	err = m.use(func() error {
		mem, err := m.bare.Load()
		text = decode(mem)
		return err
	})
	if err == nil {
		needed = len(text) + 1
		if needed > len(buf) {
			text, err = cut(text, len(buf)-1), errTruncated
		}
	}
	if len(buf) > 0 {
		buf[copy(buf, text)] = 0
	}
	return needed, err
}

// encode returns text up to its terminator as bytes. The caller may not know
// whether all of text is there: where memory ends before a terminator, reading
// on is an error, and not the end of the process.
func encode(text []uint16) (b []byte, err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if recover() != nil {
			b, err = nil, errInvalid
		}
	}()
	for _, unit := range text[:min(len(text), room)] {
		b = binary.LittleEndian.AppendUint16(b, unit)
		if unit == 0 {
			return b, nil
		}
	}
	return nil, sharedseg.ErrTooLarge
}

// decode returns the text at the start of mem, which a foreign process may have
// left without a terminator.
func decode(mem []byte) (text []uint16) {
	for ; len(mem) >= 2; mem = mem[2:] {
		unit := binary.LittleEndian.Uint16(mem)
		if unit == 0 {
			break
		}
		text = append(text, unit)
	}
	return text
}

// cut returns the first n units of the longer text, or one less if that would
// part a surrogate pair.
func cut(text []uint16, n int) []uint16 {
	if n <= 0 {
		return nil
	}
	if utf16.DecodeRune(rune(text[n-1]), rune(text[n])) != '\uFFFD' {
		n--
	}
	return text[:n]
}

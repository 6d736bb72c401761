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

// room is the size of the shared memory in UTF-16 units, including the
// terminator.
const room = 2048

var (
	errInvalid     = errors.New("invalid argument")
	errTruncated   = errors.New("the buffer is too small for the text")
	errUnavailable = errors.New("the shared memory is unavailable")
)

// memory is this process's view of the shared memory. It holds UTF-16LE text
// with a terminator and without a header, so programs that do not use this
// library can share it.
type memory struct {
	name string

	// mu is held by each call. Nothing else keeps the threads of this process
	// from mixing their texts.
	mu     sync.Mutex
	bare   *segment.Bare[[]byte]
	closed bool
}

// open opens the memory if it is not open. After a failure the next call tries
// again. The caller holds mu.
func (m *memory) open() error {
	if m.bare != nil {
		return nil
	}
	if m.closed {
		return fmt.Errorf("%w: %w", errUnavailable, fs.ErrClosed)
	}
	// Not codec.UTF16: it decodes to strings, which cannot hold half a
	// surrogate pair, and C programs can store one.
	bare, err := segment.OpenBare(m.name, 2*room, codec.Bytes(), nil)
	if err != nil {
		return fmt.Errorf("%w: %w", errUnavailable, err)
	}
	m.bare = bare
	return nil
}

// hold opens the memory, so that it exists until this process exits.
func (m *memory) hold() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.open()
}

// use opens the memory if necessary, and calls f.
func (m *memory) use(f func() error) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.open(); err != nil {
		return err
	}
	err := f()
	if errors.Is(err, sharedseg.ErrCorrupt) { // the file was truncated; opening it again repairs it
		m.bare.Close()
		m.bare = nil
	}
	return err
}

// release closes the memory. It cannot be opened again.
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

// set stores the text up to the first NUL, and does not read beyond it.
func (m *memory) set(text []uint16) error {
	encoded, err := encode(text)
	if err != nil {
		return err
	}
	return m.use(func() error { return m.bare.Store(encoded) })
}

// get copies to buf as much of the text as fits, and a terminator. It does not
// touch the rest of buf. needed is the size of the whole text, including the
// terminator.
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

// encode returns the text up to its terminator as bytes. The caller cannot know
// whether all of text is mapped. If the memory ends before a terminator, encode
// returns errInvalid, and the process does not crash.
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

// decode returns the text at the start of mem. A foreign process can have left
// it without a terminator.
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

// cut returns the first n units of text, which is longer. It returns one unit
// less if that would split a surrogate pair.
func cut(text []uint16, n int) []uint16 {
	if n <= 0 {
		return nil
	}
	if utf16.DecodeRune(rune(text[n-1]), rune(text[n])) != '\uFFFD' {
		n--
	}
	return text[:n]
}

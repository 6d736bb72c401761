package main

import (
	"errors"
	"io/fs"
	"os"
	"slices"
	"testing"
	"unicode/utf16"

	"github.com/sharedseg/sharedseg"
	"github.com/sharedseg/sharedseg/codec"
	"github.com/sharedseg/sharedseg/internal/proctest"
	"github.com/sharedseg/sharedseg/segment"
)

// newMemory returns a memory that only this test uses.
func newMemory(t *testing.T) *memory {
	t.Helper()
	m := &memory{name: proctest.Name(t)}
	t.Cleanup(func() {
		if err := m.release(); err != nil {
			t.Error(err)
		}
	})
	err := m.hold()
	if errors.Is(err, errors.ErrUnsupported) {
		t.Skip("shared memory is not supported on this platform:", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	return m
}

var want = proctest.Want

func TestMemory(t *testing.T) {
	m := newMemory(t)
	for _, text := range []string{"", "a", "größer 🙂", ""} {
		units := append(utf16.Encode([]rune(text)), 0)
		if err := m.set(append(slices.Clone(units), 'x')); err != nil {
			t.Fatal(err)
		}
		buf := slices.Repeat([]uint16{'?'}, 20)
		needed, err := m.get(buf)
		if err != nil || needed != len(units) || !slices.Equal(buf[:needed], units) || buf[needed] != '?' {
			t.Errorf("get = %#x, %d, %v, want %#x", buf, needed, err, units)
		}
	}
	want(t, m.set(slices.Repeat([]uint16{'x'}, room)), sharedseg.ErrTooLarge)
	want(t, m.set(make([]uint16, 1)), nil)

	// This is how a segment begins. The next process to open the memory would
	// take it for a segment.
	mark := []uint16{'s' | 'h'<<8, 'a' | 'r'<<8, 'e' | 'd'<<8, 's' | 'g'<<8, 0}
	want(t, m.set(mark), fs.ErrInvalid)

	if err := m.release(); err != nil {
		t.Error(err)
	}
	want(t, m.set(mark), errUnavailable)
}

func TestCut(t *testing.T) {
	for _, c := range []struct {
		text string
		n    int
		want string
	}{
		{"ab", -1, ""},
		{"ab", 0, ""},
		{"ab", 1, "a"},
		{"🙂", 1, ""},
		{"🙂b", 2, "🙂"},
		{"a🙂", 2, "a"},
		{"🙂🙂🙂", 3, "🙂"},
		{"🙂🙂🙂", 4, "🙂🙂"},
	} {
		if got := string(utf16.Decode(cut(utf16.Encode([]rune(c.text)), c.n))); got != c.want {
			t.Errorf("cut(%q, %d) = %q, want %q", c.text, c.n, got, c.want)
		}
	}
}

// A foreign process can leave anything, also text without a terminator.
func TestForeignContent(t *testing.T) {
	m := newMemory(t)
	b, err := segment.OpenBare(m.name, 2*room, codec.Fixed[[room]uint16](), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	var full [room]uint16
	for i := range full {
		full[i] = 0x0101 * uint16(1+i%255)
	}
	if err := b.Store(full); err != nil {
		t.Fatal(err)
	}
	for _, size := range []int{0, 1, room, room + 1, room + 2} {
		buf := slices.Repeat([]uint16{'?'}, size+1)
		needed, err := m.get(buf[:size])
		n := min(size, room+1) - 1
		if needed != room+1 || (err == nil) != (n == room) || err != nil && !errors.Is(err, errTruncated) {
			t.Errorf("get into %d units = %d, %v", size, needed, err)
		}
		if size > 0 && (!slices.Equal(buf[:n], full[:n]) || buf[n] != 0) || buf[n+1] != '?' || buf[size] != '?' {
			t.Errorf("get into %d units wrote %#x", size, buf)
		}
	}
}

// After the file was truncated, one call fails, and the next one repairs it.
func TestTruncated(t *testing.T) {
	m := newMemory(t)
	file := "/dev/shm/" + m.name
	if _, err := os.Stat(file); err != nil {
		t.Skip("the memory is not a file in /dev/shm:", err)
	}
	text := []uint16{'a', 0}
	want(t, m.set(text), nil)
	if err := os.Truncate(file, 0); err != nil {
		t.Fatal(err)
	}
	want(t, m.set(text), sharedseg.ErrCorrupt)
	want(t, m.set(text), nil)
	if _, err := os.Stat(file); err != nil {
		t.Error("other processes cannot find the text:", err)
	}
	if err := os.Truncate(file, 0); err != nil {
		t.Fatal(err)
	}
	buf := []uint16{'?', '?'}
	if needed, err := m.get(buf); needed != 0 || !errors.Is(err, sharedseg.ErrCorrupt) || buf[0] != 0 || buf[1] != '?' {
		t.Errorf("get of a truncated file = %#x, %d, %v", buf, needed, err)
	}
	if needed, err := m.get(buf); needed != 1 || err != nil {
		t.Errorf("get of a new file = %d, %v", needed, err)
	}
}

package segment

import (
	"fmt"
	"io/fs"
	"runtime"
	"sync"

	"github.com/sharedseg/sharedseg"
	"github.com/sharedseg/sharedseg/codec"
	"github.com/sharedseg/sharedseg/internal/layout"
	"github.com/sharedseg/sharedseg/internal/member"
	"github.com/sharedseg/sharedseg/internal/payload"
)

// Bare is a mapping of nothing but a value, unsynchronised: a Load beside a
// Store, of this process or another, may see some of the old value and some of
// the new. It is for peers that do not know this library, such as a C program
// that calls shm_open or CreateFileMapping, Python's
// multiprocessing.shared_memory, or Boost's shared_memory_object. Between Go
// programs use a [Segment].
//
// A bare mapping carries no length, so the encoding must tell by itself where
// it ends, as that of codec.UTF16 does by its terminator and that of
// codec.Fixed by its size. Other codecs are handed the whole mapping.
type Bare[T any] struct {
	name    string
	codec   codec.Codec[T]
	cleanup runtime.Cleanup

	mu     sync.RWMutex // held for reading by each call that uses member.Mem
	member *member.Bare // nil when closed
}

// OpenBare opens the mapping of that name, and creates it, all zero, if there
// is none. It has size bytes; one that exists may be longer. On Linux it is the
// file /dev/shm/NAME or that in Options.Dir, on Windows the section Local\NAME
// or Global\NAME. Of the options, Persist, Mode, Dir, SecurityDescriptor and
// Global count.
//
// Close of the handle that created the mapping removes its name, unless
// Options.Persist was set or another Bare has it open. A handle that only
// attached never removes it, as the mapping may belong to a program that is not
// to be seen from here. Set Persist where others are to go on with what this
// process created: those that are no Bare are not counted. What is left, by a
// crash or by Persist, stays until [RemoveBare]: its content is not known to be
// anyone's, so neither the next OpenBare nor sharedseg.Sweep clears it.
//
// Errors: as for [Open]; ErrIncompatible means that it is too short, or a
// segment.
func OpenBare[T any](name string, size int, c codec.Codec[T], o *Options) (*Bare[T], error) {
	b, err := openBare(name, size, c, o)
	return b, wrap("open", name, err)
}

func openBare[T any](name string, size int, c codec.Codec[T], o *Options) (*Bare[T], error) {
	if o == nil {
		o = new(Options)
	}
	if err := payload.CheckCodec(c); err != nil {
		return nil, err
	}
	if size <= 0 {
		return nil, fmt.Errorf("%w: size is %d", fs.ErrInvalid, size)
	}
	if sized, ok := c.(codec.Sizer); ok && sized.Size() > size {
		return nil, fmt.Errorf("%w: size is %d bytes, each value has %d", sharedseg.ErrTooLarge, size, sized.Size())
	}
	place := o.place(name)
	m, err := member.JoinBare(&place, size, o.Persist)
	if err != nil {
		return nil, err
	}
	b := &Bare[T]{name: name, codec: c, member: m}
	b.cleanup = runtime.AddCleanup(b, func(m *member.Bare) { go m.Leave() }, m)
	return b, nil
}

// RemoveBare takes the name away from a bare mapping. Handles and programs that
// have it open go on with the old one among themselves. A bare mapping has no
// mark: RemoveBare removes any regular file of that name, in Options.Dir or the
// platform's shared memory, except a segment or lock, for which there is
// sharedseg.Remove.
//
// On Windows a name exists until its last handle is closed: until then
// RemoveBare returns errors.ErrUnsupported.
//
// Errors: fs.ErrNotExist, fs.ErrInvalid (the name), fs.ErrPermission,
// ErrIncompatible (a segment, a lock, or not a regular file).
func RemoveBare(name string, o *Options) error {
	place := o.place(name)
	return wrap("remove", name, member.RemoveBare(&place))
}

// Load decodes what the mapping holds.
//
// Errors: codec.ErrMalformed and that of the codec (no value that it can decode
// is there), ErrCorrupt (the file was truncated), ErrNoSpace (memory behind it
// is gone), fs.ErrClosed.
func (b *Bare[T]) Load() (T, error) {
	var v T
	var enc []byte
	err := b.use(func(mem []byte) error {
		if sized, ok := b.codec.(codec.Sizer); ok {
			mem = mem[:sized.Size()]
		}
		enc = append(enc, mem...)
		return nil
	})
	if err == nil { // outside of use, as a codec may close the handle
		if err = b.codec.Decode(enc, &v); err != nil {
			err = payload.Undecodable(b.codec, len(enc), err, remedy)
		}
	}
	return v, wrap("load", b.name, err)
}

// Store encodes v into the mapping and clears the rest of it. An encoding that
// does not fit is ErrTooLarge, and the mapping stays as it is.
func (b *Bare[T]) Store(v T) error {
	enc, err := b.codec.Append(nil, v) // outside of use, as a codec may close the handle
	if err != nil {
		return wrap("store", b.name, err)
	}
	err = b.use(func(mem []byte) error {
		if len(enc) > len(mem) {
			return fmt.Errorf("%w: the value takes %d bytes, the mapping has %d", sharedseg.ErrTooLarge, len(enc), len(mem))
		}
		if layout.IsMarked(enc) {
			return fmt.Errorf("%w: a bare value must not begin as a segment does, with %q", fs.ErrInvalid, layout.Magic)
		}
		clear(mem[copy(mem, enc):])
		return nil
	})
	return wrap("store", b.name, err)
}

func (b *Bare[T]) use(f func(mem []byte) error) error {
	b.mu.RLock()
	defer b.mu.RUnlock()
	if b.member == nil {
		return fs.ErrClosed
	}
	return b.member.Use(f)
}

// Close closes the handle, and removes the name if this handle created the
// mapping, as [OpenBare] says. It waits for calls under way. A second Close
// returns nil.
func (b *Bare[T]) Close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.member == nil {
		return nil
	}
	b.cleanup.Stop()
	m := b.member
	b.member = nil
	return wrap("close", b.name, m.Leave())
}

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

// Bare is a handle of a mapping that contains only a value, without a header or
// synchronisation. A Load during a Store, of this process or another, may see a
// mixture of the old and the new value. Bare is for peers that do not use this
// library, such as a C program that calls shm_open or CreateFileMapping,
// Python's multiprocessing.shared_memory, or Boost's shared_memory_object.
// Between Go programs use a [Segment].
//
// A bare mapping contains no length, so the encoding itself must tell where it
// ends. The encoding of codec.UTF16 has a terminator, and that of codec.Fixed
// has a fixed size. Other codecs get the whole mapping to decode.
type Bare[T any] struct {
	name    string
	codec   codec.Codec[T]
	cleanup runtime.Cleanup

	mu     sync.RWMutex // held for reading by each call that uses member.Mem
	member *member.Bare // nil when closed
}

// OpenBare opens the mapping with the given name. If there is none, OpenBare
// creates one that is filled with zeros. The mapping has size bytes. One that
// exists may be longer. On Linux it is the file /dev/shm/NAME, or the file NAME
// in Options.Dir. On Windows it is the section Local\NAME or Global\NAME.
// OpenBare uses the options Persist, Mode, Dir, SecurityDescriptor and Global.
//
// Close of the handle that created the mapping removes its name, unless
// Options.Persist was set or another Bare has the mapping open. A handle that
// only attached never removes the name, because the mapping may belong to a
// program that cannot be detected. Set Persist if other programs continue to
// use a mapping that this process created, because only handles of type Bare
// are counted. A mapping that is left by a crash or by Persist stays until
// [RemoveBare]. Neither the next OpenBare nor sharedseg.Sweep clears it,
// because its content may belong to another program.
//
// The errors are those of [Open]. ErrIncompatible means that the mapping is too
// short, or that it is a segment.
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
		return nil, fmt.Errorf("%w: size is %d bytes, each value takes %d", sharedseg.ErrTooLarge, size, sized.Size())
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

// RemoveBare removes the name of a bare mapping. Handles and programs that have
// it open continue to share the old mapping. A bare mapping has no mark that
// identifies it, so RemoveBare removes any regular file with that name, in
// Options.Dir or the platform's shared memory, except a segment or lock. For
// those use sharedseg.Remove.
//
// On Windows a name exists until its last handle is closed. Until then
// RemoveBare returns errors.ErrUnsupported.
//
// RemoveBare returns fs.ErrNotExist, fs.ErrInvalid (the name),
// fs.ErrPermission, or ErrIncompatible (a segment, a lock, or not a regular
// file).
func RemoveBare(name string, o *Options) error {
	place := o.place(name)
	return wrap("remove", name, member.RemoveBare(&place))
}

// Load decodes the content of the mapping.
//
// It returns codec.ErrMalformed and the codec's error if the content is not a
// valid encoding, ErrCorrupt if the file was truncated, ErrNoSpace if the
// memory behind it is gone, or fs.ErrClosed.
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
	if err == nil { // outside Use, as the codec may close the handle
		if err = b.codec.Decode(enc, &v); err != nil {
			err = payload.Undecodable(b.codec, len(enc), err, remedy)
		}
	}
	return v, wrap("load", b.name, err)
}

// Store encodes v into the mapping and clears the rest of the mapping. If the
// encoding does not fit, Store returns ErrTooLarge and leaves the mapping
// unchanged.
//
// Store also returns the error of the codec, fs.ErrInvalid if the encoding
// begins like a segment, ErrCorrupt if the file was truncated, ErrNoSpace if
// the memory behind it is gone, or fs.ErrClosed.
func (b *Bare[T]) Store(v T) error {
	enc, err := b.codec.Append(nil, v) // outside Use, as the codec may close the handle
	if err != nil {
		return wrap("store", b.name, err)
	}
	err = b.use(func(mem []byte) error {
		if len(enc) > len(mem) {
			return fmt.Errorf("%w: the value takes %d bytes, the mapping has %d", sharedseg.ErrTooLarge, len(enc), len(mem))
		}
		if layout.IsMarked(enc) {
			return fmt.Errorf("%w: a bare value must not begin with %q, as a segment does", fs.ErrInvalid, layout.Magic)
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

// Close closes the handle. If this handle created the mapping, Close removes
// the name, as described at [OpenBare]. It waits for calls in progress. A
// second Close returns nil.
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

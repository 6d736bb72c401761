package segment

import (
	"fmt"
	"io/fs"
	"math"
	"reflect"
	"strconv"

	"github.com/sharedseg/sharedseg"
	"github.com/sharedseg/sharedseg/codec"
	"github.com/sharedseg/sharedseg/internal/layout"
	"github.com/sharedseg/sharedseg/internal/mapping"
	"github.com/sharedseg/sharedseg/internal/member"
)

// Defaults of Options.
const (
	DefaultCapacity = 4096
	DefaultSlots    = 3
)

// Options of a segment. The zero value, and nil, are ready to use. When the segment exists already, a zero field
// means "whatever it has", and another one that disagrees is ErrIncompatible.
type Options struct {
	// Capacity is the size of the largest encoding, in bytes. 0: the size of T for codec.Fixed, else 4096. A
	// segment takes Slots times that much memory, all of it when it is created.
	Capacity int
	// LockReads has readers take the lock that writers take. A Load then waits for
	// a Store or Update under way. Without it, readers copy without a lock and look
	// afterwards whether they were disturbed: they never block a writer nor wait for
	// one, not even for one that is stopped half-way. A Reader, which cannot write
	// the lock, always reads so.
	LockReads bool
	// Slots is the number of versions kept, 2 to 65536. 0: 3. More make it rarer that a reader of a fast
	// writer's large values has to start again.
	Slots int
	// Persist keeps the segment, and its value, when the last handle is gone, until Remove. On Windows it needs Dir.
	Persist bool
	// Mode is the permission of the segment's file on Unix: read and write bits, the owner's among them. 0: 0600.
	// With a Mode that grants the group or others something, the file may belong to another user, who is then
	// trusted not to withhold the lock; without, another user's file is fs.ErrPermission. Windows has no modes.
	Mode fs.FileMode
	// Dir is the directory of the segment's file, of this machine, and best of segments alone. "": the platform's shared
	// memory, /dev/shm on Linux, the page file on Windows, elsewhere a directory in os.TempDir that other users
	// cannot reach.
	Dir string
	// SecurityDescriptor is the segment's, in SDDL, on Windows, and counts for the one who creates. "": only its
	// owner has access. With one, the segment may belong to another user, as with a Mode on Unix. Those who are to
	// write need GA, those who read GR and GX.
	SecurityDescriptor string
	// Global puts the segment in the namespace of all sessions, on Windows.
	Global bool
	// Populate has this handle's pages mapped when it is opened, on Linux 5.14 and later, and counts for nothing
	// elsewhere. The first Store and Load of a large value are then as fast as the others. Otherwise a Store takes
	// about 2 µs more for each page that it is the first to use, a Load 0.3 µs; Populate takes 0.6 µs for each of all
	// slots' pages, so it pays for handles that store, and for readers whose first Load must not be late. It is for shared
	// memory: with a Dir on a disk it reads the whole file, and first Stores are slow all the same.
	Populate bool
}

// Place is where the segment is, for sharedseg.Stat and the other functions of
// that package.
func (o *Options) Place() *sharedseg.Place {
	if o == nil {
		return nil
	}
	return &sharedseg.Place{Dir: o.Dir, Mode: o.Mode, SecurityDescriptor: o.SecurityDescriptor, Global: o.Global}
}

func (o *Options) place(name string) mapping.Place {
	if o == nil {
		return mapping.Place{Name: name}
	}
	return mapping.Place{Name: name, Dir: o.Dir, Mode: o.Mode, SecurityDescriptor: o.SecurityDescriptor, Global: o.Global}
}

func (o *Options) check() error {
	if o.Capacity < 0 {
		return fmt.Errorf("%w: Capacity is %d", fs.ErrInvalid, o.Capacity)
	}
	if o.Slots != 0 && o.Slots < 2 || o.Slots > layout.MaxSlots {
		return fmt.Errorf("%w: Slots is %d, want 0 or 2 to %d", fs.ErrInvalid, o.Slots, layout.MaxSlots)
	}
	return nil
}

func checkCodec[T any](c codec.Codec[T]) error {
	if c == nil {
		return fmt.Errorf("%w: the codec is nil", fs.ErrInvalid)
	}
	if checked, ok := c.(codec.Validator); ok {
		if err := checked.Validate(); err != nil {
			return err
		}
	}
	if c.ID() == "" {
		return fmt.Errorf("%w: the ID of the codec is empty, so that it would be taken for any other such", fs.ErrInvalid)
	}
	if sized, ok := c.(codec.Sizer); ok && sized.Size() < 0 {
		return fmt.Errorf("%w: the codec says that its values have %d bytes", fs.ErrInvalid, sized.Size())
	}
	return nil
}

// spec says what a handle with a codec and options makes of a new mapping, and wants of one that exists.
func spec[T any](name string, c codec.Codec[T], o *Options) (*member.Spec, error) {
	if err := checkCodec(c); err != nil {
		return nil, err
	}
	if err := o.check(); err != nil {
		return nil, err
	}
	capacity := o.Capacity
	if sized, ok := c.(codec.Sizer); ok {
		if capacity != 0 && capacity < sized.Size() {
			return nil, fmt.Errorf("%w: Capacity is %d bytes, each value has %d", sharedseg.ErrTooLarge, capacity, sized.Size())
		}
		capacity = max(capacity, sized.Size())
	} else if capacity == 0 {
		capacity = DefaultCapacity
	}
	slots := o.Slots
	if slots == 0 {
		slots = DefaultSlots
	}
	want := layout.Geometry{
		Kind: layout.KindSegment, Persist: o.Persist, LockReads: o.LockReads, Slots: slots, Capacity: int64(capacity),
		CodecID: c.ID(), TypeName: reflect.TypeFor[T]().String(),
	}
	g := want
	if err := g.Place(mapping.PageSize()); err != nil {
		return nil, err
	}
	if g.Size() > math.MaxInt {
		return nil, fmt.Errorf("%w: %d slots of %d bytes are more than a process of %d bits can address",
			fs.ErrInvalid, slots, capacity, strconv.IntSize)
	}
	return &member.Spec{
		Place: o.place(name),
		New: func(page int) (*layout.Geometry, error) {
			g := want
			return &g, g.Place(page)
		},
		Check: func(g *layout.Geometry) error {
			if err := o.agree(g, &want); err != nil {
				return err
			}
			if sized, ok := c.(codec.Sizer); ok && g.Capacity < int64(sized.Size()) {
				return fmt.Errorf("%w: its capacity is %d bytes, each value has %d", sharedseg.ErrCorrupt, g.Capacity, sized.Size())
			}
			return nil
		},
	}, nil
}

// agree refuses an existing segment g that is not what is wanted.
func (o *Options) agree(g, want *layout.Geometry) error {
	if g.Kind != layout.KindSegment {
		return fmt.Errorf("%w: it is a %v, not a segment", sharedseg.ErrIncompatible, g.Kind)
	}
	if g.CodecID != want.CodecID {
		have, asked := differing(g.CodecID, want.CodecID)
		return fmt.Errorf("%w: it holds type %.500q as %s; asked for is type %.500q as %s: "+
			"if the type has changed, open it as the old type and copy its value, or remove it with sharedseg.Remove",
			sharedseg.ErrIncompatible, g.TypeName, have, want.TypeName, asked)
	}
	for _, f := range []struct {
		what        string
		given, same bool
		have, asked any
	}{
		{"Capacity", o.Capacity != 0, g.Capacity == want.Capacity, g.Capacity, want.Capacity},
		{"Slots", o.Slots != 0, g.Slots == want.Slots, g.Slots, want.Slots},
		{"LockReads", o.LockReads, g.LockReads == want.LockReads, g.LockReads, o.LockReads},
		{"Persist", o.Persist, g.Persist == want.Persist, g.Persist, want.Persist},
	} {
		if f.given && !f.same {
			return fmt.Errorf("%w: its %s is %v, asked for is %v", sharedseg.ErrIncompatible, f.what, f.have, f.asked)
		}
	}
	return nil
}

// differing quotes two codec IDs, which may be long, such that one sees where
// they differ.
func differing(a, b string) (string, string) {
	const before, after = 60, 300
	same := 0
	for same < min(len(a), len(b)) && a[same] == b[same] {
		same++
	}
	quote := func(s string) string {
		if len(s) <= before+after {
			return strconv.Quote(s)
		}
		text := ""
		if from := same - before; from > 0 {
			text, s = "…", s[from:]
		}
		if len(s) <= before+after {
			return text + strconv.Quote(s)
		}
		return text + strconv.Quote(s[:before+after]) + "…"
	}
	return quote(a), quote(b)
}

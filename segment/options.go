package segment

import (
	"io/fs"

	"github.com/sharedseg/sharedseg"
	"github.com/sharedseg/sharedseg/codec"
	"github.com/sharedseg/sharedseg/internal/layout"
	"github.com/sharedseg/sharedseg/internal/mapping"
	"github.com/sharedseg/sharedseg/internal/member"
	"github.com/sharedseg/sharedseg/internal/payload"
)

// Defaults of Options.
const (
	DefaultCapacity = payload.DefaultCapacity
	DefaultSlots    = 3
)

// Options of a segment. The zero value, and nil, are ready to use. When the
// segment exists already, a zero field means "whatever it has", and another one
// that disagrees is ErrIncompatible.
type Options struct {
	// Capacity is the size of the largest encoding, in bytes. 0: the size of T
	// for codec.Fixed, else 4096. A segment takes Slots times that much memory,
	// all of it when it is created.
	Capacity int
	// LockReads has readers take the lock that writers take. A Load then waits
	// for a Store or Update under way. Without it, readers copy without a lock
	// and look afterwards whether they were disturbed: they never block a
	// writer nor wait for one, not even for one that is stopped half-way. A
	// Reader, which cannot write the lock, always reads so.
	LockReads bool
	// Slots is the number of versions kept, 2 to 65536. 0: 3. With two more
	// than versions are borrowed at a time, writers never wait for borrowers;
	// values of segments with more than 64 cannot be borrowed. With many, those
	// that Follow may fall behind by as many. More make it rarer that a reader
	// of a fast writer's large values has to start again.
	Slots int
	// Persist keeps the segment, and its value, when the last handle is gone,
	// until Remove. On Windows it needs Dir.
	Persist bool
	// Mode is the permission of the segment's file on Unix: read and write
	// bits, the owner's among them. 0: 0600. With a Mode that grants the group
	// or others something, the file may belong to another user, who is then
	// trusted not to withhold the lock; without, another user's file is
	// fs.ErrPermission. Windows has no modes.
	Mode fs.FileMode
	// Dir is the directory of the segment's file, of this machine, and best of
	// segments alone. "": the platform's shared memory, /dev/shm on Linux, the
	// page file on Windows, elsewhere a directory in os.TempDir that other
	// users cannot reach.
	Dir string
	// SecurityDescriptor is the segment's, in SDDL, on Windows, and counts for
	// the one who creates. "": only its owner has access. With one, the segment
	// may belong to another user, as with a Mode on Unix. Those who are to
	// write need GA, those who read GR and GX.
	SecurityDescriptor string
	// Global puts the segment in the namespace of all sessions, on Windows.
	Global bool
	// Populate has this handle's pages mapped when it is opened, on Linux 5.14
	// and later, and counts for nothing elsewhere. The first Store and Load of
	// a large value are then as fast as the others. Otherwise a Store takes
	// about 2 µs more for each page that it is the first to use, a Load 0.3 µs;
	// Populate takes 0.6 µs for each of all slots' pages, so it pays for
	// handles that store, and for readers whose first Load must not be late. It
	// is for shared memory: with a Dir on a disk it reads the whole file, and
	// first Stores are slow all the same.
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

// spec says what a handle with a codec and options makes of a new mapping, and
// wants of one that exists.
func spec[T any](name string, c codec.Codec[T], o *Options) (*member.Spec, error) {
	return payload.Spec(c, payload.Request{
		Place: o.place(name), Kind: layout.KindSegment, Capacity: o.Capacity,
		Slots: o.Slots, SlotsName: "Slots", FewestSlots: 2, DefaultSlots: DefaultSlots,
		Persist: o.Persist, LockReads: o.LockReads,
	})
}

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

// Options are the options of a segment. nil and the zero value are ready to
// use. If the segment exists, a zero field accepts whatever the segment has.
// Any other value must agree with the segment, or Open returns ErrIncompatible.
type Options struct {
	// Capacity is the size of the largest encoding, in bytes. 0 means the size
	// of T for codec.Fixed, and 4096 for other codecs. A segment takes about
	// Slots times that much memory, all of it when it is created.
	Capacity int
	// LockReads makes readers take the writers' lock. A Load then waits for a
	// Store or Update in progress. Without LockReads, readers copy without a
	// lock and check afterwards whether a writer disturbed them. They never
	// block a writer or wait for one, not even for a writer that is suspended
	// halfway. A Reader cannot write the lock, so it always reads this way.
	LockReads bool
	// Slots is the number of versions that the segment keeps, 2 to 65536. 0
	// means 3. Writers never wait for borrowers if Slots is at least two more
	// than the number of versions borrowed at a time. Values of a segment with
	// more than 64 Slots cannot be borrowed. Loops over Follow may fall behind
	// by Slots-1 versions. With more Slots, a reader of large values from a
	// fast writer retries less often.
	Slots int
	// Persist keeps the segment and its value after the last handle is closed,
	// until Remove. On Windows it requires Dir.
	Persist bool
	// Mode is the permission of the segment's file on Unix: read and write
	// bits, including those of the owner. 0 means 0600. If Mode grants
	// permissions to the group or others, the file may belong to another user,
	// which is then trusted not to hold the lock forever. Otherwise a file of
	// another user makes Open return fs.ErrPermission. Windows has no modes.
	Mode fs.FileMode
	// Dir is the directory of the segment's file. It must be on this machine,
	// and is best used for segments only. "" means the platform's shared
	// memory: /dev/shm on Linux, the page file on Windows, and elsewhere a
	// directory in os.TempDir that other users cannot access.
	Dir string
	// SecurityDescriptor is the security descriptor of the segment on Windows,
	// in SDDL. It is used by the process that creates the segment. "" gives
	// access to the owner only. If it is set, the segment may belong to another
	// user, as with Mode on Unix. Writers need GA, readers GR and GX.
	SecurityDescriptor string
	// Global puts the segment in the namespace of all sessions, on Windows.
	Global bool
	// Populate maps the pages of this handle when it is opened, on Linux 5.14
	// and later. It has no effect elsewhere. The first Store and Load of a
	// large value are then as fast as later ones. Without Populate, a Store
	// takes about 2 µs more for each page that it is the first to use, and a
	// Load 0.3 µs. Populate takes 0.6 µs for each page of all slots, so it pays
	// off for handles that store, and for readers whose first Load must be
	// fast. It is meant for shared memory: with a Dir on a disk it reads the
	// whole file, and first Stores are slow anyway.
	Populate bool
}

// Place returns the place of the segment, for sharedseg.Stat and the other
// functions of that package.
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

// spec returns what a handle with a codec and options requires of an existing
// mapping, and makes of a new one.
func spec[T any](name string, c codec.Codec[T], o *Options) (*member.Spec, error) {
	return payload.Spec(c, payload.Request{
		Place: o.place(name), Kind: layout.KindSegment, Capacity: o.Capacity,
		Slots: o.Slots, SlotsName: "Slots", FewestSlots: 2, DefaultSlots: DefaultSlots,
		Persist: o.Persist, LockReads: o.LockReads,
	})
}

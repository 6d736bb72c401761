package queue

import (
	"io/fs"

	"github.com/sharedseg/sharedseg"
	"github.com/sharedseg/sharedseg/internal/layout"
	"github.com/sharedseg/sharedseg/internal/mapping"
	"github.com/sharedseg/sharedseg/internal/payload"
)

// Defaults of Options.
const (
	DefaultCapacity = payload.DefaultCapacity
	DefaultDepth    = 64
)

// Options of a queue. The zero value, and nil, are ready to use. When the queue
// exists already, a zero field means "whatever it has", and another one that
// disagrees is ErrIncompatible.
type Options struct {
	// Capacity is the size of the largest encoding, in bytes. 0: the size of T
	// for codec.Fixed, else 4096. A queue takes Depth times that much memory,
	// all of it when it is created.
	Capacity int
	// Depth is the number of messages that are there at most, 1 to 65536. 0:
	// 64. A message counts until it is done, so Depth is also how many messages
	// receivers may have in hand, and how far others get while one of them is
	// stopped with the oldest.
	Depth int
	// Persist keeps the queue, and the messages that are not done, when the
	// last handle is gone, until Remove. On Windows it needs Dir.
	Persist bool
	// Mode is the permission of the queue's file on Unix: read and write bits,
	// the owner's among them. 0: 0600. With a Mode that grants the group or
	// others something, the file may belong to another user, who is then
	// trusted not to withhold the lock; without, another user's file is
	// fs.ErrPermission. Windows has no modes.
	Mode fs.FileMode
	// Dir is the directory of the queue's file, of this machine, and best of
	// such files alone. "": the platform's shared memory, /dev/shm on Linux,
	// the page file on Windows, elsewhere a directory in os.TempDir that other
	// users cannot reach.
	Dir string
	// SecurityDescriptor is the queue's, in SDDL, on Windows, and counts for
	// the one who creates. "": only its owner has access. With one, the queue
	// may belong to another user, as with a Mode on Unix; those who use it need
	// GA.
	SecurityDescriptor string
	// Global puts the queue in the namespace of all sessions, on Windows.
	Global bool
	// Populate has this handle's pages mapped when it is opened, on Linux 5.14
	// and later, so that the first messages are as fast as the others. It
	// counts for nothing elsewhere.
	Populate bool
}

// Place is where the queue is, for sharedseg.Stat and the other functions of
// that package.
func (o *Options) Place() *sharedseg.Place {
	if o == nil {
		return nil
	}
	return &sharedseg.Place{Dir: o.Dir, Mode: o.Mode, SecurityDescriptor: o.SecurityDescriptor, Global: o.Global}
}

func (o *Options) request(name string) payload.Request {
	return payload.Request{
		Place: mapping.Place{Name: name, Dir: o.Dir, Mode: o.Mode, SecurityDescriptor: o.SecurityDescriptor, Global: o.Global},
		Kind:  layout.KindQueue, Capacity: o.Capacity,
		Slots: o.Depth, SlotsName: "Depth", FewestSlots: 1, DefaultSlots: DefaultDepth,
		Persist: o.Persist,
	}
}

package queue

import (
	"io/fs"

	"github.com/sharedseg/sharedseg"
	"github.com/sharedseg/sharedseg/internal/layout"
	"github.com/sharedseg/sharedseg/internal/mapping"
	"github.com/sharedseg/sharedseg/internal/payload"
)

// The defaults of Options.
const (
	DefaultCapacity = payload.DefaultCapacity
	DefaultDepth    = 64
)

// Options are the options of a queue. nil and the zero value are ready to use.
// For a queue that exists, a zero field accepts what the queue has, and any
// other field must agree with it, or Open returns ErrIncompatible.
type Options struct {
	// Capacity is the size of the largest encoding, in bytes. 0 means the size
	// of T for codec.Fixed, and 4096 for other codecs. A queue allocates Depth
	// times that much memory when it is created.
	Capacity int
	// Depth is the largest number of messages in the queue, 1 to 65536. 0 means
	// 64. A message counts until it is done. So Depth also limits how many
	// messages receivers can own together, and how many others can be sent
	// while the receiver of the oldest message is stopped.
	Depth int
	// Persist keeps the queue, and the messages that are not done, after the
	// last handle is closed, until sharedseg.Remove. On Windows it needs Dir.
	Persist bool
	// Mode is the permission of the queue's file on Unix: read and write bits,
	// including the owner's. 0 means 0600. If Mode grants access to the group
	// or others, the file may belong to another user. That user is then trusted
	// not to withhold the lock. Otherwise opening another user's file returns
	// fs.ErrPermission. Windows has no modes.
	Mode fs.FileMode
	// Dir is the directory of the queue's file. It must be on this machine, and
	// should hold only files of this library. "" means the platform's shared
	// memory: /dev/shm on Linux, the page file on Windows, and elsewhere a
	// directory in os.TempDir that other users cannot access.
	Dir string
	// SecurityDescriptor is the queue's security descriptor on Windows, in
	// SDDL. Only the handle that creates the queue applies it. "" means that
	// only the owner has access. Otherwise the queue may belong to another
	// user, as with Mode on Unix. Users of the queue need GA.
	SecurityDescriptor string
	// Global puts the queue in the namespace of all sessions on Windows.
	Global bool
	// Populate maps this handle's pages when it is opened, on Linux 5.14 and
	// later, so that the first messages are as fast as later ones. It has no
	// effect elsewhere.
	Populate bool
}

// Place returns where the queue is, for sharedseg.Stat and the other functions
// of that package.
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

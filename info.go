package sharedseg

import (
	"io/fs"
	"strconv"

	"github.com/sharedseg/sharedseg/internal/layout"
	"github.com/sharedseg/sharedseg/internal/member"
)

// Kind is the kind of object that a name refers to.
type Kind string

const (
	KindSegment   Kind = "segment"   // package segment
	KindQueue     Kind = "queue"     // package queue
	KindMutex     Kind = "mutex"     // package ipcsync
	KindRWMutex   Kind = "rwmutex"   // package ipcsync
	KindSemaphore Kind = "semaphore" // package ipcsync
	KindCond      Kind = "cond"      // package ipcsync
	KindEvent     Kind = "event"     // package ipcsync
)

// Info describes the object that a name refers to, at one moment.
type Info struct {
	Name    string
	Kind    Kind
	Path    string // its file
	Persist bool
	Mode    fs.FileMode // 0 on Windows
	Owner   string      // the owner of its file, like os/user.User.Uid; "" on Windows
	Size    int64       // bytes of memory

	// Writers is the number of open handles that can write, plus the Readers
	// that have borrowed a value. Holders has the process ID of each, as a
	// hint.
	Writers int
	Holders []int
	// Readers is the number of open read-only handles, up to 10,000. On Windows
	// it is 1 however many there are.
	Readers int

	Lock     Lock
	Counters Counters

	// Of a segment or a queue.
	Codec     string // the codec's ID
	Type      string // the Go type, as named by the creator
	Capacity  int64  // bytes of the largest encoding
	Slots     int    // versions that a segment keeps; messages that a queue has room for
	LockReads bool   // of a segment
	Version   uint64 // of a segment: the number of its current value, 0 if nothing was stored; of a queue: messages sent

	// Of a queue. Takers and Orphans cover the oldest 1,024 messages only.
	Messages int   // messages that were sent and are not done
	Takers   []int // process IDs of the receivers that hold one of them
	Orphans  int   // messages whose receiver died; the next Receive gets one
	Shut     bool

	// Of a Semaphore.
	Permits int64
	Used    int64 // permits held by open handles

	LockReaders int // of an RWMutex: goroutines that hold it for reading
	Waiting     int // of a Cond: goroutines that wait

	// Users has the process IDs of the handles that hold permits of a
	// Semaphore, hold an RWMutex for reading, or wait for a Cond, as hints.
	Users []int

	Set bool // of an Event
	// Waited reports whether a goroutine waits for a Semaphore or an Event, or
	// waited since it last changed. It is false where waiters poll: on macOS,
	// FreeBSD and the other Unixes except Linux.
	Waited bool
}

// Live reports whether Attach finds the name. A name that is not live was left
// behind by processes that died. The next Open replaces it, and [Sweep] removes
// it. A lock whose owner died stays until what it guards is repaired, or until
// [Remove].
func (i *Info) Live() bool { return i.Persist || i.Writers > 0 || i.Readers > 0 }

// Lock is the state of a lock: of a mutex, or of the internal lock of another
// kind, such as the lock of a segment's writers or of a queue's senders.
type Lock struct {
	State LockState
	// PID is the process ID of the holder, or of the owner that died if it is
	// still known. It is 0 if there is none. It is a hint, numbered as in the
	// holder's PID namespace.
	PID int
	// Waiters reports whether something waits for the lock, or waited and died.
	Waiters bool
}

// LockState is the state of a Lock.
type LockState string

const (
	LockFree LockState = "free"
	LockHeld LockState = "held"
	// LockOwnerDied is the state of a lock whose owner died, or closed its
	// handle, until another handle takes the lock over. For a mutex it lasts
	// until a Repair succeeds. Such a lock blocks no other handle: the next one
	// to lock it takes it over.
	LockOwnerDied LockState = "owner died"
)

// Counters count events since the name was created. Counting costs much less
// than the event itself.
type Counters struct {
	Waits          uint64 // waits that slept: for a lock, a version, a message, …
	TakeOvers      uint64 // locks taken over from an owner that died
	DisturbedReads uint64 // reads that started again because writers overtook them
	Redeliveries   uint64 // messages taken over from a receiver that died
}

func describe(name string, s *member.Status) Info {
	g := s.Geometry
	i := Info{
		Name: name, Kind: Kind(g.Kind.String()), Path: s.Path, Persist: g.Persist, Mode: s.Mode, Size: g.Size(),
		Writers: len(s.Holders), Readers: s.Readers, Lock: Lock{State: LockFree, PID: s.Lock.PID, Waiters: s.Lock.Waiters},
		Counters: Counters{
			Waits: s.Counts[layout.Waits], TakeOvers: s.Counts[layout.TakeOvers], DisturbedReads: s.Counts[layout.DisturbedReads],
			Redeliveries: s.Counts[layout.Redeliveries],
		},
		Codec: g.CodecID, Type: g.TypeName, Slots: g.Slots, LockReads: g.LockReads, Version: s.Version,
	}
	switch i.Kind {
	case KindSegment:
		i.Capacity = g.Capacity
	case KindQueue:
		q := &s.Queue
		i.Capacity, i.Version, i.Messages, i.Takers, i.Orphans, i.Shut = g.Capacity, q.Sent, q.Messages, q.Takers, q.Orphans, q.Shut
	case KindSemaphore:
		i.Permits, i.Used, i.Users, i.Waited = g.Capacity, s.Users.Used, s.Users.PIDs, s.Users.Waited
	case KindRWMutex:
		i.LockReaders, i.Users = s.Users.Readers, s.Users.PIDs
	case KindCond:
		i.Waiting, i.Users = s.Users.Waiting, s.Users.PIDs
	case KindEvent:
		i.Set, i.Waited = s.Users.Set, s.Users.Waited
	}
	if s.UID >= 0 {
		i.Owner = strconv.Itoa(s.UID)
	}
	for _, h := range s.Holders {
		i.Holders = append(i.Holders, h.PID)
	}
	switch {
	case s.Lock.Held:
		i.Lock.State = LockHeld
	case s.Lock.Died:
		i.Lock.State = LockOwnerDied
	}
	return i
}

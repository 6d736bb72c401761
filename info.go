package sharedseg

import (
	"io/fs"
	"strconv"

	"github.com/sharedseg/sharedseg/internal/layout"
	"github.com/sharedseg/sharedseg/internal/member"
)

// Kind is what a name leads to.
type Kind string

const (
	KindSegment   Kind = "segment"   // of package segment
	KindQueue     Kind = "queue"     // of package queue
	KindMutex     Kind = "mutex"     // of package ipcsync, as the others
	KindRWMutex   Kind = "rwmutex"   //
	KindSemaphore Kind = "semaphore" //
	KindCond      Kind = "cond"      //
	KindEvent     Kind = "event"     //
)

// Info describes what a name leads to, as it was at one moment.
type Info struct {
	Name    string
	Kind    Kind
	Path    string // its file
	Persist bool
	Mode    fs.FileMode // 0 on Windows
	Owner   string      // the user to whom its file belongs, as os/user.User.Uid; "" on Windows
	Size    int64       // bytes of memory

	// Writers is the number of open handles that may write, and of Readers that
	// have borrowed a value. Holders has a process ID for each of them, as a
	// hint.
	Writers int
	Holders []int
	// Readers is the number of open handles that only read, up to 10,000. On
	// Windows it is 1 for any number.
	Readers int

	Lock     Lock
	Counters Counters

	// Of a segment or queue.
	Codec     string // the codec's ID
	Type      string // the Go type, as its creator called it
	Capacity  int64  // bytes of the largest encoding
	Slots     int    // versions that a segment keeps; messages that a queue has room for
	LockReads bool   // of a segment
	Version   uint64 // of a segment: the number of its current value, 0 if nothing was stored; of a queue: messages sent

	// Of a queue. More than 1,024 messages are counted, and only the oldest
	// 1,024 asked after their takers.
	Messages int   // that were sent and are not done
	Takers   []int // the processes of the receivers that have one of them
	Orphans  int   // of them, those that a receiver had that died; the next Receive gets one
	Shut     bool

	// Of a Semaphore.
	Permits int64
	Used    int64 // by handles that are open

	LockReaders int  // of an RWMutex: goroutines that have it for reading
	Waiting     int  // of a Cond: goroutines that wait
	Set         bool // of an Event
}

// Live reports whether Attach finds the name. What is not live was left by
// processes that died. It goes with the next Open of its name, with Sweep, or
// when another process creates its first name: see Sweep. A lock whose owner
// died stays until what it guards is repaired, or until Remove.
func (i *Info) Live() bool { return i.Persist || i.Writers > 0 || i.Readers > 0 }

// Lock is the state of a lock: the mutex itself, or the one that the writers of
// a segment take, the senders of a queue, and so on.
type Lock struct {
	State LockState
	// PID is the process ID of the holder, and of the owner that died if it is
	// still known; 0 if there is none. It is a hint: it is as the holder's PID
	// namespace numbers it.
	PID int
	// Waiters says that somebody waits for the lock, or did and died.
	Waiters bool
}

// LockState is what a lock is in.
type LockState string

const (
	LockFree LockState = "free"
	LockHeld LockState = "held"
	// LockOwnerDied is the state of a lock whose owner died, or closed its
	// handle, and nobody has taken it over since; of a mutex, until a Repair
	// succeeds. It keeps nobody out: the next to lock it takes it over.
	LockOwnerDied LockState = "owner died"
)

// Counters say how a name fares. They count events that cost much more than the
// counting, since the name was created.
type Counters struct {
	Waits          uint64 // a lock, or a version, that somebody had to sleep for
	TakeOvers      uint64 // the lock of an owner that died was taken over
	DisturbedReads uint64 // a read that had to start again, as writers overtook it
	Redeliveries   uint64 // a message was taken from a receiver that died
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
		i.Permits, i.Used = g.Capacity, s.Users.Used
	case KindRWMutex:
		i.LockReaders = s.Users.Readers
	case KindCond:
		i.Waiting = s.Users.Waiting
	case KindEvent:
		i.Set = s.Users.Set
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

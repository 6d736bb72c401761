package segment

import (
	"runtime"

	"github.com/sharedseg/sharedseg/codec"
	"github.com/sharedseg/sharedseg/internal/layout"
	"github.com/sharedseg/sharedseg/internal/member"
	"github.com/sharedseg/sharedseg/internal/payload"
	"github.com/sharedseg/sharedseg/internal/turn"
	"github.com/sharedseg/sharedseg/sync"
)

// Open attaches to the segment with the given name, or creates it if it does
// not exist. If several processes open a name at the same time, exactly one of
// them initialises the segment, and the others find it ready. A segment that
// does not persist and that no process has open, as after a crash of all its
// users, is initialised again.
//
// The name has 1 to 200 of the characters A-Z, a-z, 0-9, '.', '_' and '-', and
// does not start with a dot. Segments, queues and locks share one namespace.
// The ID of c must equal that of the codec with which the segment was created;
// see Options for what else must agree.
//
// A segment takes all of its memory when it is created. If the file system, the
// machine or, on Linux, the process's memory control groups do not have that
// much room, Open returns ErrNoSpace, with the figures, and takes nothing.
//
// Open returns one of these errors:
//
//   - fs.ErrInvalid: the name, the options or the codec is invalid, which
//     includes an ID that is empty or longer than 1 MiB, and a segment that is
//     too large for the address space
//   - ErrIncompatible: the name belongs to something else, to a segment of
//     another type, or to a segment that this process cannot address
//   - ErrTooLarge: Capacity is smaller than codec.Fixed needs
//   - ErrCorrupt, ErrNoSpace, ErrTooManyMembers, fs.ErrPermission,
//     errors.ErrUnsupported
//   - syscall.ENOMEM: the process has no addresses or no mappings left
//   - os.ErrDeadlineExceeded: a process was suspended while it opened or closed
//     the segment
//
// Open waits 5 seconds for a suspended process, not counting time in which this
// process is suspended itself. It waits without limit for a process that is
// reserving memory.
func Open[T any](name string, c codec.Codec[T], o *Options) (*Segment[T], error) {
	return open(member.OpenOrCreate, "open", name, c, o)
}

// Create is like Open for a segment that must not exist. It returns fs.ErrExist
// if a segment with this name is live or persists.
func Create[T any](name string, c codec.Codec[T], o *Options) (*Segment[T], error) {
	return open(member.CreateOnly, "create", name, c, o)
}

// Attach is like Open for a segment that must exist. It returns fs.ErrNotExist
// if no segment with this name is live or persists.
func Attach[T any](name string, c codec.Codec[T], o *Options) (*Segment[T], error) {
	return open(member.AttachOnly, "attach", name, c, o)
}

// OpenReader attaches to a segment, as Attach does, with a handle that maps it
// read-only. Read permission is enough. Any number of Readers can be open.
func OpenReader[T any](name string, c codec.Codec[T], o *Options) (*Reader[T], error) {
	if o == nil {
		o = new(Options)
	}
	s, err := spec(name, c, o)
	if err != nil {
		return nil, wrap("open", name, err)
	}
	m, err := member.JoinReader(s)
	if err != nil {
		return nil, wrap("open", name, err)
	}
	r := new(Reader[T])
	r.init(name, c, o, m)
	return r, nil
}

func open[T any](how member.How, op, name string, c codec.Codec[T], o *Options) (*Segment[T], error) {
	if o == nil {
		o = new(Options)
	}
	spec, err := spec(name, c, o)
	if err != nil {
		return nil, wrap(op, name, err)
	}
	m, err := member.Join(how, spec)
	if err != nil {
		return nil, wrap(op, name, err)
	}
	s := new(Segment[T])
	s.init(name, c, o, m)
	// A writer that dies leaves nothing to repair.
	s.turn = turn.New(m, func() error { return nil })
	s.lockReads = m.Geometry.LockReads
	return s, nil
}

// remedy is the advice in errors about a value that does not decode.
const remedy = "Store replaces it"

func (r *handle[T]) init(name string, c codec.Codec[T], o *Options, m *member.Member) {
	r.name, r.member, r.state = name, m, m.State
	r.payload = payload.New(c, layout.NewSlots(m.Mem, m.Geometry), remedy)
	r.direct = m.Direct && r.payload.Direct
	r.seq = ipcsync.NewSeqLock((*ipcsync.Counters)(m.Words.Versions()), m.Geometry.Slots, int(m.Geometry.Capacity))
	r.notifier = r.newNotifier()
	if o.Populate {
		m.Populate()
	}
	r.pins = new(pins)
	if r.borrowable = m.Geometry.HasRows() && m.WaitPage.Usable(); r.borrowable {
		r.rows = m.WaitPage
	}
	runtime.AddCleanup(r, attachment.discard, attachment{m, r.pins})
}

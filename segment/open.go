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

// Open attaches to the segment of that name, or creates it if there is none.
// Exactly one of those who open a name at the same time initialises it; the
// others see it ready. A segment that does not persist and that nobody has
// open, as after the crash of all its users, counts as none and begins anew.
//
// The name has 1 to 200 of the characters A-Z, a-z, 0-9, '.', '_' and '-', and
// does not start with a dot. c must have the same ID as the codec of those who
// have it open; see Options for what else must agree.
//
// A segment takes all of its memory when it is created. What the file system,
// the machine or, on Linux, the memory control groups of the process have no
// room for is ErrNoSpace, with the figures, and nothing is taken.
//
// Errors: fs.ErrInvalid (name, options or codec: also an empty ID, one of more
// than 1 MiB, or more memory than can be addressed), ErrIncompatible (something
// else has the name, a segment of another type, or one that this process cannot
// address), ErrCorrupt, ErrNoSpace, ErrTooLarge (Capacity less than codec.Fixed
// needs), ErrTooManyMembers, fs.ErrPermission, errors.ErrUnsupported,
// syscall.ENOMEM (the process has no addresses, or no mappings, left), and
// os.ErrDeadlineExceeded if a process was stopped half-way through opening or
// closing the segment; Open waits 5 seconds for it, not counting time in which
// this process was stopped itself, and for as long as it takes for one that is
// reserving memory.
func Open[T any](name string, c codec.Codec[T], o *Options) (*Segment[T], error) {
	return open(member.OpenOrCreate, "open", name, c, o)
}

// Create is Open for a segment that must not exist; if one is live, or
// persists, that is fs.ErrExist.
func Create[T any](name string, c codec.Codec[T], o *Options) (*Segment[T], error) {
	return open(member.CreateOnly, "create", name, c, o)
}

// Attach is Open for a segment that must exist; if none is live nor persists,
// that is fs.ErrNotExist.
func Attach[T any](name string, c codec.Codec[T], o *Options) (*Segment[T], error) {
	return open(member.AttachOnly, "attach", name, c, o)
}

// OpenReader attaches to a segment, as Attach does, with a handle that maps it
// read-only. It needs no more than read permission. Any number of Readers may
// be open.
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
	// A writer that dies leaves nothing to repair, so the next one just goes
	// on.
	s.turn = turn.New(m, func() error { return nil })
	s.lockReads = m.Geometry.LockReads
	return s, nil
}

// remedy is what to do about a value that does not decode.
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

package natsbridge

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"os"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/sharedseg/sharedseg"
	"github.com/sharedseg/sharedseg/codec"
	"github.com/sharedseg/sharedseg/segment"
)

// MirrorOptions are the options of Mirror. A nil *MirrorOptions and the zero
// value select the defaults.
type MirrorOptions struct {
	// Segment says where the segment is, and how Mirror creates it if it does
	// not exist. If its Capacity is 0, the new segment gets the capacity of the
	// segment that was published.
	Segment *segment.Options
	// Codec is the ID of the codec for values without headers, such as those
	// that other NATS clients put. If it is "", Mirror refuses such values.
	Codec string
	// Logger receives a message when the bridge starts, fails, succeeds again,
	// or refuses a value. If it is nil, slog.Default() is used.
	Logger *slog.Logger
}

// Mirror stores the newest value of a key of a KeyValue bucket in the segment
// with that name. It does so at once and whenever the key changes, until ctx is
// done. If the segment does not exist, the first value creates it, with the
// codec that the value's headers name. Programs can open the segment before or
// after that.
//
// Mirror stores revisions in order and each at most once. It always stores the
// newest. How many earlier ones it skips depends on the bucket's history and on
// the speed of the connection. It does not store values that this host
// published. When the key is deleted, the segment keeps its value.
//
// If a program of this host stores a value, the next revision overwrites it,
// unless a [Publish] of the same key, bucket and segment runs on this host and
// puts the value first.
//
// If a value is larger than the segment's capacity, Mirror logs that, and the
// segment keeps its value. Mirror continues with the next revision.
//
// Mirror blocks. It returns the error of ctx when ctx is done. It also returns
// when trying again would be useless:
//
//   - ErrIncompatible: a value has an unknown codec, or not the segment's, or the name is not a segment.
//   - fs.ErrInvalid: the name, the bucket or the key is not valid.
//   - fs.ErrPermission, errors.ErrUnsupported.
//   - [nats.ErrConnectionClosed]: the connection was closed permanently.
//
// It logs all other errors, including a missing bucket, and tries again.
func Mirror(ctx context.Context, js jetstream.JetStream, bucket, key, name string, o *MirrorOptions) error {
	if o == nil {
		o = new(MirrorOptions)
	}
	m := mirror{
		bridge: newBridge("mirror", name, js.Conn(), place(o.Segment), sharedseg.KindSegment, o.Logger, "bucket", bucket, "key", key),
		opts:   o,
	}
	var err error
	if m.key, err = newKey(js, bucket, key); err != nil {
		return m.wrap(err)
	}
	return m.run(ctx, m.session)
}

type mirror struct {
	bridge
	opts *MirrorOptions
	key  *key

	segment *segment.Segment[[]byte]
	label   label
	link    *link
}

// session mirrors until the segment, the bucket or the connection changes.
func (m *mirror) session(ctx context.Context) error {
	stream, err := m.key.open(ctx)
	if err != nil {
		return err
	}
	first, err := m.first(ctx, stream)
	if err != nil {
		return err
	}
	if m.link, err = openLink(ctx, &m.bridge, m.key, stream); err != nil {
		return err
	}
	defer func() { m.link.close() }()
	info, file, err := m.open(ctx, first)
	if err != nil {
		return err
	}
	defer func() { m.segment.Close() }()
	m.label = labelOf(&info)
	m.link.load = m.segment.LoadInto

	guarded, stop := m.guard(ctx, file, info.Path, true)
	defer stop()
	if err := m.link.reconcile(guarded, first); err != nil {
		return m.resume(guarded, err)
	}
	m.log.Info("mirroring", "codec", m.label.String(), "revision", m.link.state.Revision)
	m.well()
	return m.resume(guarded, m.mirror(guarded, stream))
}

// first returns the newest revision of the key. If the segment does not exist,
// it waits for a revision with a value.
func (m *mirror) first(ctx context.Context, stream jetstream.Stream) (*entry, error) {
	for logged := false; ; logged = true {
		last, err := m.key.last(ctx)
		if err != nil || !last.marker() {
			return &last, err
		}
		info, err := sharedseg.Stat(m.name, m.place)
		if err == nil && info.Live() {
			return &last, nil
		} else if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		if !logged {
			m.log.Info("waiting for a value, or until the segment is created")
		}
		if sleep(ctx, longestPause); ctx.Err() != nil {
			return nil, ctx.Err()
		}
	}
}

// open opens the segment. If it does not exist, open creates it for values like
// first.
func (m *mirror) open(ctx context.Context, first *entry) (info sharedseg.Info, file os.FileInfo, err error) {
	var o segment.Options
	if m.opts.Segment != nil {
		o = *m.opts.Segment
	}
	if !first.marker() {
		l, err := readLabel(first.header, m.opts.Codec)
		if err != nil {
			return info, nil, err
		}
		create := o
		if create.Capacity == 0 {
			create.Capacity = max(l.capacity, len(first.value))
		}
		made, err := segment.Create(m.name, codec.Opaque(l.codec), &create)
		if err == nil {
			defer made.Close() // after it was opened again
		} else if !errors.Is(err, fs.ErrExist) {
			return info, nil, err
		}
	}
	return m.attach(ctx, false, func(info sharedseg.Info) (err error) {
		m.segment, err = segment.Attach(m.name, codec.Opaque(info.Codec), &o)
		return err
	}, func() { m.segment.Close() })
}

func (m *mirror) mirror(ctx context.Context, stream jetstream.Stream) error {
	messages, stop, err := m.key.follow(ctx, stream)
	if err != nil {
		return err
	}
	defer stop()
	for newest := uint64(0); ; {
		limited, cancel := context.WithTimeout(ctx, checkPause)
		msg, err := messages.Next(jetstream.NextContext(limited))
		cancel()
		switch {
		case err == nil:
			meta, err := msg.Metadata()
			if err != nil {
				return err
			}
			newest = meta.Sequence.Stream
			if err := m.store(ctx, &entry{revision: newest, header: msg.Headers(), value: msg.Data()}); err != nil {
				return err
			}
			m.well()
		case ctx.Err() != nil || !errors.Is(err, context.DeadlineExceeded):
			return err
		default: // no message: nothing has changed, or the consumer has ended
			last, err := m.key.last(ctx)
			if err != nil {
				return err
			}
			if last.revision != newest && last.revision != 0 {
				return errAgain
			}
		}
	}
}

// store stores a revision in the segment, unless the segment has that or a
// newer one.
func (m *mirror) store(ctx context.Context, e *entry) error {
	if e.marker() {
		m.log.Info("the key was deleted; the segment keeps its value", "revision", e.revision)
		return m.link.update(ctx, func(b *base) error {
			b.Revision = max(b.Revision, e.revision)
			return nil
		})
	}
	l, err := readLabel(e.header, m.opts.Codec)
	if err == nil {
		err = l.check(m.key.String(), &m.label)
	}
	if err != nil {
		return err
	}
	for {
		if due, err := m.announce(ctx, e); err != nil || !due {
			return err
		}
		if over, err := m.commit(ctx, e); err != nil || over {
			return err
		}
	}
}

// announce reports whether a revision must be stored. If so, it records that
// before the store. If this process is then killed, other bridges know where
// the segment's value came from.
func (m *mirror) announce(ctx context.Context, e *entry) (due bool, err error) {
	err = m.link.update(ctx, func(b *base) error {
		due = m.due(b, e)
		switch {
		case due:
			b.IncomingRevision, b.Incoming = e.revision, e.sum()
		case m.link.own(e) && e.revision > b.Revision:
			b.settle(e)
		default:
			return errUnchanged
		}
		return nil
	})
	return due, err
}

// commit stores a revision that was announced, unless another bridge has
// processed it since. It reports over = false if another Mirror has announced
// another revision.
func (m *mirror) commit(ctx context.Context, e *entry) (over bool, err error) {
	var failed error
	err = m.link.update(ctx, func(b *base) error {
		if over = !m.due(b, e); over || b.IncomingRevision != e.revision || b.Incoming != e.sum() {
			return errUnchanged
		}
		over = true
		if failed = m.segment.StoreContext(ctx, e.value); failed == nil {
			b.settle(e)
		}
		b.forget()
		return nil
	})
	if errors.Is(failed, sharedseg.ErrTooLarge) {
		m.log.Error("the segment keeps its value", "error", failed, "revision", e.revision,
			"bytes", len(e.value), "capacity", m.label.capacity)
		failed = nil
	}
	return over, errors.Join(err, failed)
}

// due reports whether a revision must be stored: the segment has no value at
// all, or the revision is new on this host and was not put by it.
func (m *mirror) due(b *base, e *entry) bool {
	if m.segment.Version() == 0 {
		return true
	}
	return e.revision > b.Revision && !m.link.own(e)
}

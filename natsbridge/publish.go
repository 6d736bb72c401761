package natsbridge

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/sharedseg/sharedseg"
	"github.com/sharedseg/sharedseg/codec"
	"github.com/sharedseg/sharedseg/segment"
)

// PublishOptions are the options of Publish. The zero value, and nil, are ready
// to use.
type PublishOptions struct {
	// Segment says where the segment is: Dir, Mode, SecurityDescriptor and
	// Global count.
	Segment *segment.Options
	// Interval is the shortest time between two values that are put. 0: as many
	// as the server acknowledges, one after the other.
	Interval time.Duration
	// Codec is the ID of the codec of values that are in the key and do not
	// say, as those that other NATS clients put. "": such a key is not
	// overwritten.
	Codec string
	// Logger is told when a bridge begins, stands still, goes on and refuses a
	// value. nil: slog.Default().
	Logger *slog.Logger
}

// Publish puts the newest value of the segment of that name into a key of a
// KeyValue bucket, now and whenever it changes, until ctx is done. It waits
// until there is such a segment.
//
// Values that follow each other faster than the server acknowledges them are
// conflated: one is under way at a time, and the next is the newest then. The
// last one always goes. A value that a [Mirror] of the same key stored in the
// segment is not put, nor one that is there already.
//
// A value is put only in place of the revision that was known on this host when
// it was read; if another host was faster, it is put after the other's, unless
// a Mirror brought that one here first. So the order in the key decides, and
// hosts that publish and mirror a key end with the same value.
//
// Any number of bridges may publish one segment, or one key. What was put by
// others than bridges, or with another codec, is not overwritten: that is
// ErrIncompatible, and deleting the key makes way. A deleted key is set again
// by the next change.
//
// A value that is larger than the server, or the bucket, takes is logged, and
// the next is tried. The key keeps what it had.
//
// While the bridge is open, so is the segment, as for any reader: a program
// that comes back finds the old value, and must have the old type and capacity,
// unless [sharedseg.Remove] took the name away, in which case the bridge
// follows.
//
// Publish blocks, returns when ctx is done, with its error, and on errors that
// waiting does not cure: ErrIncompatible (another codec in the key, or the name
// is no segment), fs.ErrInvalid (name, bucket or key), fs.ErrPermission,
// errors.ErrUnsupported, and [nats.ErrConnectionClosed] when the connection was
// closed for good. Everything else is logged and tried again, a missing bucket
// included.
func Publish(ctx context.Context, name string, js jetstream.JetStream, bucket, key string, o *PublishOptions) error {
	if o == nil {
		o = new(PublishOptions)
	}
	p := publisher{
		bridge: newBridge("publish", name, js.Conn(), place(o.Segment), sharedseg.KindSegment, o.Logger, "bucket", bucket, "key", key),
		opts:   o,
	}
	var err error
	if p.key, err = newKey(js, bucket, key); err != nil {
		return p.wrap(err)
	}
	return p.run(ctx, p.session)
}

// place is where a segment is.
func place(o *segment.Options) *sharedseg.Place {
	if p := o.Place(); p != nil {
		return p
	}
	return new(sharedseg.Place)
}

type publisher struct {
	bridge
	opts *PublishOptions
	key  *key

	segment  *segment.Reader[[]byte]
	label    label
	link     *link
	buf      []byte // of the segment's value
	tooLarge uint64 // the version that the server does not take
}

// session publishes until the segment, the bucket or the connection is another.
func (p *publisher) session(ctx context.Context) (err error) {
	stream, err := p.key.open(ctx)
	if err != nil {
		return err
	}
	if p.link, err = openLink(ctx, &p.bridge, p.key, stream); err != nil {
		return err
	}
	defer func() { p.link.close() }()
	info, file, err := p.attach(ctx, true, func(info sharedseg.Info) (err error) {
		p.segment, err = segment.OpenReader(p.name, codec.Opaque(info.Codec), p.opts.Segment)
		return err
	}, func() { p.segment.Close() })
	if err != nil {
		return err
	}
	defer func() { p.segment.Close() }()
	p.label, p.tooLarge = labelOf(&info), 0
	p.link.load = p.segment.LoadInto

	guarded, stop := p.guard(ctx, file, info.Path, true)
	defer stop()
	if err := p.check(guarded); err != nil {
		return p.resume(guarded, err)
	}
	p.log.Info("publishing", "codec", p.label.String(), "version", p.segment.Version(), "revision", p.link.state.Revision)
	p.well()
	return p.resume(guarded, p.publish(guarded))
}

// check compares what bridges know of the key with what it holds.
func (p *publisher) check(ctx context.Context) error {
	last, err := p.key.last(ctx)
	if err != nil {
		return err
	}
	if err := p.replaceable(&last); err != nil {
		return err
	}
	return p.link.reconcile(ctx, &last)
}

// replaceable returns nil if a revision may be replaced by a value of the
// segment.
func (p *publisher) replaceable(e *entry) error {
	if e.marker() {
		return nil
	}
	there, err := readLabel(e.header, p.opts.Codec)
	if err != nil {
		return err
	}
	if err := there.check(p.key.String(), &p.label); err != nil {
		return fmt.Errorf("%w; delete the key to have it replaced", err)
	}
	return nil
}

func (p *publisher) publish(ctx context.Context) error {
	for {
		t, err := p.look(ctx)
		if err != nil {
			return err
		}
		if !t.dirty || t.version == p.tooLarge {
			if err := p.wait(ctx, t.version); err != nil {
				return err
			}
			continue
		}
		start := time.Now()
		m := &nats.Msg{Subject: p.key.putSubject, Header: p.label.header(), Data: p.buf}
		m.Header.Set(HeaderOrigin, p.link.origin())
		revision, err := p.key.put(ctx, m, t.expected)
		switch {
		case err == nil:
			p.well()
			if err := p.link.agree(ctx, revision, t.sum); err != nil {
				return err
			}
			if p.opts.Interval > 0 {
				sleep(ctx, p.opts.Interval-time.Since(start))
			}
		case errors.Is(err, errConflict):
			if err := p.giveWay(ctx, &t); err != nil {
				return err
			}
		default:
			large := refused(p.conn, m, err)
			if large == nil {
				return err
			}
			p.tooLarge = t.version
			p.log.Error("the key keeps its value", "error", large, "version", t.version)
		}
	}
}

// A try is what one look at segment and link says.
type try struct {
	version  uint64
	sum      [sha256.Size]byte // of the value in p.buf
	dirty    bool              // this host stored it, so it has to be put
	expected uint64            // the revision in place of which it is put
	again    bool              // it was tried before, and nobody knows what became of it
}

// look reads the segment's value into p.buf, and if it has to be put, notes
// that it is under way.
func (p *publisher) look(ctx context.Context) (t try, err error) {
	err = p.link.update(ctx, func(b *base) (err error) {
		if t, err = p.peek(b); err != nil {
			return err
		}
		if !t.dirty || t.again {
			return errUnchanged
		}
		b.Outgoing = t.sum
		return nil
	})
	return t, err
}

// peek is look with the link's lock held. It changes nothing.
func (p *publisher) peek(b *base) (t try, err error) {
	if t.version, err = p.segment.LoadInto(&p.buf); err != nil {
		return t, err
	}
	t.sum, t.expected = sha256.Sum256(p.buf), b.Revision
	t.dirty = t.version != 0 && t.sum != b.Sum
	t.again = t.sum == b.Outgoing
	return t, nil
}

// wait waits for a version after the one that is there. From time to time it
// looks whether the key is as it was left.
func (p *publisher) wait(ctx context.Context, version uint64) error {
	for {
		limited, cancel := context.WithTimeout(ctx, checkPause)
		_, err := p.segment.Wait(limited, version)
		cancel()
		if err == nil || ctx.Err() != nil || !errors.Is(err, context.DeadlineExceeded) {
			return err
		}
		before := p.link.state
		if err := p.check(ctx); err != nil {
			return err
		}
		if p.link.state != before {
			return nil
		}
	}
}

// giveWay is for a put that was refused because the key has another revision
// than was expected. What it has is this host's, of which the answer was lost,
// or another's, whose value Mirror may have stored here since.
func (p *publisher) giveWay(ctx context.Context, t *try) error {
	last, err := p.key.last(ctx)
	if err != nil {
		return err
	}
	if err := p.replaceable(&last); err != nil {
		return err
	}
	return p.giveWayTo(ctx, &last, t)
}

// giveWayTo notes that the key has a revision that is to be replaced by what
// this host stored, if the segment has that still. Else the revision is
// Mirror's.
func (p *publisher) giveWayTo(ctx context.Context, last *entry, refused *try) error {
	if err := p.link.reconcile(ctx, last); err != nil {
		return err
	}
	return p.link.update(ctx, func(b *base) error {
		t, err := p.peek(b)
		switch {
		case err != nil:
			return err
		case !t.dirty || last.revision <= b.Revision:
			return errUnchanged
		case refused.again && t.sum == refused.sum:
			b.Sum, b.Outgoing = t.sum, [sha256.Size]byte{} // it may have been put before last was
			return nil
		}
		b.settle(last)
		b.forget()
		return nil
	})
}

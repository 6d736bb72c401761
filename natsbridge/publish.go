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

// PublishOptions are the options of Publish. A nil *PublishOptions and the zero
// value select the defaults.
type PublishOptions struct {
	// Segment says where the segment is. Only Dir, Mode, SecurityDescriptor and
	// Global are used.
	Segment *segment.Options
	// Interval is the minimum time between two puts. If it is 0, Publish puts
	// the next value as soon as the server has acknowledged the last one.
	Interval time.Duration
	// Codec is the ID of the codec for values in the key that have no headers,
	// such as those that other NATS clients put. If it is "", Publish does not
	// overwrite such values.
	Codec string
	// Logger receives a message when the bridge starts, fails, succeeds again,
	// or refuses a value. If it is nil, slog.Default() is used.
	Logger *slog.Logger
}

// Publish puts the newest value of the named segment into a key of a KeyValue
// bucket. It does so at once and whenever the value changes, until ctx
// is done. If the segment does not exist, Publish waits until it does.
//
// Publish puts one value at a time. If the segment changes several times before
// the server has acknowledged a put, the values in between are skipped, and the
// next put has the newest one. The last value is always put. Publish does not
// put a value that a [Mirror] of the same key stored in the segment, nor one
// that the key already has.
//
// A value replaces only the revision that this host knew when Publish read the
// value. If another host was faster, the value is put after that host's, unless
// a Mirror has stored that one here first. So the order in the key decides, and
// all hosts that publish and mirror a key end with the same value.
//
// Any number of bridges can publish one segment or one key. Publish does not
// overwrite a value that has another codec, or that was not put by a bridge and
// whose codec PublishOptions.Codec does not name. Then it returns
// ErrIncompatible. Delete the key to permit that. A deleted key is set again by
// the next change.
//
// If a value is larger than the server or the bucket permits, Publish logs
// that, and the key keeps its value. Publish continues with the next value.
//
// Publish keeps the segment open, like any reader. A program that is restarted
// finds the old value, and must use the old type and capacity. If the name is
// removed with [sharedseg.Remove], Publish follows the name to the next
// segment.
//
// Publish blocks. It returns the error of ctx when ctx is done. It also returns
// when trying again would be useless:
//
//   - ErrIncompatible: the key has a value that Publish does not overwrite, or the name is not a segment.
//   - fs.ErrInvalid: the name, the bucket or the key is not valid.
//   - fs.ErrPermission, errors.ErrUnsupported.
//   - [nats.ErrConnectionClosed]: the connection was closed permanently.
//
// It logs all other errors, including a missing bucket, and tries again.
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

// place returns the place of a segment.
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
	buf      []byte // the segment's value
	tooLarge uint64 // the version that the server refused
}

// session publishes until the segment, the bucket or the connection changes.
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

// check compares the link with the key.
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

// replaceable returns nil if a value of the segment can replace the revision.
func (p *publisher) replaceable(e *entry) error {
	if e.marker() {
		return nil
	}
	there, err := readLabel(e.header, p.opts.Codec)
	if err != nil {
		return err
	}
	if err := there.check(p.key.String(), &p.label); err != nil {
		return fmt.Errorf("%w; delete the key to replace it", err)
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

// A try is the result of reading the segment and the link once.
type try struct {
	version  uint64
	sum      [sha256.Size]byte // of the value in p.buf
	dirty    bool              // this host stored the value, so it must be put
	expected uint64            // the revision that the value replaces
	again    bool              // the value was tried before, with an unknown result
}

// look reads the segment's value into p.buf. If it must be put, look records
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

// peek is like look, but the caller holds the link's lock, and it changes
// nothing.
func (p *publisher) peek(b *base) (t try, err error) {
	if t.version, err = p.segment.LoadInto(&p.buf); err != nil {
		return t, err
	}
	t.sum, t.expected = sha256.Sum256(p.buf), b.Revision
	t.dirty = t.version != 0 && t.sum != b.Sum
	t.again = t.sum == b.Outgoing
	return t, nil
}

// wait waits for a version after the given one. Every checkPause it checks that
// the key is unchanged.
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

// giveWay handles a put that was refused because the key has another revision
// than expected. Either this host put that revision and the answer was lost, or
// another host did, and Mirror may have stored it here since.
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

// giveWayTo records that the key's revision will be replaced by the value that
// this host stored, if the segment still has that value. Otherwise Mirror
// handles the revision.
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
			b.Sum, b.Outgoing = t.sum, [sha256.Size]byte{} // it may have been put before last
			return nil
		}
		b.settle(last)
		b.forget()
		return nil
	})
}

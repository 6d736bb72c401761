package natsbridge

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"runtime"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/sharedseg/sharedseg"
	"github.com/sharedseg/sharedseg/codec"
	"github.com/sharedseg/sharedseg/segment"
)

// A link is the state that all bridges of one host share about one segment and
// one key, in whatever processes they run. It is stored in a separate segment,
// next to the one that it describes. It persists while no bridge runs, so that
// a bridge that was killed can continue where it stopped.
//
// Its lock makes each decision of Publish and Mirror one step. While Publish
// reads the segment and the revision that it will replace, or while Mirror
// stores a revision, the other waits. The server refuses a value from Publish
// if the key no longer has that revision. docs/models/bridge.pml is a model of
// this protocol. It ensures that a value stored by Mirror is never taken for
// one of this host, and that a put replaces only the revision that this host
// had when the value was stored.
type link struct {
	*segment.Segment[base]
	name  string
	about bridge
	// load loads the value of the segment that the link describes.
	load  func(*[]byte) (version uint64, err error)
	buf   []byte
	state base // the base after the last update
}

// A base records how far the segment and the key agree.
type base struct {
	Origin   [16]byte // identifies the values that Publish puts
	Revision uint64   // the key's newest revision that was processed
	// Sum is the SHA-256 of the key's encoding in that revision, or 0 if it has
	// no value. A segment with another value was changed by this host.
	Sum [sha256.Size]byte
	// Incoming is the SHA-256 of the revision IncomingRevision while Mirror
	// stores it. If Mirror is killed meanwhile, the segment's value shows
	// whether it was stored.
	IncomingRevision uint64
	Incoming         [sha256.Size]byte
	// Outgoing is the SHA-256 of the value that Publish puts in place of
	// Revision, until the server answers. Suppose that the answer is lost and
	// another host has set the key since. The value may have been put before
	// that, and putting it again could bring back an old value. So it is
	// treated as put.
	Outgoing [sha256.Size]byte
}

// settle records e as the key's newest revision, and that no value is under
// way.
func (b *base) settle(e *entry) {
	b.Revision, b.Sum, b.Outgoing = e.revision, [sha256.Size]byte{}, [sha256.Size]byte{}
	if !e.marker() {
		b.Sum = e.sum()
	}
}

// linkName returns the name of the link's segment. It differs for a bucket that
// was deleted and created again.
func linkName(name string, k *key, stream jetstream.Stream) string {
	h := sha256.New()
	fmt.Fprintf(h, "%s\n%s\n%s\n", name, k.bucket, k.key)
	binary.Write(h, binary.LittleEndian, stream.CachedInfo().Created.UnixNano())
	const longest = 150
	return name[:min(len(name), longest)] + ".nats." + hex.EncodeToString(h.Sum(nil)[:8])
}

func openLink(ctx context.Context, b *bridge, k *key, stream jetstream.Stream) (*link, error) {
	l := &link{name: linkName(b.name, k, stream), about: *b}
	o := &segment.Options{
		Dir: b.place.Dir, Mode: b.place.Mode, SecurityDescriptor: b.place.SecurityDescriptor, Global: b.place.Global,
		Persist: b.place.Dir != "" || runtime.GOOS != "windows",
	}
	var err error
	if l.Segment, err = segment.Open(l.name, codec.Fixed[base](), o); err != nil {
		return nil, err
	}
	err = l.update(ctx, func(b *base) error {
		if b.Origin == [16]byte{} {
			rand.Read(b.Origin[:])
		}
		return nil
	})
	if err != nil {
		l.Close()
		return nil, err
	}
	return l, nil
}

// errUnchanged is returned by the function passed to update if it changes
// nothing.
var errUnchanged = errors.New("unchanged")

// update runs f with the link's lock held. Before that, it completes what a
// killed Mirror began.
func (l *link) update(ctx context.Context, f func(*base) error) error {
	err := l.UpdateContext(ctx, func(b *base) error {
		finished, err := l.finish(b)
		if err != nil {
			return err
		}
		err = f(b)
		l.state = *b
		if finished && errors.Is(err, errUnchanged) {
			return nil
		}
		return err
	})
	if errors.Is(err, errUnchanged) {
		return nil
	}
	return err
}

// finish records that the segment has the incoming value, if it has.
func (l *link) finish(b *base) (bool, error) {
	if b.IncomingRevision == 0 || l.load == nil {
		return false, nil
	}
	version, err := l.load(&l.buf)
	if err != nil || version == 0 || sha256.Sum256(l.buf) != b.Incoming {
		return false, err
	}
	b.Revision, b.Sum = max(b.Revision, b.IncomingRevision), b.Incoming
	b.Outgoing = [sha256.Size]byte{}
	b.forget()
	return true, nil
}

// forget ends Mirror's announcement.
func (b *base) forget() { b.IncomingRevision, b.Incoming = 0, [sha256.Size]byte{} }

// agree records that the value with that sum was put as the given revision of
// the key.
func (l *link) agree(ctx context.Context, revision uint64, sum [sha256.Size]byte) error {
	return l.update(ctx, func(b *base) error {
		if revision > b.Revision {
			b.Revision, b.Sum, b.Outgoing = revision, sum, [sha256.Size]byte{}
		}
		return nil
	})
}

// reconcile records the key's newest revision where the messages cannot tell
// it: the server has lost its newest revisions, or its answer was lost.
func (l *link) reconcile(ctx context.Context, last *entry) error {
	return l.update(ctx, func(b *base) error {
		switch {
		case last.revision < b.Revision:
			b.settle(last)
			b.forget()
		case last.revision > b.Revision && l.own(last):
			b.settle(last)
		default:
			return errUnchanged
		}
		return nil
	})
}

// own reports whether this host put the revision.
func (l *link) own(e *entry) bool { return e.header.Get(HeaderOrigin) == l.origin() }

func (l *link) origin() string { return hex.EncodeToString(l.state.Origin[:]) }

// close closes the link. It is called after the handle of the segment that the
// link describes was closed. If that was the last handle, close removes the
// link.
func (l *link) close() {
	if err := l.Close(); err != nil {
		l.about.log.Warn("cannot close the state that bridges share", "error", err)
	}
	about, err := sharedseg.Stat(l.about.name, l.about.place)
	if err == nil && !about.Live() || errors.Is(err, fs.ErrNotExist) {
		if own, err := sharedseg.Stat(l.name, l.about.place); err == nil && own.Writers == 0 {
			sharedseg.Remove(l.name, l.about.place)
		}
	}
}

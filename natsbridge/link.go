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

// A link is what all bridges of one host know about one segment and one key, in
// whatever processes they run. It is a segment of its own, beside the one that
// it is about, and it lies there when no bridge runs, so that a bridge that was
// killed goes on where it was.
//
// Its lock makes one step of what Publish and Mirror decide: Publish looks at
// the segment and at the revision that it has to replace, and Mirror stores a
// revision, while the other waits. The server then refuses what Publish puts if
// the key has moved on from that revision. docs/models/bridge.pml is a model of
// it. So a value that Mirror stored is never taken for one of this host, and
// what is put replaces only what was here when it was stored.
type link struct {
	*segment.Segment[base]
	name  string
	about bridge
	load  func(*[]byte) (version uint64, err error) // the value of the segment that it is about
	buf   []byte
	state base // what the last update saw or made
}

// A base says how far segment and key agree.
type base struct {
	Origin   [16]byte // of what Publish puts
	Revision uint64   // the newest of the key that was dealt with
	// Sum is the SHA-256 of the encoding that the key has in that revision. A
	// segment with another value was changed by this host. 0: none.
	Sum [sha256.Size]byte
	// Incoming is that of the revision IncomingRevision, which Mirror stores.
	// If it is killed then, the segment's value tells whether it has.
	IncomingRevision uint64
	Incoming         [sha256.Size]byte
	// Outgoing is that of the value that Publish puts in place of Revision,
	// until the server has answered. If the answer is lost, and others have set
	// the key since, the value may have been put before theirs, and putting it
	// again could bring it back. So it counts as put.
	Outgoing [sha256.Size]byte
}

// settle notes what the key's newest revision is, and with that, that no value
// is under way.
func (b *base) settle(e *entry) {
	b.Revision, b.Sum, b.Outgoing = e.revision, [sha256.Size]byte{}, [sha256.Size]byte{}
	if !e.marker() {
		b.Sum = e.sum()
	}
}

// linkName is the name of the link's segment. A bucket that was deleted and
// created anew is another.
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

// errUnchanged is returned by the function of an update that changes nothing.
var errUnchanged = errors.New("unchanged")

// update runs f with the link's lock held, after what a Mirror began that was
// killed is finished.
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

// finish notes that the segment has the incoming value, if it has.
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

// forget ends what Mirror has announced.
func (b *base) forget() { b.IncomingRevision, b.Incoming = 0, [sha256.Size]byte{} }

// agree notes that the value with that sum was put, and is the key's revision.
func (l *link) agree(ctx context.Context, revision uint64, sum [sha256.Size]byte) error {
	return l.update(ctx, func(b *base) error {
		if revision > b.Revision {
			b.Revision, b.Sum, b.Outgoing = revision, sum, [sha256.Size]byte{}
		}
		return nil
	})
}

// reconcile notes what the key's newest revision is where that cannot be
// learned from its messages: the server has lost the newest ones, or its answer
// was lost.
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

// own reports whether a revision was put by this host.
func (l *link) own(e *entry) bool { return e.header.Get(HeaderOrigin) == l.origin() }

func (l *link) origin() string { return hex.EncodeToString(l.state.Origin[:]) }

// close closes the link. It is called when the handle of the segment that it is
// about is closed. If that was the last, nobody needs the link any more.
func (l *link) close() {
	if err := l.Close(); err != nil {
		l.about.log.Warn("closing what bridges share", "error", err)
	}
	about, err := sharedseg.Stat(l.about.name, l.about.place)
	if err == nil && !about.Live() || errors.Is(err, fs.ErrNotExist) {
		if own, err := sharedseg.Stat(l.name, l.about.place); err == nil && own.Writers == 0 {
			sharedseg.Remove(l.name, l.about.place)
		}
	}
}

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
// whatever processes they run. It is a segment of its own, beside the one that it
// is about, and it lies there when no bridge runs, so that a bridge that was killed
// goes on where it was.
//
// Its lock makes one step of what Publish and Mirror decide: Publish looks at the
// segment and at the revision that it has to replace, and Mirror stores a
// revision, while the other waits. The server then refuses what Publish puts if the
// key has moved on from that revision. docs/models/bridge.pml is a model of it. So a value that Mirror stored is never taken
// for one of this host, and what is put replaces only what was here when it was
// stored.
type link struct {
	*segment.Segment[base]
	name  string
	about bridge
	state base // what the last update saw or made
}

// A base says how far segment and key agree.
type base struct {
	Origin   [16]byte // of what Publish puts
	Revision uint64   // the newest of the key that was dealt with
	// Sum is the SHA-256 of the encoding that the key has in that revision, and
	// Incoming that of the one that Mirror stores, or was about to store when it was
	// killed. A segment with another value was changed by this host. 0: none.
	Sum, Incoming [sha256.Size]byte
}

// linkName is the name of the link's segment. A bucket that was deleted and created
// anew is another.
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

// update runs f with the link's lock held.
func (l *link) update(ctx context.Context, f func(*base) error) error {
	err := l.UpdateContext(ctx, func(b *base) error {
		err := f(b)
		l.state = *b
		return err
	})
	if errors.Is(err, errUnchanged) {
		return nil
	}
	return err
}

// agree notes that the value with that sum is the key's revision, and was the
// segment's.
func (l *link) agree(ctx context.Context, revision uint64, sum [sha256.Size]byte) error {
	return l.update(ctx, func(b *base) error {
		if revision > b.Revision {
			b.Revision, b.Sum = revision, sum
		}
		return nil
	})
}

// reconcile notes what the key's newest revision is where that cannot be learned
// from its messages: the server has lost the newest ones, or was told to.
func (l *link) reconcile(ctx context.Context, last *entry) error {
	return l.update(ctx, func(b *base) error {
		switch {
		case last.revision < b.Revision && last.marker():
			b.Revision, b.Sum, b.Incoming = last.revision, [sha256.Size]byte{}, [sha256.Size]byte{}
		case last.revision < b.Revision:
			b.Revision, b.Sum, b.Incoming = last.revision, last.sum(), [sha256.Size]byte{}
		case last.revision > b.Revision && l.own(last):
			b.Revision, b.Sum = last.revision, last.sum()
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

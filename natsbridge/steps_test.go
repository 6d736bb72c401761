package natsbridge

import (
	"context"
	"crypto/sha256"
	"errors"
	"io/fs"
	"log/slog"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/sharedseg/sharedseg"
	"github.com/sharedseg/sharedseg/codec"
	"github.com/sharedseg/sharedseg/internal/proctest"
	"github.com/sharedseg/sharedseg/segment"
)

// A pair is the bridges of one host in both directions, executed step by step.
// The test determines what the key holds.
type pair struct {
	t testing.TB
	p publisher
	m mirror
}

func newPair(t testing.TB) *pair {
	t.Helper()
	o := &segment.Options{Dir: proctest.TempDir(t)}
	s, err := segment.Open("s", codec.Opaque("x"), o)
	if err != nil {
		t.Fatal(err)
	}
	r, err := segment.OpenReader("s", codec.Opaque("x"), o)
	if err != nil {
		t.Fatal(err)
	}
	l, err := segment.Open("link", codec.Fixed[base](), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close(); r.Close(); l.Close() })
	b := newBridge("test", "s", nil, o.Place(), sharedseg.KindSegment, slog.New(slog.DiscardHandler))
	p := &pair{t: t}
	p.p = publisher{bridge: b, segment: r, link: &link{Segment: l, about: b, load: r.LoadInto}}
	p.m = mirror{bridge: b, segment: s, link: p.p.link, opts: new(MirrorOptions)}
	p.must(p.p.link.update(t.Context(), func(b *base) error {
		b.Origin[0] = 1
		return nil
	}))
	return p
}

func (p *pair) must(err error) {
	p.t.Helper()
	if err != nil {
		p.t.Fatal(err)
	}
}

func revision(n uint64, value, origin string) *entry {
	l := label{codec: "x", order: order}
	e := &entry{revision: n, header: l.header(), value: []byte(value)}
	e.header.Set(HeaderOrigin, origin)
	return e
}

// expect fails the test unless Publish would put value in place of the expected
// revision. If value is "", Publish must put nothing. Otherwise the value is
// then under way.
func (p *pair) expect(value string, expected uint64) (t try) {
	p.t.Helper()
	t, err := p.p.look(p.t.Context())
	p.must(err)
	got := ""
	if t.dirty {
		got = string(p.p.buf)
	}
	if got != value || t.expected != expected {
		p.t.Errorf("Publish puts %q in place of %d, want %q in place of %d", got, t.expected, value, expected)
	}
	return t
}

func (p *pair) has(value string) {
	p.t.Helper()
	if v, err := p.m.segment.Load(); string(v) != value || err != nil {
		p.t.Errorf("the segment has %q, %v, want %q", v, err, value)
	}
}

func (p *pair) announce(e *entry) {
	p.t.Helper()
	due, err := p.m.announce(p.t.Context(), e)
	p.must(err)
	if !due {
		p.t.Errorf("revision %d is not due", e.revision)
	}
}

func (p *pair) commit(e *entry) {
	p.t.Helper()
	over, err := p.m.commit(p.t.Context(), e)
	p.must(err)
	if !over {
		p.t.Errorf("revision %d is not over", e.revision)
	}
}

// A Mirror that is killed at any of its steps leaves nothing that Publish would
// take for a value of this host.
func TestMirrorIsKilled(t *testing.T) {
	p := newPair(t)
	ctx := t.Context()
	p.expect("", 0)
	p.announce(revision(4, "four", "other"))
	p.commit(revision(4, "four", "other"))
	p.expect("", 4)

	five := revision(5, "five", "other")
	p.announce(five)
	p.expect("", 4) // killed before the store
	p.must(p.m.segment.Store(five.value))
	p.expect("", 5) // killed after the store, before it recorded that
	if due, err := p.m.announce(ctx, five); due || err != nil {
		t.Errorf("the stored revision is due: %v, %v", due, err)
	}
	p.expect("", 5)
	p.has("five")
	if due, err := p.m.announce(ctx, five); due || err != nil {
		t.Errorf("the stored revision is due again: %v, %v", due, err)
	}

	p.must(p.m.segment.Store([]byte("mine")))
	p.expect("mine", 5)
	six := revision(6, "six", "other")
	p.announce(six)
	p.expect("mine", 5) // the server refuses it, as the key has revision 6
	p.commit(six)
	p.expect("", 6)
	p.has("six")
}

// A Mirror that is killed after the store finds a newer revision when it
// restarts.
func TestNextIsNewer(t *testing.T) {
	p := newPair(t)
	one, two := revision(1, "one", "other"), revision(2, "two", "other")
	p.announce(one)
	p.must(p.m.segment.Store(one.value)) // killed
	p.announce(two)
	p.expect("", 1)
	p.commit(two)
	p.expect("", 2)
	p.has("two")

	// Two Mirrors run at once. The one that has announced its revision can
	// store it.
	three, four := revision(3, "three", "other"), revision(4, "four", "other")
	p.announce(three)
	p.announce(four)
	if over, err := p.m.commit(t.Context(), three); over || err != nil {
		t.Errorf("the commit of the other revision is over: %v, %v", over, err)
	}
	p.commit(four)
	p.commit(three) // it was processed already
	p.expect("", 4)
	p.has("four")
}

// Mirror does not store what Publish has put, whatever was stored since. The
// result of a put is found out even if its answer was lost.
func TestOwnRevisions(t *testing.T) {
	p := newPair(t)
	ctx := t.Context()
	own := p.p.link.origin()
	p.must(p.m.segment.Store([]byte("a")))
	p.expect("a", 0)
	p.must(p.m.segment.Store([]byte("b"))) // while a is under way
	if due, err := p.m.announce(ctx, revision(1, "a", own)); due || err != nil {
		t.Errorf("own value is due: %v, %v", due, err)
	}
	p.has("b")
	p.expect("b", 1) // Mirror saw it before the answer came
	p.must(p.p.link.agree(ctx, 1, sha256.Sum256([]byte("a"))))
	p.expect("b", 1)
	// The answer for b is lost.
	p.must(p.p.link.reconcile(ctx, revision(2, "b", own)))
	p.expect("", 2)
	// A late answer changes nothing.
	p.announce(revision(3, "c", "other"))
	p.commit(revision(3, "c", "other"))
	p.must(p.p.link.agree(ctx, 2, sha256.Sum256([]byte("b"))))
	p.expect("", 3)
	// If the server has lost its newest revisions, it gets the value again.
	p.must(p.p.link.reconcile(ctx, revision(1, "a", own)))
	p.expect("c", 1)
	p.must(p.p.link.reconcile(ctx, new(entry)))
	p.expect("c", 0)
}

// A value of Publish that was refused is put after the other host's value.
// Mirror does not store that one any more.
func TestGiveWay(t *testing.T) {
	p := newPair(t)
	ctx := t.Context()
	p.must(p.m.segment.Store([]byte("mine")))
	mine := p.expect("mine", 0)
	other := revision(7, "other", "other")
	p.announce(other)
	p.must(p.p.giveWayTo(ctx, other, &mine))
	mine = p.expect("mine", 7)
	p.commit(other)
	p.has("mine")
	// The same value is not put again.
	p.must(p.p.giveWayTo(ctx, revision(8, "mine", "other"), &mine))
	p.expect("", 8)

	// If Mirror has replaced the value that was refused, it also handles the
	// next revision.
	nine, ten := revision(9, "nine", "other"), revision(10, "ten", "other")
	p.must(p.m.segment.Store([]byte("late")))
	late := p.expect("late", 8)
	p.announce(nine)
	p.commit(nine)
	p.must(p.p.giveWayTo(ctx, ten, &late))
	p.announce(ten)
	p.commit(ten)
	p.has("ten")

	// The same value counts as new once the key has another revision.
	p.must(p.m.segment.Store([]byte("change")))
	change := p.expect("change", 10)
	p.must(p.p.giveWayTo(ctx, revision(11, "eleven", "other"), &change))
	p.must(p.m.segment.Store([]byte("ten")))
	p.expect("ten", 11)
}

// If the answer to a put is lost, the value is not put again over one that
// another host has put since.
func TestAnswerIsLost(t *testing.T) {
	p := newPair(t)
	ctx := t.Context()
	p.must(p.m.segment.Store([]byte("mine")))
	p.expect("mine", 0) // it is put as revision 1, and Publish is killed
	// Another host has mirrored that, and put revision 2.
	again := p.expect("mine", 0)
	if !again.again {
		t.Error("the value does not count as tried before")
	}
	two := revision(2, "two", "other")
	p.must(p.p.giveWayTo(ctx, two, &again))
	p.expect("", 0)
	p.announce(two)
	p.commit(two)
	p.has("two")
	p.expect("", 2)
	// A value that is stored later is put.
	p.must(p.m.segment.Store([]byte("mine")))
	if p.expect("mine", 2).again {
		t.Error("a new value counts as tried before")
	}
}

// A label is unchanged after it was written to headers and read back.
func FuzzHeaders(f *testing.F) {
	for _, s := range []string{"json", "", `"`, " a", "a ", "a\r\nb", "ä", "fixed/le:{A uint64@0;B {X int32@0}#8@8}#16", "\xff"} {
		f.Add(s, s, 4096)
	}
	f.Fuzz(func(t *testing.T, id, typ string, capacity int) {
		l := label{codec: id, typ: typ, order: order, capacity: max(capacity, 0)}
		m := &nats.Msg{Subject: "s", Header: l.header()}
		for name, values := range m.Header {
			if strings.ContainsAny(values[0], "\r\n") || strings.TrimSpace(values[0]) != values[0] {
				t.Fatalf("%s: %q", name, values[0])
			}
		}
		got, err := readLabel(m.Header, "")
		if id == "" {
			if !errors.Is(err, sharedseg.ErrIncompatible) {
				t.Fatal(err)
			}
			return
		}
		if got != l || err != nil {
			t.Fatalf("%+v, %v, want %+v", got, err, l)
		}
		if err := got.check("", &l); err != nil {
			t.Fatal(err)
		}
		// Other headers are valid, or readLabel returns ErrIncompatible.
		foreign := nats.Header{HeaderCodec: {id}, HeaderType: {typ}, HeaderCapacity: {typ}}
		if _, err := readLabel(foreign, ""); err != nil && !errors.Is(err, sharedseg.ErrIncompatible) {
			t.Fatal(err)
		}
	})
}

// The byte order matters for codecs whose encodings can depend on it.
func TestByteOrder(t *testing.T) {
	for id, ok := range map[string]bool{
		"json": true, "gob": true, "bytes": true, "string/utf-8": true, "string/utf-16le": true,
		"fixed/le:uint64": true, // the ID contains the byte order
		"example.com/rgb": false,
	} {
		here, there := label{codec: id, order: "le"}, label{codec: id, order: "be"}
		err := there.check("the key", &here)
		if (err == nil) != ok {
			t.Errorf("%s: %v", id, err)
		}
		if err != nil && (!errors.Is(err, sharedseg.ErrIncompatible) || !strings.Contains(err.Error(), `"le"`) || !strings.Contains(err.Error(), `"be"`)) {
			t.Error(err)
		}
	}
}

// The subjects are those of KeyValue, even in another domain.
func TestSubjects(t *testing.T) {
	nc := new(nats.Conn)
	for _, c := range []struct {
		make     func() (jetstream.JetStream, error)
		put, api string
	}{
		{func() (jetstream.JetStream, error) { return jetstream.New(nc) }, "$KV.b.k", "$JS.API."},
		{func() (jetstream.JetStream, error) { return jetstream.NewWithDomain(nc, "hub") }, "$JS.hub.API.$KV.b.k", "$JS.hub.API."},
		{func() (jetstream.JetStream, error) { return jetstream.NewWithAPIPrefix(nc, "p") }, "p.$KV.b.k", "p."},
	} {
		js, err := c.make()
		if err != nil {
			t.Fatal(err)
		}
		k, err := newKey(js, "b", "k")
		if err != nil || k.putSubject != c.put || k.api != c.api || k.subject != "$KV.b.k" {
			t.Errorf("%+v, %v", k, err)
		}
	}
}

// A permanent error ends a bridge, and is wrapped once.
func TestPermanent(t *testing.T) {
	b := newBridge("publish", "s", nil, nil, sharedseg.KindSegment, nil)
	n := 0
	err := b.run(context.Background(), func(context.Context) error {
		if n++; n < 3 {
			return errors.New("the server is away")
		}
		return &sharedseg.Error{Op: "open", Name: "s", Err: fs.ErrPermission}
	})
	if e, ok := errors.AsType[*sharedseg.Error](err); !ok || e.Op != "publish" || !errors.Is(err, fs.ErrPermission) || n != 3 {
		t.Errorf("%v after %d sessions", err, n)
	}
	ctx, cancel := context.WithCancel(context.Background())
	err = b.run(ctx, func(context.Context) error {
		cancel()
		return errors.New("the server is away")
	})
	if !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

package natsbridge_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sharedseg/sharedseg"
	"github.com/sharedseg/sharedseg/codec"
	"github.com/sharedseg/sharedseg/internal/proctest"
	"github.com/sharedseg/sharedseg/natsbridge"
	"github.com/sharedseg/sharedseg/segment"
)

// A sample contains its serial number.
type sample struct {
	Serial uint64
	Fill   [7]uint64 // Serial times the index
}

func newSample(serial uint64) (s sample) {
	s.Serial = serial
	for i := range s.Fill {
		s.Fill[i] = serial * uint64(i)
	}
	return s
}

func openSamples(t testing.TB, h *host, name string) *segment.Segment[sample] {
	t.Helper()
	s, err := segment.Open(name, codec.Fixed[sample](), h.segment())
	must(t, err)
	t.Cleanup(func() { s.Close() })
	return s
}

func open[T any](t testing.TB, h *host, name string, c codec.Codec[T]) *segment.Segment[T] {
	t.Helper()
	s, err := segment.Open(name, c, h.segment())
	must(t, err)
	t.Cleanup(func() { s.Close() })
	return s
}

// holds waits until a segment has the value v.
func holds[T comparable](t testing.TB, s *segment.Segment[T], v T) {
	t.Helper()
	eventually(t, fmt.Sprintf("the value is %.100v", v), func() bool {
		got, err := s.Load()
		must(t, err)
		return got == v
	})
}

// follow checks that each value is whole and that none is older than an earlier
// one, until the serial number is last. It returns the number of values.
func follow(t testing.TB, s *segment.Segment[sample], last uint64) (n int) {
	t.Helper()
	newest := uint64(0)
	for v, err := range s.Watch(patience(t)) {
		must(t, err)
		if v != newSample(v.Serial) {
			t.Fatalf("torn value: %+v", v)
		}
		if v.Serial < newest {
			t.Fatalf("value %d after %d", v.Serial, newest)
		}
		newest = v.Serial
		if n++; newest == last {
			break
		}
	}
	return n
}

// Values arrive in order and conflated, and the last one always arrives.
func TestOrderAndConflation(t *testing.T) {
	js := startServer(t).connect()
	bucket(t, js, "values")
	here, there := newHost(t), newHost(t)
	from, to := openSamples(t, here, "samples"), openSamples(t, there, "samples")
	here.publish(t, js, "samples", "values", "samples")
	there.mirror(t, js, "values", "samples", "samples")
	const last = 200_000
	go func() {
		for i := uint64(1); i <= last; i++ {
			if from.Store(newSample(i)) != nil {
				return
			}
		}
	}()
	n := follow(t, to, last)
	t.Logf("%d of %d values arrived", n, last)
	if n == last {
		t.Error("nothing was conflated")
	}
}

// The mirror creates a segment like the one that it mirrors, whichever bridge
// starts first.
func TestMirrorCreates(t *testing.T) {
	for _, first := range []string{"publish", "mirror"} {
		t.Run(first, func(t *testing.T) {
			js := startServer(t).connect()
			bucket(t, js, "values")
			here, there := newHost(t), newHost(t)
			from := open(t, here, "a", codec.JSON[[]string]())
			if first == "mirror" {
				there.mirror(t, js, "values", "a", "a")
				time.Sleep(2 * 100 * time.Millisecond)
			}
			here.publish(t, js, "a", "values", "a")
			must(t, from.Store([]string{"x"}))
			if first == "publish" {
				there.mirror(t, js, "values", "a", "a")
			}
			var info sharedseg.Info
			eventually(t, "the segment exists", func() (ok bool) {
				var err error
				info, err = sharedseg.Stat("a", there.segment().Place())
				return err == nil && info.Version != 0
			})
			if info.Codec != "json" || info.Capacity != 4096 {
				t.Errorf("%+v", info)
			}
			to := open(t, there, "a", codec.JSON[[]string]())
			if v, err := to.Load(); len(v) != 1 || v[0] != "x" || err != nil {
				t.Errorf("%q, %v", v, err)
			}
		})
	}
}

// A segment is updated 1,000 times a second while the server is stopped and
// restarted once, and killed and restarted once. The other side gets the last
// value.
func TestServerRestarts(t *testing.T) {
	srv := startServer(t)
	bucket(t, srv.connect(), "values")
	here, there := newHost(t), newHost(t)
	from, to := openSamples(t, here, "samples"), openSamples(t, there, "samples")
	proctest.Start(t, "publish", srv.url(), here.dir, "samples", "values", "samples")
	proctest.Start(t, "mirror", srv.url(), there.dir, "values", "samples", "samples")
	const last = 5_000
	var stored time.Time // before the last Store
	var failed error
	var wg sync.WaitGroup
	wg.Go(func() {
		start := time.Now()
		for i := uint64(1); i <= last; i++ {
			stored = time.Now()
			if failed = from.Store(newSample(i)); failed != nil {
				return
			}
			time.Sleep(time.Until(start.Add(time.Duration(i) * time.Millisecond)))
		}
	})
	var came time.Time
	wg.Go(func() {
		t.Logf("%d of %d values arrived", follow(t, to, last), last)
		came = time.Now()
	})
	time.Sleep(time.Second)
	srv.stop()
	srv.start()
	time.Sleep(1500 * time.Millisecond)
	srv.Kill()
	srv.start()
	wg.Wait()
	must(t, failed)
	t.Logf("the last value arrived %v after the Store began", came.Sub(stored))
}

// The bridges at both ends are killed again and again. No older value arrives
// after a newer one, and in the end the last one arrives.
func TestBridgesAreKilled(t *testing.T) {
	srv := startServer(t)
	bucket(t, srv.connect(), "values")
	here, there := newHost(t), newHost(t)
	from, to := openSamples(t, here, "samples"), openSamples(t, there, "samples")
	start := []func() *proctest.Proc{
		func() *proctest.Proc {
			return proctest.Start(t, "publish", srv.url(), here.dir, "samples", "values", "samples")
		},
		func() *proctest.Proc {
			return proctest.Start(t, "mirror", srv.url(), there.dir, "values", "samples", "samples")
		},
	}
	bridges := []*proctest.Proc{start[0](), start[1]()}
	const last = 4_000
	var wg sync.WaitGroup
	wg.Go(func() {
		for i := uint64(1); i <= last; i++ {
			if err := from.Store(newSample(i)); err != nil {
				t.Error(err)
				return
			}
			time.Sleep(time.Millisecond)
		}
	})
	wg.Go(func() { t.Logf("%d of %d values arrived", follow(t, to, last), last) })
	for range 8 {
		time.Sleep(time.Duration(200+rand.IntN(300)) * time.Millisecond)
		i := rand.IntN(2)
		bridges[i].Kill()
		bridges[i] = start[i]()
	}
	wg.Wait()
}

// Two hosts publish and mirror one key. Each value makes at most one revision,
// and nothing is put while no host stores. Both hosts end with the same value.
func TestLoops(t *testing.T) {
	js := startServer(t).connect()
	kv := bucket(t, js, "values")
	var segments []*segment.Segment[sample]
	for range 2 {
		h := newHost(t)
		segments = append(segments, openSamples(t, h, "samples"))
		h.publish(t, js, "samples", "values", "samples")
		h.mirror(t, js, "values", "samples", "samples")
	}
	revision := func() uint64 {
		t.Helper()
		e, err := kv.Get(patience(t), "samples")
		must(t, err)
		return e.Revision()
	}
	// The hosts store in turn. Each value goes to the other host, including one
	// that it had before.
	for i := range 20 {
		v := newSample(uint64(i%3) + 1)
		must(t, segments[i%2].Store(v))
		holds(t, segments[1-i%2], v)
	}
	if r := revision(); r > 20 {
		t.Errorf("20 values made %d revisions", r)
	}
	// Both hosts store at once.
	const each = 500
	before := revision()
	var wg sync.WaitGroup
	for i, s := range segments {
		wg.Go(func() {
			for n := range uint64(each) {
				if err := s.Store(newSample(10 + 2*n + uint64(i))); err != nil {
					t.Error(err)
				}
				time.Sleep(time.Duration(rand.IntN(2000)) * time.Microsecond)
			}
		})
	}
	wg.Wait()
	quiet := uint64(0)
	for { // until nothing has been put for a while
		r := revision()
		if time.Sleep(300 * time.Millisecond); r == revision() {
			quiet = r
			break
		}
	}
	if quiet-before > 2*each {
		t.Errorf("%d values made %d revisions", 2*each, quiet-before)
	}
	e, err := kv.Get(patience(t), "samples")
	must(t, err)
	for i, s := range segments {
		v, err := s.Load()
		must(t, err)
		var there sample
		if err := codec.Fixed[sample]().Decode(e.Value(), &there); err != nil || there != v {
			t.Errorf("host %d has %d, the key %d, %v", i, v.Serial, there.Serial, err)
		}
	}
	t.Logf("%d values of two hosts at once made %d revisions", 2*each, quiet-before)
}

// One host stores. The other mirrors and publishes, and its bridges are killed
// together, so that they restart with a value older than the key's. The old
// value never returns.
func TestOldValuesStayAway(t *testing.T) {
	srv := startServer(t)
	js := srv.connect()
	kv := bucket(t, js, "values")
	here, there := newHost(t), newHost(t)
	from, to := openSamples(t, here, "samples"), openSamples(t, there, "samples")
	here.publish(t, js, "samples", "values", "samples")
	here.mirror(t, js, "values", "samples", "samples")
	watcher, err := kv.Watch(patience(t), "samples")
	must(t, err)
	defer watcher.Stop()
	const last = 3_000
	var wg sync.WaitGroup
	wg.Go(func() {
		for i := uint64(1); i <= last; i++ {
			if err := from.Store(newSample(i)); err != nil {
				t.Error(err)
				return
			}
			time.Sleep(time.Millisecond)
		}
	})
	wg.Go(func() {
		newest := uint64(0)
		for e := range watcher.Updates() {
			if e == nil {
				continue
			}
			var v sample
			if err := codec.Fixed[sample]().Decode(e.Value(), &v); err != nil || v.Serial <= newest {
				t.Errorf("%d after %d, %v", v.Serial, newest, err)
				return
			}
			if newest = v.Serial; newest == last {
				return
			}
		}
	})
	for begun := time.Now(); time.Since(begun) < 3*time.Second; {
		p := proctest.Start(t, "publish", srv.url(), there.dir, "samples", "values", "samples")
		m := proctest.Start(t, "mirror", srv.url(), there.dir, "values", "samples", "samples")
		time.Sleep(time.Duration(150+rand.IntN(250)) * time.Millisecond)
		p.Slay()
		m.Slay()
		p.Kill()
		m.Kill()
	}
	wg.Wait()
	there.mirror(t, js, "values", "samples", "samples")
	follow(t, to, last)
}

// Two bridges for one key, at both ends, and both on one host.
func TestTwoBridgesForOneKey(t *testing.T) {
	srv := startServer(t)
	kv := bucket(t, srv.connect(), "values")
	here, there := newHost(t), newHost(t)
	from, to := openSamples(t, here, "samples"), openSamples(t, there, "samples")
	var procs []*proctest.Proc
	for range 2 {
		procs = append(procs,
			proctest.Start(t, "publish", srv.url(), here.dir, "samples", "values", "samples"),
			proctest.Start(t, "mirror", srv.url(), there.dir, "values", "samples", "samples"))
	}
	const last = 2_000
	go func() {
		for i := uint64(1); i <= last; i++ {
			if from.Store(newSample(i)) != nil {
				return
			}
			time.Sleep(time.Millisecond)
			if i == last/2 {
				procs[0].Slay()
				procs[1].Slay()
			}
		}
	}()
	follow(t, to, last)
	e, err := kv.Get(patience(t), "samples")
	must(t, err)
	if e.Revision() > last {
		t.Errorf("%d values made %d revisions", last, e.Revision())
	}
}

// Wrong types are refused with an error that names both types.
func TestWrongTypes(t *testing.T) {
	js := startServer(t).connect()
	kv := bucket(t, js, "values")
	here, there := newHost(t), newHost(t)
	must(t, openSamples(t, here, "samples").Store(newSample(1)))
	here.publish(t, js, "samples", "values", "k")
	eventually(t, "the key has a value", func() bool {
		_, err := kv.Get(patience(t), "k")
		return err == nil
	})
	other := open(t, there, "other", codec.JSON[map[string]int]())
	must(t, other.Store(map[string]int{"a": 1}))
	texts := []string{
		codec.Fixed[sample]().ID(), "natsbridge_test.sample", `"json"`, "map[string]int", `"k"`, `"values"`,
	}
	m := there.mirror(t, js, "values", "k", "other")
	m.fails(sharedseg.ErrIncompatible, texts...)
	p := there.publish(t, js, "other", "values", "k")
	p.fails(sharedseg.ErrIncompatible, append(texts, "delete the key")...)
	if v, err := other.Load(); err != nil || v["a"] != 1 {
		t.Errorf("%v, %v", v, err)
	}
	// After the key is deleted, Publish can set it.
	must(t, kv.Delete(patience(t), "k"))
	there.publish(t, js, "other", "values", "k")
	eventually(t, "the key has the other value", func() bool {
		e, err := kv.Get(patience(t), "k")
		return err == nil && string(e.Value()) == `{"a":1}`
	})
	// The name is of another kind.
	openNumbers(t, there, "queue")
	there.publish(t, js, "queue", "values", "q").fails(sharedseg.ErrIncompatible, "queue", "segment")
	here2 := newHost(t)
	open(t, here2, "x", codec.String())
	here2.mirror(t, js, "values", "k", "x").fails(sharedseg.ErrIncompatible, `"string/utf-8"`, `"json"`)
}

// Values of other NATS clients are refused, unless the options name their
// codec.
func TestForeignValues(t *testing.T) {
	js := startServer(t).connect()
	kv := bucket(t, js, "values")
	_, err := kv.PutString(patience(t), "k", `{"a":1}`)
	must(t, err)
	h := newHost(t)
	h.mirror(t, js, "values", "k", "s").fails(sharedseg.ErrIncompatible, "Sharedseg-Codec", "Codec")
	s := open(t, h, "mine", codec.JSON[map[string]int]())
	must(t, s.Store(map[string]int{"b": 1}))
	h.publish(t, js, "mine", "values", "k").fails(sharedseg.ErrIncompatible, "Codec")
	run(t, func(ctx context.Context) error {
		return natsbridge.Mirror(ctx, js, "values", "k", "s", &natsbridge.MirrorOptions{Segment: h.segment(), Codec: "json", Logger: logger(t)})
	})
	eventually(t, "the value arrives", func() bool {
		s, err := segment.Attach("s", codec.JSON[map[string]int](), h.segment())
		if err != nil {
			return false
		}
		defer s.Close()
		v, err := s.Load()
		return err == nil && v["a"] == 1
	})
	// When the key is deleted, the segment keeps its value.
	to := open(t, h, "s", codec.JSON[map[string]int]())
	must(t, kv.Delete(patience(t), "k"))
	_, err = kv.PutString(patience(t), "k", `{"a":2}`)
	must(t, err)
	eventually(t, "the next value arrives", func() bool {
		v, err := to.Load()
		must(t, err)
		return v["a"] == 2
	})
}

// A value that is too large for the server, or for the segment at the other
// end, is skipped.
func TestTooLarge(t *testing.T) {
	js := startServerWith(t, 8<<10).connect()
	kv := bucket(t, js, "values")
	here, there := newHost(t), newHost(t)
	from, err := segment.Open("s", codec.String(), &segment.Options{Dir: here.dir, Capacity: 1 << 20})
	must(t, err)
	defer from.Close()
	to, err := segment.Open("s", codec.String(), &segment.Options{Dir: there.dir, Capacity: 1 << 10})
	must(t, err)
	defer to.Close()
	here.publish(t, js, "s", "values", "s")
	there.mirror(t, js, "values", "s", "s")
	must(t, from.Store("small"))
	holds(t, to, "small")
	must(t, from.Store(strings.Repeat("x", 8<<10)))
	time.Sleep(50 * time.Millisecond)
	if e, err := kv.Get(patience(t), "s"); err != nil || string(e.Value()) != "small" {
		t.Errorf("%v", err)
	}
	must(t, from.Store("again"))
	holds(t, to, "again")
	middle := strings.Repeat("y", 4<<10)
	must(t, from.Store(middle))
	eventually(t, "the key has the value", func() bool {
		e, err := kv.Get(patience(t), "s")
		return err == nil && string(e.Value()) == middle
	})
	must(t, from.Store("end"))
	holds(t, to, "end")
}

// The largest value that the server accepts arrives.
func TestLarge(t *testing.T) {
	js := startServer(t).connect()
	bucket(t, js, "values")
	here, there := newHost(t), newHost(t)
	from, err := segment.Open("s", codec.String(), &segment.Options{Dir: here.dir, Capacity: 1 << 20})
	must(t, err)
	defer from.Close()
	here.publish(t, js, "s", "values", "s")
	must(t, from.Store(strings.Repeat("z", 1<<20-500)))
	there.mirror(t, js, "values", "s", "s")
	eventually(t, "the value arrives", func() bool {
		s, err := segment.Attach("s", codec.String(), there.segment())
		if err != nil {
			return false
		}
		defer s.Close()
		v, err := s.Load()
		return err == nil && len(v) == 1<<20-500
	})
}

// When a segment is removed and created again, the bridges at both ends follow
// its name.
func TestRecreated(t *testing.T) {
	js := startServer(t).connect()
	bucket(t, js, "values")
	here, there := newHost(t), newHost(t)
	from, to := openSamples(t, here, "samples"), openSamples(t, there, "samples")
	here.publish(t, js, "samples", "values", "samples")
	there.mirror(t, js, "values", "samples", "samples")
	must(t, from.Store(newSample(1)))
	holds(t, to, newSample(1))

	must(t, sharedseg.Remove("samples", here.segment().Place()))
	from2 := openSamples(t, here, "samples")
	must(t, from2.Store(newSample(2)))
	holds(t, to, newSample(2))

	must(t, sharedseg.Remove("samples", there.segment().Place()))
	to2 := openSamples(t, there, "samples")
	holds(t, to2, newSample(2)) // also the value that the key already had
	must(t, from2.Store(newSample(3)))
	holds(t, to2, newSample(3))
	if v, err := to.Load(); err != nil || v.Serial != 2 {
		t.Errorf("%d, %v", v.Serial, err)
	}
}

// A bucket that was deleted and created again gets the value again, and the
// segment at the other end continues.
func TestBucketRecreated(t *testing.T) {
	js := startServer(t).connect()
	bucket(t, js, "values")
	here, there := newHost(t), newHost(t)
	from, to := openSamples(t, here, "samples"), openSamples(t, there, "samples")
	here.publish(t, js, "samples", "values", "samples")
	m := there.mirror(t, js, "values", "samples", "samples")
	for i := range uint64(5) {
		must(t, from.Store(newSample(i)))
		holds(t, to, newSample(i))
	}
	must(t, js.DeleteKeyValue(patience(t), "values"))
	must(t, from.Store(newSample(6)))
	kv := bucket(t, js, "values")
	holds(t, to, newSample(6))
	must(t, from.Store(newSample(7)))
	holds(t, to, newSample(7))
	e, err := kv.Get(patience(t), "samples")
	must(t, err)
	if e.Revision() > 2 {
		t.Errorf("2 values made %d revisions", e.Revision())
	}

	// While no Mirror runs, the new bucket reaches the revision number that the
	// old one had.
	m.end()
	must(t, js.DeleteKeyValue(patience(t), "values"))
	kv = bucket(t, js, "values")
	for i := uint64(8); ; i++ {
		must(t, from.Store(newSample(i)))
		eventually(t, "the value is put", func() bool {
			now, err := kv.Get(patience(t), "samples")
			return err == nil && now.Value()[0] == byte(i)
		})
		now, err := kv.Get(patience(t), "samples")
		must(t, err)
		if now.Revision() >= e.Revision() {
			there.mirror(t, js, "values", "samples", "samples")
			holds(t, to, newSample(i))
			break
		}
	}
}

// The link of a segment is removed with the segment.
func TestNothingIsLeft(t *testing.T) {
	js := startServer(t).connect()
	bucket(t, js, "values")
	here, there := newHost(t), newHost(t)
	from := openSamples(t, here, "samples")
	p := here.publish(t, js, "samples", "values", "samples")
	m := there.mirror(t, js, "values", "samples", "samples")
	must(t, from.Store(newSample(1)))
	eventually(t, "the value arrives", func() bool {
		info, err := sharedseg.Stat("samples", there.segment().Place())
		return err == nil && info.Version > 0
	})
	must(t, from.Close())
	p.end()
	m.end()
	for _, h := range []*host{here, there} {
		for info, err := range sharedseg.List(h.segment().Place()) {
			t.Errorf("%s is left behind: %+v, %v", info.Name, info, err)
		}
	}
}

// Names and keys are used unchanged.
func TestNames(t *testing.T) {
	js := startServer(t).connect()
	kv := bucket(t, js, "B_1-x")
	h := newHost(t)
	long := strings.Repeat("n", 200)
	for i, c := range []struct{ name, key string }{
		{"a", "a"},
		{"A", "A"}, // different from "a", at both ends
		{"a.b_c-d", "a.b_c-d"},
		{"a.b", "a/b=c.d"},
		{long, strings.Repeat("k", 200)},
		{"0", "-"},
	} {
		s := open(t, h, c.name, codec.String())
		v := fmt.Sprint("value ", i)
		must(t, s.Store(v))
		h.publish(t, js, c.name, "B_1-x", c.key)
		eventually(t, "the value is in "+c.key, func() bool {
			e, err := kv.Get(patience(t), c.key)
			return err == nil && string(e.Value()) == v
		})
	}
	keys, err := kv.Keys(patience(t))
	must(t, err)
	if len(keys) != 6 {
		t.Errorf("%q", keys)
	}
	for _, bad := range []string{"", ".", ".a", "a.", "a..b", "a b", "a*", ">", "ä", "a\n"} {
		err := natsbridge.Publish(t.Context(), "a", js, "B_1-x", bad, nil)
		want(t, err, errInvalid, "key")
		err = natsbridge.Mirror(t.Context(), js, "B_1-x", bad, "a", nil)
		want(t, err, errInvalid, "key")
	}
	want(t, natsbridge.Publish(t.Context(), "a", js, "a.b", "k", nil), errInvalid, "bucket")
	h.publish(t, js, "a/b", "B_1-x", "k").fails(errInvalid)
	h.publish(t, js, "", "B_1-x", "k").fails(errInvalid)
	h.mirror(t, js, "B_1-x", "a", ".a").fails(errInvalid)
}

// A connection that was closed permanently ends a bridge.
func TestConnectionClosed(t *testing.T) {
	srv := startServer(t)
	js := srv.connect()
	bucket(t, js, "values")
	here := newHost(t)
	openSamples(t, here, "samples")
	nc, closed, err := connect(srv.url())
	must(t, err)
	p := here.publish(t, closed, "samples", "values", "k")
	m := here.mirror(t, closed, "values", "k", "samples")
	time.Sleep(50 * time.Millisecond)
	nc.Close()
	p.fails(errConnectionClosed)
	m.fails(errConnectionClosed)
}

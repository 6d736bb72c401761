package segment_test

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/sharedseg/sharedseg"
	"github.com/sharedseg/sharedseg/codec"
	"github.com/sharedseg/sharedseg/internal/mapping"
	"github.com/sharedseg/sharedseg/internal/proctest"
	"github.com/sharedseg/sharedseg/segment"
)

// A block is a value that shows whether it is torn: all its words are the same
// number.
const blockWords = 32 << 10 / 8

type block [blockWords]uint64

func (b *block) fill(n uint64) {
	for i := range b {
		b[i] = n
	}
}

func (b *block) check() (uint64, error) {
	for i, w := range b {
		if w != b[0] {
			return 0, fmt.Errorf("torn: word 0 is %d, word %d is %d", b[0], i, w)
		}
	}
	return b[0], nil
}

// blockWriter NAME FIRST stores blocks from number FIRST on, and writes the
// number of each that it has stored.
func blockWriter(args []string) error {
	n, err := strconv.ParseUint(args[1], 10, 64)
	if err != nil {
		return err
	}
	s, err := segment.Open(args[0], codec.Fixed[block](), nil)
	if err != nil {
		return err
	}
	var b block
	for ; ; n++ {
		b.fill(n)
		if err := s.Store(b); err != nil {
			return err
		}
		fmt.Println(n)
	}
}

// blockReader NAME loads blocks with a Reader until the test says something.
func blockReader(args []string) error {
	r, err := segment.OpenReader(args[0], codec.Fixed[block](), nil)
	if err != nil {
		return err
	}
	defer r.Close()
	var b block
	last := uint64(0)
	return proctest.Repeat(func() error {
		if _, err := r.LoadInto(&b); err != nil {
			return err
		}
		n, err := b.check()
		if err != nil {
			return err
		}
		if n < last {
			return fmt.Errorf("went back from %d to %d", last, n)
		}
		last = n
		return nil
	})
}

func TestKilledWriter(t *testing.T) {
	kills := 250
	if testing.Short() {
		kills = 50
	}
	name := proctest.Name(t)
	s := open(t, name, codec.Fixed[block](), nil)
	var b block
	b.fill(1)
	must(t, s.Store(b))
	reader := proctest.StartGroup(t, 1, "block reader", name)
	reader.Expect("ready")
	last := uint64(1)
	for range kills {
		w := proctest.Start(t, "block writer", name, strconv.FormatUint(last+1, 10))
		acked, err := strconv.ParseUint(w.Line(), 10, 64)
		must(t, err)
		time.AfterFunc(time.Duration(rand.IntN(2000))*time.Microsecond, w.Slay)
		for lines := bufio.NewScanner(w.Output()); lines.Scan(); {
			if n, err := strconv.ParseUint(lines.Text(), 10, 64); err == nil && n == acked+1 {
				acked = n
			}
		}
		w.Kill()

		b, err := s.Load()
		must(t, err)
		got, err := b.check()
		must(t, err)
		if got < acked {
			t.Fatalf("version %d was published, but the value is %d", acked, got)
		}
		last = got + 1
		b.fill(last)
		ctx, cancel := context.WithTimeout(t.Context(), proctest.Patience)
		if err := s.StoreContext(ctx, b); err != nil {
			t.Fatal("a Store after the kill:", err)
		}
		cancel()
	}
	reader.StopRepeating()
}

// counter NAME COUNT adds 1 to the segment NAME, COUNT times.
func counter(args []string) error {
	n, err := strconv.Atoi(args[1])
	if err != nil {
		return err
	}
	s, err := segment.Open(args[0], codec.Fixed[int64](), nil)
	if err != nil {
		return err
	}
	defer s.Close()
	fmt.Println("ready")
	proctest.Await()
	for range n {
		if err := s.Update(func(v *int64) error { *v++; return nil }); err != nil {
			return err
		}
	}
	return nil
}

func TestUpdatesOfSeveralProcesses(t *testing.T) {
	const procs, updates = 4, 20000
	for _, lockReads := range []bool{false, true} {
		t.Run(fmt.Sprint("LockReads=", lockReads), func(t *testing.T) {
			name := proctest.Name(t)
			s := open(t, name, codec.Fixed[int64](), &segment.Options{LockReads: lockReads})
			ps := proctest.StartGroup(t, procs, "counter", name, strconv.Itoa(updates))
			ps.Expect("ready")
			ps.Say("go")
			ps.Wait()
			got, err := s.Load()
			must(t, err)
			if got != procs*updates || s.Version() != procs*updates {
				t.Errorf("%d processes added 1 %d times each: the sum is %d at version %d", procs, updates, got, s.Version())
			}
		})
	}
}

// opener PREFIX COUNT opens the segments PREFIX.ROUND.0 to
// PREFIX.ROUND.COUNT-1, and writes which of them it created, as a line of 0 and
// 1.
func opener(args []string) error {
	n, err := strconv.Atoi(args[1])
	if err != nil {
		return err
	}
	fmt.Println("ready")
	for proctest.Await() != "" {
		round := proctest.Stdin.Text()
		created := make([]byte, n)
		segs := make([]*segment.Segment[int64], n)
		for i := range segs {
			s, err := segment.Open(fmt.Sprint(args[0], ".", round, ".", i), codec.Fixed[int64](), nil)
			if err != nil {
				return err
			}
			created[i] = '0'
			if s.Created() {
				created[i] = '1'
				// The others must neither have seen the segment before it was
				// ready, nor wipe it now.
				if err := s.Store(int64(i)); err != nil {
					return err
				}
			}
			segs[i] = s
		}
		fmt.Println(string(created))
		proctest.Await()
		for i, s := range segs {
			if v, err := s.Load(); err != nil || v != int64(i) {
				return fmt.Errorf("segment %d holds %d, %w", i, v, err)
			}
			if err := s.Close(); err != nil {
				return err
			}
		}
		fmt.Println("closed")
	}
	return nil
}

func TestOpenRace(t *testing.T) {
	const procs, batch = 3, 250
	rounds := 12
	if testing.Short() {
		rounds = 2
	}
	probe := open(t, proctest.Name(t), codec.Fixed[int64](), nil)
	probe.Close()
	name := proctest.Name(t)
	ps := proctest.StartGroup(t, procs, "opener", name, strconv.Itoa(batch))
	ps.Expect("ready")
	for round := range rounds {
		ps.Say(strconv.Itoa(round))
		initialisers := make([]int, batch)
		for _, p := range ps {
			for i, c := range p.Line() {
				initialisers[i] += int(c - '0')
			}
		}
		for i, n := range initialisers {
			if n != 1 {
				t.Fatalf("segment %d of round %d has %d initialisers", i, round, n)
			}
		}
		ps.Say("close")
		ps.Expect("closed")
	}
	ps.Wait()
}

// holder NAME TEXT DIR opens the segment NAME in DIR, stores TEXT, and holds
// the segment until the test says something.
func holder(args []string) error {
	s, err := segment.Open(args[0], codec.String(), &segment.Options{Dir: args[2]})
	if err != nil {
		return err
	}
	defer s.Close()
	if err := s.Store(args[1]); err != nil {
		return err
	}
	fmt.Println("holding", s.Created())
	proctest.Await()
	return nil
}

func TestLastHandleFrees(t *testing.T) {
	name := proctest.Name(t)
	a := open(t, name, codec.String(), nil)
	if !a.Created() {
		t.Error("the first Open did not create the segment")
	}
	p := proctest.Start(t, "holder", name, "from a child", "")
	p.Expect("holding false")
	a.Close()
	b, err := segment.Attach(name, codec.String(), nil)
	if err != nil {
		t.Fatal("while another process holds it:", err)
	}
	if v, err := b.Load(); v != "from a child" || err != nil {
		t.Errorf("Load = %q, %v", v, err)
	}
	p.Wait()
	if v, err := b.Load(); v != "from a child" || err != nil {
		t.Errorf("Load after the child left = %q, %v", v, err)
	}
	b.Close()
	if _, err := segment.Attach(name, codec.String(), nil); !errors.Is(err, fs.ErrNotExist) {
		t.Error("Attach after the last Close:", err)
	}
	if _, err := sharedseg.Stat(name, nil); !errors.Is(err, fs.ErrNotExist) {
		t.Error("Stat after the last Close:", err)
	}
}

// Whatever else a process does with a segment that it has open, others see that
// the segment is in use.
func TestInUse(t *testing.T) {
	o := &segment.Options{Dir: proctest.TempDir(t)}
	s := open(t, "x", codec.String(), o)
	for what, do := range map[string]func() error{
		"nothing": func() error { return nil },
		"Stat": func() error {
			info, err := sharedseg.Stat("x", o.Place())
			if !info.Live() {
				t.Errorf("Stat = %+v", info)
			}
			return err
		},
		"List": func() error {
			for _, err := range sharedseg.List(o.Place()) {
				if err != nil {
					return err
				}
			}
			return nil
		},
		"Sweep":  func() error { _, err := sharedseg.Sweep(o.Place()); return err },
		"Create": func() error { _, err := segment.Create("x", codec.String(), o); return is(err, fs.ErrExist) },
		"Attach": func() error {
			s, err := segment.Attach("x", codec.String(), o)
			if err != nil {
				return err
			}
			return s.Close()
		},
		"Attach with another codec": func() error {
			_, err := segment.Attach("x", codec.Bytes(), o)
			return is(err, sharedseg.ErrIncompatible)
		},
		"OpenReader": func() error {
			r, err := segment.OpenReader("x", codec.String(), o)
			if err != nil {
				return err
			}
			return r.Close()
		},
	} {
		if err := do(); err != nil {
			t.Errorf("%s: %v", what, err)
		}
		p := proctest.Start(t, "holder", "x", what, o.Dir)
		p.Expect("holding false")
		p.Wait()
		if v, err := s.Load(); v != what || err != nil {
			t.Errorf("after %s: Load = %q, %v", what, v, err)
		}
	}
}

// is returns nil if err matches target.
func is(err, target error) error {
	if errors.Is(err, target) {
		return nil
	}
	return fmt.Errorf("%v, want %v", err, target)
}

func TestKilledOnlyUser(t *testing.T) {
	name, o := proctest.Name(t), new(segment.Options)
	if runtime.GOOS != "windows" {
		o.Dir = proctest.TempDir(t) // which no other process sweeps
	}
	open(t, proctest.Name(t), codec.String(), o)
	p := proctest.Start(t, "holder", name, "lost", o.Dir)
	p.Expect("holding true")
	p.Kill()
	gone(t, name, o, 0)
	info, err := sharedseg.Stat(name, o.Place())
	if runtime.GOOS == "windows" {
		want(t, err, fs.ErrNotExist) // the system has freed it
	} else if err != nil || info.Live() {
		t.Errorf("Stat = %+v, %v; want one that is not live", info, err)
	}
	if _, err := segment.Attach(name, codec.String(), o); !errors.Is(err, fs.ErrNotExist) {
		t.Error("Attach to what a dead process left:", err)
	}
	s := open(t, name, codec.String(), o)
	if !s.Created() {
		t.Error("the next Open did not create a segment")
	}
	if v, err := s.Load(); v != "" || err != nil || s.Version() != 0 {
		t.Errorf("Load = %q, %v, version %d; want the zero value", v, err, s.Version())
	}
}

func TestSweep(t *testing.T) {
	o := &segment.Options{Dir: proctest.TempDir(t)}
	live := open(t, "live", codec.String(), o)
	open(t, "persistent", codec.String(), &segment.Options{Dir: o.Dir, Persist: true}).Close()
	p := proctest.Start(t, "holder", "dead", "lost", o.Dir)
	p.Expect("holding true")
	p.Kill()
	gone(t, "dead", o, 0)
	must(t, os.WriteFile(filepath.Join(o.Dir, "foreign"), []byte("something else"), 0o600))
	removed, err := sharedseg.Sweep(o.Place())
	if err != nil || !slices.Equal(removed, []string{"dead"}) {
		t.Errorf("Sweep = %v, %v", removed, err)
	}
	if err := live.Store("still there"); err != nil {
		t.Error(err)
	}
	if removed, err := sharedseg.Sweep(o.Place()); err != nil || removed != nil {
		t.Errorf("second Sweep = %v, %v", removed, err)
	}
}

// What killed processes left of names that are used once is removed when
// another process creates a name.
func TestLeftByWorkers(t *testing.T) {
	var names []string
	var workers []*proctest.Proc
	for range 20 {
		names = append(names, proctest.Name(t))
		workers = append(workers, proctest.Start(t, "holder", names[len(names)-1], "of a worker", ""))
	}
	for i, w := range workers {
		w.Expect("holding true")
		if i%2 == 0 && runtime.GOOS != "windows" {
			w.Signal(os.Interrupt)
			w.Reap()
		} else {
			w.Kill()
		}
	}
	for _, name := range names {
		gone(t, name, nil, 0)
	}
	left := func() (n int) {
		for _, name := range names {
			if _, err := sharedseg.Stat(name, nil); err == nil {
				n++
			}
		}
		return n
	}
	for tries := 0; left() > 0; tries++ {
		if tries == 10 { // a sweep may take a tenth of a second, and this machine can be busy
			t.Fatalf("%d workers left their segments, %d of which exist after %d processes", len(names), left(), tries)
		}
		cmd := proctest.Command("holder", proctest.Name(t), "next", "")
		cmd.Env = append(cmd.Env, "SHAREDSEG_SWEEP=")
		next := proctest.StartCmd(t, cmd)
		next.Expect("holding true")
		for start := time.Now(); left() > 0 && time.Since(start) < 500*time.Millisecond; {
			time.Sleep(time.Millisecond)
		}
		next.Wait()
	}
}

// stuckUpdater NAME stays within an Update of the segment NAME until the test
// says something.
func stuckUpdater(args []string) error {
	s, err := segment.Open(args[0], codec.String(), nil)
	if err != nil {
		return err
	}
	defer s.Close()
	return s.Update(func(v *string) error {
		*v += " updated"
		fmt.Println("updating")
		proctest.Await()
		return nil
	})
}

func TestOwnerThatDoesNotMove(t *testing.T) {
	name := proctest.Name(t)
	s := open(t, name, codec.String(), nil)
	must(t, s.Store("old"))
	p := proctest.Start(t, "updater", name)
	p.Expect("updating")

	// Readers do not wait for it, writers wait until their contexts end, and
	// the lock is not taken from it.
	if v, err := s.Load(); v != "old" || err != nil {
		t.Errorf("Load = %q, %v", v, err)
	}
	ctx := during(t, 100*time.Millisecond)
	want(t, s.StoreContext(ctx, "taken from a live owner"), context.DeadlineExceeded)
	want(t, s.UpdateContext(ctx, func(*string) error { return nil }), context.DeadlineExceeded)

	p.Say("go on")
	p.Wait()
	if v, err := s.Load(); v != "old updated" || err != nil {
		t.Errorf("Load = %q, %v", v, err)
	}
}

func TestKilledUpdater(t *testing.T) {
	for _, lockReads := range []bool{false, true} {
		t.Run(fmt.Sprint("LockReads=", lockReads), func(t *testing.T) {
			name := proctest.Name(t)
			s := open(t, name, codec.String(), &segment.Options{LockReads: lockReads})
			must(t, s.Store("old"))
			for range 20 {
				p := proctest.Start(t, "updater", name)
				p.Expect("updating")
				p.Kill()
				if v, err := s.Load(); v != "old" || err != nil {
					t.Fatalf("Load = %q, %v", v, err)
				}
				must(t, s.Store("old"))
			}
		})
	}
}

// watcher NAME watches the segment NAME with a Reader, and writes each value.
func watcher(args []string) error {
	r, err := segment.OpenReader(args[0], codec.String(), nil)
	if err != nil {
		return err
	}
	defer r.Close()
	for v, err := range r.Watch(context.Background()) {
		if err != nil {
			return err
		}
		fmt.Println(v)
		if v == "end" {
			break
		}
	}
	return nil
}

func TestWatchInAnotherProcess(t *testing.T) {
	name := proctest.Name(t)
	s := open(t, name, codec.String(), nil)
	must(t, s.Store("first"))
	p := proctest.Start(t, "watcher", name)
	p.Expect("first")
	// The watcher writes each value before the next is stored, so it misses
	// none.
	for i := range 1000 {
		v := strconv.Itoa(i)
		must(t, s.Store(v))
		p.Expect(v)
	}
	must(t, s.Store("end"))
	p.Expect("end")
	p.Wait()
}

// A watcher that dies must not make every later Store wake it: the next Store
// clears the flag.
func TestKilledWatcher(t *testing.T) {
	name := proctest.Name(t)
	s := open(t, name, codec.String(), nil)
	for range 20 {
		must(t, s.Store("x"))
		p := proctest.Start(t, "watcher", name)
		p.Expect("x")
		p.Kill()
		must(t, s.Store("y"))
	}
	p := proctest.Start(t, "watcher", name)
	p.Expect("y")
	must(t, s.Store("end"))
	p.Expect("end")
	p.Wait()
}

// stranger NAME SEED overwrites random bytes of the segment NAME until it is
// killed. It spares the mutex and the member table: a peer that writes those
// can withhold the lock, and contexts end the waits for it.
func stranger(args []string) error {
	seed, err := strconv.ParseUint(args[1], 10, 64)
	if err != nil {
		return err
	}
	obj, err := mapping.Enter(&mapping.Place{Name: args[0]}, false, false, proctest.Patience)
	if err != nil {
		return err
	}
	obj.UnlockRegistry()
	info, err := obj.Info()
	if err != nil {
		return err
	}
	view, err := obj.Map(int(info.Size), true)
	if err != nil {
		return err
	}
	const mutex, versions, members, texts = 128, 192, 320, 8512
	regions := []struct{ from, to int64 }{{0, mutex}, {versions, members}, {texts, info.Size}, {versions, versions + 16}}
	rnd := rand.New(rand.NewPCG(seed, 0))
	fmt.Println("scribbling")
	for b := make([]byte, 8); ; {
		r := regions[rnd.IntN(len(regions))]
		binary.NativeEndian.PutUint64(b, rnd.Uint64()>>(8*rnd.IntN(8)))
		copy(view.Mem[r.from+rnd.Int64N(r.to-r.from-8):], b[:1+rnd.IntN(8)])
	}
}

func TestScribblingPeer(t *testing.T) {
	for _, o := range []segment.Options{{LockReads: false}, {LockReads: true}, {Slots: 2, Capacity: 16}} {
		name := proctest.Name(t)
		s := open(t, name, codec.UTF16(), &o)
		scribbleOn(t, name, func(ctx context.Context) error {
			v, err := s.LoadContext(ctx)
			if len(v) > 3*segment.DefaultCapacity/2 {
				t.Fatalf("a string of %d bytes", len(v))
			}
			return err
		}, func() error { return s.Store("good") })

		name = proctest.Name(t)
		j := open(t, name, codec.JSON[[]int](), &o)
		r, err := segment.OpenReader(name, codec.JSON[[]int](), nil)
		must(t, err)
		defer r.Close()
		scribbleOn(t, name, func(ctx context.Context) error {
			_, err := r.LoadContext(ctx)
			return err
		}, func() error { return j.Store([]int{1, 2}) })
	}
}

// scribbleOn loads and stores while a peer overwrites the segment, and expects
// errors at worst. When the peer is gone, a Store repairs everything.
func scribbleOn(t *testing.T, name string, load func(context.Context) error, store func() error) {
	t.Helper()
	p := proctest.Start(t, "stranger", name, "1")
	p.Expect("scribbling")
	for i := range 20000 {
		ctx, cancel := context.WithTimeout(t.Context(), proctest.Patience)
		if err := load(ctx); err != nil {
			if !errors.Is(err, codec.ErrMalformed) {
				want(t, err, sharedseg.ErrCorrupt)
			}
		}
		if i%16 == 0 {
			must(t, store())
		}
		cancel()
	}
	p.Kill()
	for range 2 {
		must(t, errors.Join(store(), load(t.Context())))
	}
}

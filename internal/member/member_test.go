package member

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/sharedseg/sharedseg/internal/layout"
	"github.com/sharedseg/sharedseg/internal/mapping"
	"github.com/sharedseg/sharedseg/internal/proctest"
	"github.com/sharedseg/sharedseg/internal/ring"
)

var roles = map[string]func([]string) error{
	"member": stays,
	"joiner": joins,
}

func TestMain(m *testing.M) { proctest.Main(m, roles) }

// in returns the spec of a mutex in a directory.
func in(dir string) *Spec {
	return &Spec{
		Place: mapping.Place{Name: "m", Dir: dir},
		New: func(page int) (*layout.Geometry, error) {
			g := &layout.Geometry{Kind: layout.KindMutex}
			return g, g.Place(page)
		},
		Check: func(*layout.Geometry) error { return nil },
	}
}

// persistent makes the mapping of a spec persist.
func persistent(s *Spec) *Spec {
	s.New = func(page int) (*layout.Geometry, error) {
		g := &layout.Geometry{Kind: layout.KindMutex, Persist: true}
		return g, g.Place(page)
	}
	return s
}

// segment makes the mapping of a spec a segment, which has a wait page.
func segment(s *Spec) *Spec {
	s.New = func(page int) (*layout.Geometry, error) {
		g := &layout.Geometry{Kind: layout.KindSegment, Slots: 2, Capacity: 64}
		return g, g.Place(page)
	}
	return s
}

// join joins. The handle leaves at the test's end unless it has left before.
func join(t *testing.T, s *Spec) *Member {
	t.Helper()
	return stay(t)(Join(OpenOrCreate, s))
}

func stay(t *testing.T) func(*Member, error) *Member {
	return func(m *Member, err error) *Member {
		t.Helper()
		must(t, err)
		t.Cleanup(func() {
			if err := m.Leave(false); err != nil {
				t.Error(err)
			}
			m.Free()
		})
		return m
	}
}

var must, want = proctest.Must, proctest.Want

// alive fails the test unless m.Alive(ident) is want.
func alive(t *testing.T, m *Member, ident uint32, want bool) {
	t.Helper()
	if got := m.Alive(ident); got != want {
		id := layout.Ident(ident)
		t.Errorf("slot %d, generation %d: alive is %v", id.Slot(), id.Generation(), got)
	}
}

// dead waits until the handle of an identity, whose process was killed, is not
// alive any more.
func dead(t *testing.T, m *Member, ident uint32) {
	t.Helper()
	proctest.Gone(t, func() bool { return !m.Alive(ident) })
}

// exists fails the test unless the existence of a spec's file is want.
func exists(t *testing.T, s *Spec, want bool) {
	t.Helper()
	if _, err := os.Lstat(mapping.Path(&s.Place)); (err == nil) != want {
		t.Errorf("the file: %v, want one: %v", err, want)
	}
}

// stays joins in the directory args[0] and prints its identity. It leaves when
// it reads a line.
func stays(args []string) error {
	m, err := Join(OpenOrCreate, in(args[0]))
	if err != nil {
		return err
	}
	fmt.Println(m.Self())
	proctest.Await()
	return m.Leave(false)
}

// start starts a process that stays, and returns it with its identity.
func start(t *testing.T, dir string) (*proctest.Proc, uint32) {
	t.Helper()
	p := proctest.Start(t, "member", dir)
	ident, err := strconv.ParseUint(p.Line(), 10, 32)
	must(t, err)
	return p, uint32(ident)
}

// TestIdentities checks that every live handle has an identity of its own,
// which is alive as long as the handle is, however the handle ends.
func TestIdentities(t *testing.T) {
	dir := proctest.TempDir(t)
	a, b := join(t, in(dir)), join(t, in(dir))
	closes, closed := start(t, dir)
	dies, died := start(t, dir)
	seen := map[uint32]bool{0: true}
	for _, ident := range []uint32{a.Self(), b.Self(), closed, died} {
		if seen[ident] || ident&^layout.IdentMask != 0 {
			t.Errorf("identity %#x", ident)
		}
		seen[ident] = true
		alive(t, a, ident, true)
	}
	must(t, b.Leave(false))
	alive(t, a, b.Self(), false)
	closes.Wait()
	alive(t, a, closed, false)
	alive(t, a, died, true)
	dies.Kill()
	dead(t, a, died)
	alive(t, a, a.Self(), true)
}

// TestSlotReused checks that the earlier holders of a slot that is reused do
// not seem to be alive.
func TestSlotReused(t *testing.T) {
	dir := proctest.TempDir(t)
	a := join(t, in(dir))
	var old []uint32
	for range 5 {
		p, ident := start(t, dir)
		for _, o := range old {
			alive(t, a, o, false)
		}
		alive(t, a, ident, true)
		p.Kill()
		dead(t, a, ident)
		old = append(old, ident)
		a.Words.Rotor().Store(uint32(layout.Ident(ident).Slot()))
	}
	for i, ident := range old {
		if id := layout.Ident(ident); id.Slot() != layout.Ident(old[0]).Slot() || i > 0 && ident == old[i-1] {
			t.Errorf("identities %#x, want all of one slot", old)
		}
	}
}

// TestGenerationInUseIsSkipped checks that a handle never gets the identity
// that the mutex word names, even if the slot's generations have wrapped around
// to it.
func TestGenerationInUseIsSkipped(t *testing.T) {
	const last = 1<<20 - 1
	s := in(proctest.TempDir(t))
	a := join(t, s)
	for _, c := range []struct{ stored, named, want uint32 }{
		{5, 6, 7},
		{5, 5, 6},
		{last - 1, last, 1},
		{last, 1, 2},
		{0, 1, 2},
	} {
		const slot = 77
		dead := layout.NewIdent(slot, c.named)
		a.Words.Generation(slot).Store(c.stored)
		a.Words.Rotor().Store(slot)
		a.Words.Mutex().Store(uint32(dead) | layout.WaitersBit | layout.InconsistentBit)
		b, err := Join(OpenOrCreate, s)
		must(t, err)
		if got := layout.Ident(b.Self()); got.Slot() != slot || got.Generation() != c.want {
			t.Errorf("after generation %d, %d named: slot %d, generation %d; want %d", c.stored, c.named, got.Slot(), got.Generation(), c.want)
		}
		alive(t, a, uint32(dead), false)
		alive(t, b, uint32(dead), false)
		must(t, b.Leave(false))
		b.Free()
	}
	a.Words.Mutex().Store(0)
}

// TestHostileRotor checks that there is a slot or an error, whatever a hostile
// peer writes.
func TestHostileRotor(t *testing.T) {
	s := in(proctest.TempDir(t))
	a := join(t, s)
	for _, v := range []uint32{layout.Members - 1, layout.Members, 1 << 31, 1<<32 - 1} {
		a.Words.Rotor().Store(v)
		for slot := range layout.Members {
			a.Words.Generation(slot).Store(v)
		}
		b := join(t, s)
		alive(t, b, b.Self(), true)
		alive(t, a, b.Self(), true)
	}
}

func TestTooManyMembers(t *testing.T) {
	proctest.AllowFiles(t, layout.Members+200)
	s := in(proctest.TempDir(t))
	slots := map[int]bool{}
	var some *Member
	for range layout.Members {
		some = join(t, s)
		slots[layout.Ident(some.Self()).Slot()] = true
	}
	if len(slots) != layout.Members {
		t.Errorf("%d handles have %d slots", layout.Members, len(slots))
	}
	_, err := Join(OpenOrCreate, s)
	want(t, err, ErrTooManyMembers)
	if err == nil || !strings.Contains(err.Error(), "1024") {
		t.Errorf("the error does not name the limit: %v", err)
	}
	must(t, some.Leave(false))
	if got := join(t, s); layout.Ident(got.Self()).Slot() != layout.Ident(some.Self()).Slot() || got.Self() == some.Self() {
		t.Errorf("identity %#x after %#x", got.Self(), some.Self())
	}
}

func TestHow(t *testing.T) {
	s := in(proctest.TempDir(t))
	_, err := Join(AttachOnly, s)
	want(t, err, fs.ErrNotExist)
	_, err = JoinReader(s)
	want(t, err, fs.ErrNotExist)
	exists(t, s, false)
	a := stay(t)(Join(CreateOnly, s))
	if !a.Created {
		t.Error("the first did not create it")
	}
	_, err = Join(CreateOnly, s)
	want(t, err, fs.ErrExist)
	for _, how := range []How{OpenOrCreate, AttachOnly} {
		if stay(t)(Join(how, s)).Created {
			t.Error("another created it")
		}
	}
	refused := errors.New("refused")
	s.Check = func(*layout.Geometry) error { return refused }
	_, err = Join(OpenOrCreate, s)
	want(t, err, refused)
}

// TestLastLeaves checks that the last handle to leave removes the file, even if
// it is a reader, unless the mapping persists.
func TestLastLeaves(t *testing.T) {
	s := segment(in(proctest.TempDir(t)))
	a := join(t, s)
	b := join(t, s)
	r := stay(t)(JoinReader(s))
	for _, m := range []*Member{a, b} {
		must(t, m.Leave(false))
		exists(t, s, true)
	}
	must(t, r.Leave(false))
	exists(t, s, false)
	must(t, r.Leave(false))

	s = persistent(in(proctest.TempDir(t)))
	a = join(t, s)
	must(t, a.Leave(false))
	exists(t, s, true)
	if join(t, s).Created {
		t.Error("a persistent mapping was initialised again")
	}
}

// TestLeaveWhenReplaced checks that a handle that leaves does not remove the
// name if it refers to another file by now.
func TestLeaveWhenReplaced(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("Windows keeps the name of a file that is open")
	}
	s := in(proctest.TempDir(t))
	path := mapping.Path(&s.Place)
	a := join(t, s)
	must(t, Remove(&s.Place))
	b := join(t, s)
	if !b.Created {
		t.Error("Remove left the name")
	}
	must(t, a.Leave(false))
	exists(t, s, true)
	alive(t, b, b.Self(), true)
	must(t, os.Remove(path))
	must(t, os.WriteFile(path, []byte("somebody else's"), 0o600))
	must(t, b.Leave(false))
	exists(t, s, true)
	_, err := Join(OpenOrCreate, s)
	want(t, err, layout.ErrIncompatible)
	if b, err := os.ReadFile(path); err != nil || string(b) != "somebody else's" {
		t.Errorf("it holds %q, %v", b, err)
	}
}

// TestHalfInitialised checks that the next handle to join initialises the
// mapping again, whatever an initialiser that died has left.
func TestHalfInitialised(t *testing.T) {
	// The states between create and the last store of Init, and that of a
	// mapping whose users have all died.
	g := &layout.Geometry{Kind: layout.KindMutex}
	must(t, g.Place(mapping.PageSize()))
	marked := append(layout.Mark(false), make([]byte, g.Size()-int64(len(layout.Mark(false))))...)
	ready := append([]byte(nil), marked...)
	g.Init(ready)
	old := append([]byte(nil), ready...)
	binary.NativeEndian.PutUint32(old[8:], 1)
	almost := append([]byte(nil), ready...)
	clear(almost[8:12])
	garbage := append([]byte(nil), ready...)
	for i := 16; i < len(garbage); i++ {
		garbage[i] = 0xFF
	}
	binary.NativeEndian.PutUint32(garbage[20:], 0) // the flags: it does not persist
	for what, content := range map[string][]byte{
		"empty":           {},
		"marked, short":   layout.Mark(false),
		"marked, cut off": marked[:5000],
		"marked":          marked,
		"almost ready":    almost,
		"all users died":  ready,
		"and garbage":     garbage,
		"ready, cut off":  ready[:8192],
		"format 1":        old[:8192],
	} {
		t.Run(what, func(t *testing.T) {
			s := in(proctest.TempDir(t))
			must(t, os.WriteFile(mapping.Path(&s.Place), content, 0o600))
			_, err := Join(AttachOnly, s)
			want(t, err, fs.ErrNotExist)
			m := join(t, s)
			if !m.Created || m.Words.Mutex().Load() != 0 {
				t.Errorf("created is %v, the mutex is %#x", m.Created, m.Words.Mutex().Load())
			}
			if join(t, s).Created {
				t.Error("a second handle created it, too")
			}
		})
	}
}

// TestOtherFormat checks that a mapping of another format is not changed while
// it is in use or persists, and that the error says what to do. A mutex of
// format 1 has 8192 bytes where pages have 4096.
func TestOtherFormat(t *testing.T) {
	g := &layout.Geometry{Kind: layout.KindMutex, Persist: true}
	must(t, g.Place(mapping.PageSize()))
	file := append(layout.Mark(false), make([]byte, g.Size()-int64(len(layout.Mark(false))))...)
	g.Init(file)
	binary.NativeEndian.PutUint32(file[8:], 1)
	refused := func(what string, err error) {
		t.Helper()
		text := "written by format 1, this program knows format 2: close all its users, or remove it with Remove"
		if !errors.Is(err, layout.ErrIncompatible) || !strings.Contains(err.Error(), text) {
			t.Errorf("%s: error is %v", what, err)
		}
	}
	for _, size := range []int64{8192, g.Size()} {
		s := in(proctest.TempDir(t))
		path := mapping.Path(&s.Place)
		must(t, os.WriteFile(path, file[:size], mapping.DefaultMode))
		for _, how := range []How{OpenOrCreate, CreateOnly, AttachOnly} {
			_, err := Join(how, s)
			refused("Join", err)
		}
		_, err := JoinReader(s)
		refused("JoinReader", err)
		_, err = Stat(&s.Place)
		refused("Stat", err)
		if swept, err := Sweep(&s.Place); swept || err != nil {
			t.Errorf("Sweep = %v, %v", swept, err)
		}
		if now, err := os.ReadFile(path); err != nil || !bytes.Equal(now, file[:size]) {
			t.Errorf("%d bytes, now %d, %v", size, len(now), err)
		}
		must(t, Remove(&s.Place))
		if !join(t, s).Created {
			t.Error("not initialised again after it was removed")
		}
	}
}

// joins joins and leaves in the directory args[0] until it is killed.
func joins(args []string) error {
	for first := true; ; first = false {
		m, err := Join(OpenOrCreate, in(args[0]))
		if err != nil {
			return err
		}
		if first {
			fmt.Println("joined")
		}
		if err := m.Leave(false); err != nil {
			return err
		}
		m.Free()
	}
}

// TestKilledJoiner checks that the next process joins, wherever in Join or
// Leave the last one was killed.
func TestKilledJoiner(t *testing.T) {
	kills := 100
	if testing.Short() {
		kills = 10
	}
	s := in(proctest.TempDir(t))
	lives := proctest.Start(t, "joiner", s.Place.Dir)
	lives.Expect("joined")
	for i := range kills {
		if i == kills/2 {
			lives.Kill()
		}
		dies := proctest.Start(t, "joiner", s.Place.Dir)
		dies.Expect("joined")
		time.Sleep(time.Duration(rand.IntN(1000)) * time.Microsecond)
		dies.Kill()
		m, err := Join(OpenOrCreate, s)
		must(t, err)
		must(t, m.Leave(false))
		m.Free()
	}
}

// TestHeaderGone checks that a mapping is never initialised while a handle is
// attached, whatever happens to its header.
func TestHeaderGone(t *testing.T) {
	g := &layout.Geometry{Kind: layout.KindMutex}
	must(t, g.Place(mapping.PageSize()))
	for what, spoil := range map[string]func(path string) error{
		"truncated to nothing":  func(path string) error { return os.Truncate(path, 0) },
		"truncated to the mark": func(path string) error { return os.Truncate(path, 16) },
		"truncated to a page":   func(path string) error { return os.Truncate(path, 4096) },
		"one byte shorter":      func(path string) error { return os.Truncate(path, g.Size()-1) },
		"longer":                func(path string) error { return os.Truncate(path, 1<<20) },
		"not ready": func(path string) error {
			f, err := os.OpenFile(path, os.O_RDWR, 0)
			if err != nil {
				return err
			}
			defer f.Close()
			_, err = f.WriteAt(make([]byte, 4), 8)
			return err
		},
	} {
		t.Run(what, func(t *testing.T) {
			s := in(proctest.TempDir(t))
			a := join(t, s)
			err := spoil(mapping.Path(&s.Place))
			if err != nil && runtime.GOOS == "windows" {
				return // Windows does not truncate a mapped file
			}
			must(t, err)
			for range 2 {
				for _, how := range []How{OpenOrCreate, CreateOnly, AttachOnly} {
					_, err := Join(how, s)
					want(t, err, layout.ErrCorrupt)
				}
				_, err := JoinReader(s)
				want(t, err, layout.ErrCorrupt)
			}
			must(t, a.Leave(false))
			if !join(t, s).Created {
				t.Error("not initialised again after the last handle left")
			}
		})
	}
}

// TestLeaveWithMutex checks that Leave releases a mutex that a call acquired
// during Leave, unless the handle is to count as an owner that died.
func TestLeaveWithMutex(t *testing.T) {
	for _, c := range []struct {
		keep        bool
		flags, want uint32
	}{
		{false, 0, 0},
		{false, layout.WaitersBit, 0},
		{false, layout.InconsistentBit | layout.WaitersBit, layout.InconsistentBit},
		{true, layout.WaitersBit, layout.WaitersBit},
	} {
		s := in(proctest.TempDir(t))
		a, b := join(t, s), join(t, s)
		a.Words.Mutex().Store(b.Self() | c.flags)
		must(t, b.Leave(c.keep))
		want := c.want
		if c.keep {
			want |= b.Self()
		}
		if got := a.Words.Mutex().Load(); got != want {
			t.Errorf("keepMutex is %v: the word %#x became %#x, want %#x", c.keep, b.Self()|c.flags, got, want)
		}
		a.Words.Mutex().Store(a.Self())
		must(t, join(t, s).Leave(false))
		if got := a.Words.Mutex().Load(); got != a.Self() {
			t.Errorf("the mutex of another handle became %#x", got)
		}
		if Pinning {
			continue // the memory is unmapped
		}
		if b.Mem[layout.MutexOff] = 1; a.Words.Mutex().Load() != a.Self() {
			t.Error("the memory of a handle that left is still shared")
		}
	}
}

// TestDiscard checks that Discard, the clean-up of an unreachable handle,
// closes the handle unless it owns the mutex. Such a handle is alive as long as
// its process.
func TestDiscard(t *testing.T) {
	s := in(proctest.TempDir(t))
	a := join(t, s)
	// discard waits for the goroutine of Discard, which must not use a handle
	// that the test has freed.
	discard := func(m *Member) {
		t.Helper()
		m.Discard()
		stacks := make([]byte, 1<<20)
		for start := time.Now(); bytes.Contains(stacks[:runtime.Stack(stacks, true)], []byte("(*Member).Discard")); {
			if time.Since(start) > proctest.Patience {
				t.Fatal("Discard did not finish")
			}
			time.Sleep(time.Millisecond)
		}
	}
	b, err := Join(OpenOrCreate, s)
	must(t, err)
	discard(b)
	alive(t, a, b.Self(), false)

	owner := join(t, s)
	a.Words.Mutex().Store(owner.Self() | layout.WaitersBit)
	discard(owner)
	alive(t, a, owner.Self(), true)
	if got := a.Words.Mutex().Load(); got != owner.Self()|layout.WaitersBit {
		t.Errorf("the mutex word became %#x", got)
	}
}

// TestReader checks that a reader maps everything except the wait page
// read-only.
func TestReader(t *testing.T) {
	s := segment(in(proctest.TempDir(t)))
	a := join(t, s)
	r := stay(t)(JoinReader(s))
	off, n := a.Geometry.WaitPage()
	if r.Self() != 0 || r.Created || !r.WaitPage.Usable() {
		t.Errorf("self %d, created %v, usable wait page %v", r.Self(), r.Created, r.WaitPage.Usable())
	}
	r.WaitPage.WatchFlag().Store(1)
	r.WaitPage.Row(layout.Members - 1).Store(1)
	if a.WaitPage.WatchFlag().Load() != 1 || a.WaitPage.Row(layout.Members-1).Load() != 1 {
		t.Error("the wait page is not shared")
	}
	if !proctest.Faults(func() { r.Mem[off+n] = 1 }) {
		t.Error("a reader can write after its wait page")
	}
	if !proctest.Faults(func() { r.Mem[off-1] = 1 }) {
		t.Error("a reader can write before its wait page")
	}
	alive(t, r, a.Self(), true)
	must(t, a.Leave(false))
	alive(t, r, a.Self(), false)
}

func TestAdmin(t *testing.T) {
	s := segment(in(proctest.TempDir(t)))
	for _, err := range []error{
		Remove(&s.Place),
		RemoveBare(&s.Place),
		func() error { _, err := Stat(&s.Place); return err }(),
	} {
		want(t, err, fs.ErrNotExist)
	}
	if swept, err := Sweep(&s.Place); swept || err != nil {
		t.Errorf("Sweep of nothing = %v, %v", swept, err)
	}
	a, b := join(t, s), join(t, s)
	reader := stay(t)(JoinReader(s))
	a.Count(layout.Waits)
	a.Count(layout.DisturbedReads)
	b.Count(layout.Waits)
	reader.Count(layout.Waits) // it may not write, so it does not count
	st, err := Stat(&s.Place)
	if err != nil || len(st.Holders) != 2 || st.Readers != 1 || st.Mode != proctest.Mode(mapping.DefaultMode) || st.Path != mapping.Path(&s.Place) || st.Geometry.Slots != 2 {
		t.Errorf("Stat = %+v, %v", st, err)
	}
	if st.Counts != [layout.Counters]uint64{layout.Waits: 2, layout.DisturbedReads: 1} {
		t.Errorf("counts are %v", st.Counts)
	}
	for i, m := range []*Member{a, b} {
		if want := (Holder{layout.Ident(m.Self()).Slot(), os.Getpid()}); len(st.Holders) != 2 || st.Holders[i] != want {
			t.Errorf("holders are %v, want %v", st.Holders, want)
		}
	}
	if swept, err := Sweep(&s.Place); swept || err != nil {
		t.Errorf("Sweep of a live mapping = %v, %v", swept, err)
	}
	want(t, RemoveBare(&s.Place), layout.ErrIncompatible)
	if err := Remove(&s.Place); runtime.GOOS == "windows" {
		want(t, err, errors.ErrUnsupported)
	} else {
		must(t, err)
		exists(t, s, false)
	}
	alive(t, a, b.Self(), true)

	// Sweep removes what dead users left, unless it persists.
	s = in(proctest.TempDir(t))
	p, ident := start(t, s.Place.Dir)
	if st, err := Stat(&s.Place); err != nil || len(st.Holders) != 1 || st.Holders[0] != (Holder{layout.Ident(ident).Slot(), p.Pid()}) {
		t.Errorf("Stat = %+v, %v; want process %d", st, err, p.Pid())
	}
	p.Kill()
	proctest.Gone(t, func() bool {
		swept, err := Sweep(&s.Place)
		must(t, err)
		return swept
	})
	exists(t, s, false)
	must(t, join(t, persistent(s)).Leave(false))
	if swept, err := Sweep(&s.Place); swept || err != nil {
		t.Errorf("Sweep of a persistent mapping = %v, %v", swept, err)
	}
	must(t, Remove(&s.Place))
	must(t, os.WriteFile(mapping.Path(&s.Place), []byte("foreign"), 0o600))
	if swept, err := Sweep(&s.Place); swept || err != nil {
		t.Errorf("Sweep of a foreign file = %v, %v", swept, err)
	}
	want(t, Remove(&s.Place), layout.ErrIncompatible)
	exists(t, s, true)
	must(t, RemoveBare(&s.Place))
	exists(t, s, false)
	must(t, os.WriteFile(mapping.Path(&s.Place), nil, 0o600))
	want(t, Remove(&s.Place), fs.ErrNotExist)
	exists(t, s, true)
	must(t, RemoveBare(&s.Place))
}

// TestBareRace checks that a handle that cannot attach to a smaller mapping,
// which another has just created, does not remove it.
func TestBareRace(t *testing.T) {
	s := &Spec{Place: mapping.Place{Name: "b", Dir: proctest.TempDir(t)}}
	rounds := 500
	if testing.Short() {
		rounds = 100
	}
	for range rounds {
		large := make(chan *Bare)
		go func() {
			b, err := JoinBare(&s.Place, 8192, false)
			if err != nil && !errors.Is(err, layout.ErrIncompatible) {
				t.Error(err)
			}
			large <- b
		}()
		small, err := JoinBare(&s.Place, 4096, false)
		must(t, err)
		other := <-large
		exists(t, s, true)
		must(t, small.Leave())
		if other != nil {
			must(t, other.Leave())
		}
		if err := RemoveBare(&s.Place); !errors.Is(err, fs.ErrNotExist) { // its creator failed, or left first
			must(t, err)
		}
	}
}

func TestBare(t *testing.T) {
	p := &mapping.Place{Name: "b", Dir: proctest.TempDir(t)}
	s := &Spec{Place: *p}
	a, err := JoinBare(p, 100, false)
	must(t, err)
	b, err := JoinBare(p, 50, false)
	must(t, err)
	a.Mem[49] = 7
	if len(a.Mem) != 100 || len(b.Mem) != 50 || b.Mem[49] != 7 {
		t.Errorf("%d and %d bytes, %d", len(a.Mem), len(b.Mem), b.Mem[49])
	}
	_, err = JoinBare(p, 101, false)
	want(t, err, layout.ErrIncompatible)
	must(t, b.Leave())
	exists(t, s, true)
	must(t, a.Leave())
	exists(t, s, false)

	// The creator leaves the mapping to the handles that are still attached.
	// They do not remove it.
	for range 2 {
		a, err = JoinBare(p, 100, false)
		must(t, err)
		b, err = JoinBare(p, 100, false)
		must(t, err)
		must(t, a.Leave())
		exists(t, s, true)
		must(t, b.Leave())
		exists(t, s, true)
		must(t, RemoveBare(p))
	}

	// The file of another program is not removed, with or without a size.
	for _, content := range [][]byte{nil, make([]byte, 100)} {
		must(t, os.WriteFile(mapping.Path(p), content, 0o600))
		a, err = JoinBare(p, 100, false)
		must(t, err)
		must(t, a.Leave())
		exists(t, s, true)
		must(t, os.Remove(mapping.Path(p)))
	}

	a, err = JoinBare(p, 100, true)
	must(t, err)
	must(t, a.Leave())
	exists(t, s, true)

	// Neither kind is taken for the other.
	_, err = Join(OpenOrCreate, &Spec{Place: *p, New: in("").New, Check: in("").Check})
	want(t, err, layout.ErrIncompatible)
	s = in(proctest.TempDir(t))
	join(t, s)
	_, err = JoinBare(&s.Place, 100, false)
	want(t, err, layout.ErrIncompatible)
	exists(t, s, true)
}

// TestGenerationsBeginAgain checks that the messages of a dead holder of a
// member slot are free before the generation in which it died comes again.
func TestGenerationsBeginAgain(t *testing.T) {
	dir := proctest.TempDir(t)
	s := in(dir)
	s.New = func(page int) (*layout.Geometry, error) {
		g := &layout.Geometry{Kind: layout.KindQueue, Slots: 4, Capacity: 64}
		return g, g.Place(page)
	}
	m := join(t, s)
	r := ring.New(m.Mem, m.Geometry, layout.Ident(m.Self()), m.Alive, m.Key)
	const slot = 1 // the next slot to be claimed
	takers := []layout.Ident{layout.NewIdent(slot, 1), layout.NewIdent(slot, 1<<20-1), layout.NewIdent(2, 1)}
	for _, taker := range takers {
		ticket, place, _, err := r.Reserve()
		must(t, err)
		r.Post(ticket, place, 0)
		r.Send(ticket)
		place.State().Store(uint64(layout.NewMessageState(ticket, taker, 1)))
	}
	states := func() (all []layout.Ident) {
		slots := layout.NewSlots(m.Mem, m.Geometry)
		for i := range takers {
			slot := slots.Slot(uint64(i) + 1)
			all = append(all, layout.MessageState(slot.State().Load()).Taker())
		}
		return all
	}
	m.Words.Generation(slot).Store(1<<20 - 2)
	second := join(t, s)
	if id := layout.Ident(second.Self()); id.Slot() != slot || id.Generation() != 1<<20-1 || !slices.Equal(states(), takers) {
		t.Fatalf("identity %x, takers %x", id, states())
	}
	must(t, second.Leave(false))
	m.Words.Rotor().Store(slot)
	// The messages of the second are returned when it leaves. Here it seems to
	// have died.
	slots := layout.NewSlots(m.Mem, m.Geometry)
	place := slots.Slot(2)
	place.State().Store(uint64(layout.NewMessageState(2, takers[1], 1)))
	third := join(t, s)
	if id := layout.Ident(third.Self()); id != takers[0] || !slices.Equal(states(), []layout.Ident{0, 0, takers[2]}) {
		t.Errorf("identity %x, takers %x", id, states())
	}
}

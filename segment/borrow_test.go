package segment_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/sharedseg/sharedseg"
	"github.com/sharedseg/sharedseg/codec"
	"github.com/sharedseg/sharedseg/internal/layout"
	"github.com/sharedseg/sharedseg/internal/proctest"
	"github.com/sharedseg/sharedseg/segment"
)

// borrows is what a Segment and a Reader have in common in this file.
type borrows[T any] interface {
	Borrow(ctx context.Context) (*segment.Borrowed[T], error)
}

func borrow[T any](t *testing.T, from borrows[T]) *segment.Borrowed[T] {
	t.Helper()
	b, err := from.Borrow(t.Context())
	must(t, err)
	return b
}

func release[T any](t *testing.T, b *segment.Borrowed[T]) {
	t.Helper()
	if err := b.Release(); err != nil {
		t.Error(err)
	}
}

func reader[T any](t *testing.T, name string, c codec.Codec[T], o *segment.Options) *segment.Reader[T] {
	t.Helper()
	r, err := segment.OpenReader(name, c, o)
	must(t, err)
	t.Cleanup(func() { r.Close() })
	return r
}

// A borrowed value stays unchanged while others are stored, and is the value in
// place, for each codec and each kind of handle.
func TestBorrow(t *testing.T) {
	t.Run("Fixed", func(t *testing.T) {
		testBorrow(t, codec.Fixed[point](), point{1, 2}, point{3, 4}, true)
	})
	t.Run("Bytes", func(t *testing.T) { testBorrow(t, codec.Bytes(), []byte("one"), []byte("more"), false) })
	t.Run("String", func(t *testing.T) { testBorrow(t, codec.String(), "one", "more", false) })
	t.Run("JSON", func(t *testing.T) { testBorrow(t, codec.JSON[[]int](), []int{1}, []int{2, 3}, false) })
	t.Run("bool", func(t *testing.T) { testBorrow(t, codec.Fixed[bool](), true, false, false) })
}

func testBorrow[T any](t *testing.T, c codec.Codec[T], first, second T, inPlace bool) {
	name := proctest.Name(t)
	s := open(t, name, c, &segment.Options{Slots: 4})
	handles := map[string]borrows[T]{"segment": s, "reader": reader(t, name, c, nil)}
	for what, h := range handles {
		b := borrow(t, h)
		if b.Version() != 0 || b.Bytes() != nil || (b.Value() != nil) != inPlace {
			t.Errorf("%s: before the first Store, version %d was borrowed: %v, %v", what, b.Version(), b.Bytes(), b.Value())
		}
		release(t, b)
	}
	for range 10 {
		must(t, s.Store(first))
		encoding, err := c.Append(nil, first)
		must(t, err)
		for what, h := range handles {
			a, b := borrow(t, h), borrow(t, h)
			if a.Version() != s.Version() || !bytes.Equal(a.Bytes(), encoding) || cap(a.Bytes()) != len(encoding) {
				t.Fatalf("%s: borrowed %q of version %d, want %q of %d", what, a.Bytes(), a.Version(), encoding, s.Version())
			}
			if layout.Same(a.Bytes(), b.Bytes()) != true || (a.Value() != nil) != inPlace || inPlace && fmt.Sprint(*a.Value()) != fmt.Sprint(first) {
				t.Fatalf("%s: borrowed %v", what, a.Value())
			}
			release(t, b)
			for range 9 {
				must(t, s.Store(second))
				if !bytes.Equal(a.Bytes(), encoding) {
					t.Fatalf("%s: the borrowed value became %q", what, a.Bytes())
				}
			}
			release(t, a)
			release(t, a)
			if a.Bytes() != nil || a.Value() != nil {
				t.Errorf("%s: Bytes after Release = %q", what, a.Bytes())
			}
			must(t, s.Store(first))
		}
	}
}

// While a writer stores as fast as it can, no byte of a borrowed value changes,
// and the writer goes on.
func TestBorrowBesideWriter(t *testing.T) {
	name := proctest.Name(t)
	o := &segment.Options{Slots: 4, Capacity: 32 << 10}
	s := open(t, name, codec.Bytes(), o)
	p := proctest.Start(t, "filler", name)
	p.Expect("filling")
	r := reader(t, name, codec.Bytes(), nil)
	stored := uint64(0)
	for i := range 300 {
		from := borrows[[]byte](s)
		if i%2 == 0 {
			from = r
		}
		b := borrow(t, from)
		before := bytes.Clone(b.Bytes())
		if len(before) != 32<<10 || bytes.Count(before, before[:1]) != len(before) {
			t.Fatal("a value is torn")
		}
		// The writer goes around all slots at least twice, whatever it gets of
		// the processors.
		start := time.Now()
		proctest.Eventually(t, "the writer goes on beside a borrowed value", func() bool {
			if !bytes.Equal(b.Bytes(), before) {
				t.Fatalf("version %d changed while it was borrowed", b.Version())
			}
			return time.Since(start) >= time.Millisecond && s.Version() >= b.Version()+2*uint64(o.Slots)
		})
		stored += s.Version() - b.Version()
		if !bytes.Equal(b.Bytes(), before) {
			t.Fatalf("version %d changed while it was borrowed", b.Version())
		}
		release(t, b)
	}
	t.Logf("%d versions in all, %d beside borrowed values", s.Version(), stored)
	p.Kill()
}

// filler NAME stores values that consist of one byte repeated, until it is
// killed.
func filler(args []string) error {
	s, err := segment.Attach(args[0], codec.Bytes(), nil)
	if err != nil {
		return err
	}
	b := make([]byte, 32<<10)
	for n := byte(0); ; n++ {
		for i := range b {
			b[i] = n
		}
		if err := s.Store(b); err != nil {
			return err
		}
		if s.Version() == 3 {
			fmt.Println("filling")
		}
	}
}

// borrower NAME borrows the current value until the test says something.
func borrower(args []string) error {
	r, err := segment.OpenReader(args[0], codec.Fixed[uint64](), nil)
	if err != nil {
		return err
	}
	b, err := r.Borrow(context.Background())
	if err != nil {
		return err
	}
	fmt.Println("version", b.Version())
	proctest.Await()
	if err := b.Release(); err != nil {
		return err
	}
	fmt.Println("released")
	proctest.Await()
	return r.Close()
}

// Borrowers that are killed, one after the other, block no Store for as long as
// a second, although each of them leaves a slot borrowed and the segment has 3.
func TestBorrowersKilled(t *testing.T) {
	name := proctest.Name(t)
	s := open(t, name, codec.Fixed[uint64](), &segment.Options{Slots: 3})
	var n uint64
	var longest time.Duration
	store := func() {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		n++
		start := time.Now()
		must(t, s.StoreContext(ctx, n))
		longest = max(longest, time.Since(start))
	}
	store()
	for range 20 {
		p := proctest.Start(t, "borrower", name)
		p.Expect("version " + strconv.FormatUint(s.Version(), 10))
		store()
		p.Kill()
		for range 5 {
			store()
		}
	}
	t.Logf("the longest Store took %v", longest)
}

// A Store waits while every other slot is borrowed. A Release, its context, or
// the death of the borrower ends the wait.
func TestStoreWaitsForSlot(t *testing.T) {
	name := proctest.Name(t)
	s := open(t, name, codec.Fixed[uint64](), &segment.Options{Slots: 3})
	// borrowAll borrows every slot except the current one.
	borrowAll := func() (all []*proctest.Proc) {
		t.Helper()
		for range 2 {
			must(t, s.Store(1))
			p := proctest.Start(t, "borrower", name)
			p.Expect("version " + strconv.FormatUint(s.Version(), 10))
			all = append(all, p)
		}
		must(t, s.Store(1))
		return all
	}
	for _, end := range []string{"release", "close", "kill"} {
		all := borrowAll()
		version := s.Version()
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		err := s.StoreContext(ctx, 2)
		cancel()
		want(t, err, context.DeadlineExceeded)
		if v, err := s.Load(); v != 1 || err != nil || s.Version() != version {
			t.Errorf("Load = %v, %v", v, err)
		}
		_, err = s.Loan(ctx)
		want(t, err, context.DeadlineExceeded)
		var wg sync.WaitGroup
		for range 3 {
			wg.Go(func() {
				ctx := patient(t)
				if err := s.UpdateContext(ctx, func(v *uint64) error { *v++; return nil }); err != nil {
					t.Error(err)
				}
			})
		}
		time.Sleep(20 * time.Millisecond)
		if s.Version() != version {
			t.Error("a borrowed slot was written")
		}
		switch end {
		case "release":
			all[1].Say("go")
			all[1].Expect("released")
		case "close":
			all[1].Say("go")
			all[1].Expect("released")
			all[1].Say("go")
			all[1].Wait()
			all = all[:1]
		case "kill":
			all[0].Kill()
			all = all[1:]
		}
		wg.Wait()
		if v, err := s.Load(); v != 4 || err != nil {
			t.Errorf("%s: Load = %v, %v, want 4", end, v, err)
		}
		for _, p := range all {
			p.Kill()
		}
	}
}

// A segment of more than 64 slots cannot record which of them are borrowed.
func TestBorrowTooManySlots(t *testing.T) {
	s := open(t, proctest.Name(t), codec.Fixed[uint64](), &segment.Options{Slots: 65})
	_, err := s.Borrow(t.Context())
	want(t, err, errors.ErrUnsupported)
	l, err := s.Loan(t.Context())
	must(t, err)
	*l.Value() = 7
	if v, err := l.Publish(8); v != 1 || err != nil {
		t.Errorf("Publish = %d, %v", v, err)
	}
	s64 := open(t, proctest.Name(t), codec.Fixed[uint64](), &segment.Options{Slots: 64})
	for n := range uint64(200) {
		must(t, s64.Store(n))
		b := borrow(t, s64)
		if *b.Value() != n {
			t.Errorf("borrowed %d, want %d", *b.Value(), n)
		}
		if n%4 == 0 {
			release(t, b)
			continue
		}
		defer release(t, b)
		if n == 62 {
			break
		}
	}
}

// Close gives up borrowed values. A Borrowed then reads zeros and returns
// fs.ErrClosed.
func TestCloseWithBorrowed(t *testing.T) {
	name := proctest.Name(t)
	o := &segment.Options{Slots: 3}
	s := open(t, name, codec.Fixed[uint64](), o)
	for range 3 {
		must(t, s.Store(7))
		other := open(t, name, codec.Fixed[uint64](), nil)
		r := reader(t, name, codec.Fixed[uint64](), nil)
		for _, h := range []interface {
			borrows[uint64]
			Close() error
		}{other, r} {
			a, b := borrow(t, h), borrow(t, h)
			value, bytes := a.Value(), a.Bytes()
			must(t, h.Close())
			// Where memory cannot be replaced, the value stays until Release.
			left := uint64(0)
			if runtime.GOOS == "windows" {
				left = 7
			}
			if *value != left || len(bytes) != 8 || bytes[0] != byte(left) {
				t.Errorf("the borrowed value is %d, %v, want %d", *value, bytes, left)
			}
			want(t, a.Release(), fs.ErrClosed)
			want(t, b.Release(), fs.ErrClosed)
			_, err := h.Borrow(t.Context())
			want(t, err, fs.ErrClosed)
		}
		for n := range uint64(6) {
			ctx, cancel := context.WithTimeout(t.Context(), proctest.Patience)
			must(t, s.StoreContext(ctx, n))
			cancel()
		}
	}
}

// dropper NAME drops handles with borrowed values, and expects the values to
// stay unchanged. That holds on systems where memory cannot be replaced: there
// the handles stay open.
func dropper(args []string) error {
	kept, err := dropped(args[0])
	if err != nil {
		return err
	}
	for range 3 {
		runtime.GC()
		time.Sleep(time.Millisecond)
	}
	for _, b := range kept {
		if string(b) != "value" {
			return fmt.Errorf("the borrowed value is %q", b)
		}
	}
	return nil
}

// dropped returns what unreachable handles have borrowed.
func dropped(name string) (kept [][]byte, err error) {
	for range 5 {
		s, err := segment.Attach(name, codec.Bytes(), nil)
		if err != nil {
			return nil, err
		}
		b, err := s.Borrow(context.Background())
		if err != nil {
			return nil, err
		}
		kept = append(kept, b.Bytes())
	}
	return kept, nil
}

// The addresses of values that an unreachable handle has borrowed are never
// used again.
func TestDroppedWithBorrowed(t *testing.T) {
	name := proctest.Name(t)
	s := open(t, name, codec.Bytes(), &segment.Options{Slots: 3})
	must(t, s.Store([]byte("value")))
	if runtime.GOOS == "windows" {
		proctest.Start(t, "dropper", name).Wait()
		return
	}
	kept, err := dropped(name)
	must(t, err)
	proctest.Eventually(t, "the dropped handles are closed", func() bool {
		runtime.GC()
		info, err := sharedseg.Stat(name, nil)
		must(t, err)
		return info.Writers <= 1
	})
	for range 10 {
		must(t, s.Store([]byte("other")))
		open(t, proctest.Name(t), codec.Bytes(), nil)
	}
	for _, b := range kept {
		if !bytes.Equal(b, make([]byte, 5)) {
			t.Errorf("the borrowed value is %q", b)
		}
	}
}

// A reader that may not write to the file borrows a private copy.
func TestBorrowWithoutPermission(t *testing.T) {
	if runtime.GOOS == "windows" || os.Geteuid() == 0 {
		t.Log("as root and on Windows, every reader may write the wait page: only the copy through a full table is tested")
		return
	}
	name := proctest.Name(t)
	o := &segment.Options{Dir: proctest.TempDir(t)}
	s := open(t, name, codec.Fixed[uint64](), o)
	must(t, s.Store(5))
	must(t, os.Chmod(o.Dir+"/"+name, 0o400))
	testCopy(t, s, reader(t, name, codec.Fixed[uint64](), o))
}

func testCopy(t *testing.T, s *segment.Segment[uint64], r *segment.Reader[uint64]) {
	t.Helper()
	b := borrow(t, r)
	for n := range uint64(9) {
		must(t, s.Store(n))
	}
	if *b.Value() != 5 || len(b.Bytes()) != 8 || b.Version() != s.Version()-9 {
		t.Errorf("borrowed %d of version %d", *b.Value(), b.Version())
	}
	release(t, b)
}

// A reader that finds the member table full borrows a private copy.
func TestBorrowBesideTooMany(t *testing.T) {
	name := proctest.Name(t)
	o := &segment.Options{Dir: proctest.TempDir(t)}
	s := open(t, name, codec.Fixed[uint64](), o)
	must(t, s.Store(5))
	for range layout.Members - 1 {
		other, err := segment.Attach(name, codec.Fixed[uint64](), o)
		must(t, err)
		defer other.Close()
	}
	testCopy(t, s, reader(t, name, codec.Fixed[uint64](), o))
}

// Goroutines of several handles borrow while writers store. No borrowed value
// changes, and the numbers of borrowed values stay right.
func TestBorrowRace(t *testing.T) {
	name := proctest.Name(t)
	s := open(t, name, codec.Fixed[cell](), &segment.Options{Slots: 4})
	must(t, s.Store(cellOf(1)))
	var wg sync.WaitGroup
	for i := range 8 {
		h := borrows[cell](s)
		if i%2 == 0 {
			h = reader(t, name, codec.Fixed[cell](), nil)
		}
		wg.Go(func() {
			for range 300 {
				b, err := h.Borrow(t.Context())
				if err != nil {
					t.Error(err)
					return
				}
				v := *b.Value()
				if v != cellOf(v[0]) {
					t.Error("torn")
				}
				runtime.Gosched()
				if *b.Value() != v {
					t.Error("the borrowed value changed")
				}
				if err := b.Release(); err != nil {
					t.Error(err)
				}
			}
		})
	}
	for range 2 {
		wg.Go(func() {
			for n := range uint64(2000) {
				ctx, cancel := context.WithTimeout(t.Context(), proctest.Patience)
				if err := s.StoreContext(ctx, cellOf(n)); err != nil {
					t.Error(err)
				}
				cancel()
			}
		})
	}
	wg.Wait()
}

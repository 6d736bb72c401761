package queue_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/sharedseg/sharedseg"
	"github.com/sharedseg/sharedseg/codec"
	"github.com/sharedseg/sharedseg/internal/goroutine"
	"github.com/sharedseg/sharedseg/internal/layout"
	"github.com/sharedseg/sharedseg/internal/proctest"
	"github.com/sharedseg/sharedseg/queue"
	"github.com/sharedseg/sharedseg/segment"
	"github.com/sharedseg/sharedseg/sync"
)

var roles = map[string]func([]string) error{
	"receiver": receiver,
	"sender":   sender,
	"dropper":  dropper,
	"holder":   holder,
	"stuck":    stuck,
}

func TestMain(m *testing.M) { proctest.Main(m, roles) }

var (
	must, want      = proctest.Must, proctest.Want
	patient, during = proctest.Patient, proctest.During
)

// open opens a queue and closes it when the test ends.
func open[T any](t testing.TB, name string, c codec.Codec[T], o *queue.Options) *queue.Queue[T] {
	t.Helper()
	q, err := queue.Open(name, c, o)
	must(t, err)
	proctest.CloseAtEnd(t, q)
	return q
}

func send[T any](t testing.TB, q *queue.Queue[T], values ...T) {
	t.Helper()
	for _, v := range values {
		must(t, q.Send(patient(t), v))
	}
}

// receive receives a message and checks its value and attempt.
func receive[T comparable](t testing.TB, q *queue.Queue[T], want T, attempt int) *queue.Delivery[T] {
	t.Helper()
	d, err := q.Receive(patient(t))
	if err != nil {
		t.Error(err)
		return d
	}
	if v, err := d.Value(); v != want || err != nil || d.Attempt() != attempt {
		t.Errorf("received %v, %v, attempt %d; want %v, attempt %d", v, err, d.Attempt(), want, attempt)
	}
	return d
}

// What one handle sends, others receive in order, with every codec.
func TestOrder(t *testing.T) {
	t.Run("Fixed", func(t *testing.T) { inOrder(t, codec.Fixed[int64](), func(i int) int64 { return int64(i) }) })
	t.Run("String", func(t *testing.T) { inOrder(t, codec.String(), func(i int) string { return strings.Repeat("x", i) }) })
	t.Run("JSON", func(t *testing.T) { inOrder(t, codec.JSON[[2]int](), func(i int) [2]int { return [2]int{i, -i} }) })
	t.Run("bools", func(t *testing.T) { inOrder(t, codec.Fixed[bool](), func(i int) bool { return i%3 == 0 }) })
}

func inOrder[T comparable](t *testing.T, c codec.Codec[T], value func(i int) T) {
	for _, depth := range []int{1, 2, 3, 64} {
		name := proctest.Name(t)
		a, b := open(t, name, c, &queue.Options{Depth: depth}), open(t, name, c, nil)
		if !a.Created() || b.Created() || b.Cap() != depth {
			t.Fatalf("Created %v, %v, Cap %d", a.Created(), b.Created(), b.Cap())
		}
		go func() {
			for i := range 500 {
				if err := a.Send(patient(t), value(i)); err != nil {
					t.Error(err)
				}
			}
			a.Shut()
		}()
		i := 0
		for v, err := range b.All(patient(t)) {
			must(t, err)
			if v != value(i) {
				t.Fatalf("message %d is %v", i, v)
			}
			i++
		}
		if i != 500 || a.Len() != 0 {
			t.Fatalf("%d messages, and %d left", i, a.Len())
		}
	}
}

// A full queue accepts no message until the oldest one is done.
func TestFull(t *testing.T) {
	q := open(t, proctest.Name(t), codec.Fixed[int](), &queue.Options{Depth: 2})
	send(t, q, 1, 2)
	try := func() {
		t.Helper()
		if sent, err := q.TrySend(3); sent || err != nil || q.Len() != 2 {
			t.Fatalf("TrySend = %v, %v with %d messages", sent, err, q.Len())
		}
	}
	try()
	first, second := receive(t, q, 1, 1), receive(t, q, 2, 1)
	must(t, second.Done())
	try() // the oldest message is not done
	ctx := during(t, 20*time.Millisecond)
	want(t, q.Send(ctx, 3), context.DeadlineExceeded)
	sent := make(chan error)
	go func() { sent <- q.Send(context.Background(), 4) }()
	proctest.Parked(t, ".(*Queue[...]).sendSlow(")
	must(t, first.Done())
	must(t, proctest.Receive(t, sent))
	if q.Len() != 1 {
		t.Errorf("%d messages", q.Len())
	}
	must(t, receive(t, q, 4, 1).Done())
	if sent, err := q.TrySend(5); !sent || err != nil {
		t.Errorf("TrySend = %v, %v", sent, err)
	}
	must(t, receive(t, q, 5, 1).Done())
}

func TestReturn(t *testing.T) {
	q := open(t, proctest.Name(t), codec.Fixed[int](), nil)
	send(t, q, 1, 2, 3)
	first, second := receive(t, q, 1, 1), receive(t, q, 2, 1)
	must(t, first.Return())
	must(t, second.Return())
	must(t, receive(t, q, 1, 2).Done())
	again := receive(t, q, 2, 2)
	must(t, again.Return())
	must(t, again.Return()) // does nothing
	want(t, again.Done(), fs.ErrClosed)
	for attempt := 3; attempt < 300; attempt++ {
		must(t, receive(t, q, 2, min(attempt, 255)).Return())
	}
	must(t, receive(t, q, 2, 255).Done())
	third := receive(t, q, 3, 1)
	must(t, third.Done())
	must(t, third.Return()) // does nothing
	want(t, third.Done(), fs.ErrClosed)
	_, err := third.Value()
	want(t, err, fs.ErrClosed)
	if b := third.Bytes(); b != nil {
		t.Errorf("Bytes after Done: %x", b)
	}
	if d, err := q.TryReceive(); d != nil || err != nil {
		t.Errorf("TryReceive = %v, %v", d, err)
	}
}

// A waiting receiver is woken by a message, and by its context.
func TestWoken(t *testing.T) {
	q := open(t, proctest.Name(t), codec.Fixed[int](), nil)
	const waiting = 4
	got := make(chan int)
	for range waiting {
		go func() {
			d, err := q.Receive(patient(t))
			if err != nil {
				t.Error(err)
				got <- 0
				return
			}
			v, _ := d.Value()
			if err := d.Done(); err != nil {
				t.Error(err)
			}
			got <- v
		}()
	}
	proctest.Parked(t, ".(*Queue[...]).ReceiveInto(")
	sum := 0
	for i := range waiting {
		send(t, q, 1<<i)
		sum += proctest.Receive(t, got)
	}
	if sum != 1<<waiting-1 {
		t.Errorf("received %b", sum)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { _, err := q.Receive(ctx); ended <- err }()
	proctest.Parked(t, ".(*Queue[...]).ReceiveInto(")
	cancel()
	want(t, proctest.Receive(t, ended), context.Canceled)
	_, err := q.Receive(ctx)
	want(t, err, context.Canceled)
	want(t, q.Send(ctx, 1), context.Canceled)
}

func TestShut(t *testing.T) {
	name := proctest.Name(t)
	q, other := open(t, name, codec.Fixed[int](), &queue.Options{Depth: 2}), open(t, name, codec.Fixed[int](), nil)
	send(t, q, 1, 2)
	blocked := make(chan error)
	go func() { blocked <- other.Send(patient(t), 3) }()
	proctest.Parked(t, ".(*Queue[...]).sendSlow(")
	must(t, q.Shut())
	want(t, proctest.Receive(t, blocked), sharedseg.ErrShut)
	want(t, q.Send(t.Context(), 3), sharedseg.ErrShut)
	_, err := q.TrySend(3)
	want(t, err, sharedseg.ErrShut)
	_, err = q.Loan(t.Context())
	want(t, err, sharedseg.ErrShut)
	must(t, receive(t, q, 1, 1).Done())
	last := receive(t, q, 2, 1)
	ended := make(chan error)
	for range 2 { // they could get the message that is left
		go func() { _, err := other.Receive(patient(t)); ended <- err }()
	}
	proctest.Parked(t, ".(*Queue[...]).ReceiveInto(")
	must(t, last.Done())
	for range 2 {
		if err := <-ended; err != io.EOF {
			t.Errorf("Receive: %v", err)
		}
	}
	if d, err := q.TryReceive(); d != nil || err != io.EOF {
		t.Errorf("TryReceive = %v, %v", d, err)
	}
	for v, err := range q.All(t.Context()) {
		t.Error("All:", v, err)
	}
	must(t, q.Shut())
}

// All calls Done for a message when the loop goes on, and Return when the loop
// ends early.
func TestAll(t *testing.T) {
	q := open(t, proctest.Name(t), codec.Fixed[int](), nil)
	send(t, q, 1, 2, 3)
	for v, err := range q.All(patient(t)) {
		must(t, err)
		if v == 2 {
			break
		}
	}
	func() {
		defer func() { recover() }()
		for range q.All(patient(t)) {
			panic("in the body")
		}
	}()
	must(t, receive(t, q, 2, 3).Done())
	must(t, receive(t, q, 3, 1).Done())
	ctx := during(t, time.Millisecond)
	n := 0
	for _, err := range q.All(ctx) {
		want(t, err, context.DeadlineExceeded)
		n++
	}
	if n != 1 {
		t.Errorf("%d pairs", n)
	}
}

// Done discards a message that does not decode.
func TestUndecodable(t *testing.T) {
	name := proctest.Name(t)
	text, number := open(t, name, codec.JSON[string](), nil), open(t, name, codec.JSON[int](), nil)
	send(t, text, "a", "b")
	send(t, number, 3)
	d, err := number.Receive(t.Context())
	must(t, err)
	_, err = d.Value()
	want(t, err, codec.ErrMalformed, "does not decode as int; Done discards it")
	if string(d.Bytes()) != `"a"` {
		t.Errorf("Bytes = %q", d.Bytes())
	}
	must(t, d.Done())
	var all []string
	number.Shut()
	for v, err := range number.All(patient(t)) {
		all = append(all, fmt.Sprint(v, " ", err != nil))
	}
	if got := strings.Join(all, ", "); got != "0 true, 3 false" {
		t.Error(got)
	}
}

type failing struct{ codec.Codec[string] }

func (failing) Append(b []byte, v string) ([]byte, error) {
	switch v {
	case "panic":
		panic(v)
	case "error":
		return nil, codec.ErrInvalid
	}
	return append(b, v...), nil
}

// A value that cannot be encoded is not sent, and does not block others.
func TestUnencodable(t *testing.T) {
	q := open[string](t, proctest.Name(t), failing{codec.String()}, &queue.Options{Capacity: 5})
	want(t, q.Send(t.Context(), "error"), codec.ErrInvalid)
	want(t, q.Send(t.Context(), "too long"), sharedseg.ErrTooLarge)
	func() {
		defer func() {
			if recover() != "panic" {
				t.Error("Send hides a panic")
			}
		}()
		q.Send(t.Context(), "panic")
	}()
	send(t, q, "fine")
	must(t, receive(t, q, "fine", 1).Done())
	s := open(t, proctest.Name(t), codec.String(), &queue.Options{Capacity: 5})
	want(t, s.Send(t.Context(), "too long"), sharedseg.ErrTooLarge)
	if _, err := s.TrySend("too long"); !errors.Is(err, sharedseg.ErrTooLarge) {
		t.Error("TrySend:", err)
	}
}

// within is a codec whose Append calls do.
type within struct {
	codec.Codec[string]
	do func()
}

func (c within) Append(b []byte, v string) ([]byte, error) {
	c.do()
	return append(b, v...), nil
}

func TestReentrant(t *testing.T) {
	if goroutine.ID() == 0 {
		t.Skip("this machine does not tell which goroutine calls")
	}
	var q *queue.Queue[string]
	var errs []error
	c := within{codec.String(), func() {
		_, err := q.TrySend("inner")
		errs = append(errs, q.Send(t.Context(), "inner"), err, q.Shut(), q.Close())
	}}
	q = open[string](t, proctest.Name(t), c, nil)
	send(t, q, "outer")
	for _, err := range errs {
		want(t, err, sharedseg.ErrReentrant)
	}
	must(t, receive(t, q, "outer", 1).Done())
}

func TestLoan(t *testing.T) {
	type pair struct{ A, B uint32 }
	name := proctest.Name(t)
	q, other := open(t, name, codec.Fixed[pair](), &queue.Options{Depth: 2}), open(t, name, codec.Fixed[pair](), nil)
	l, err := q.Loan(t.Context())
	must(t, err)
	if sent, err := other.TrySend(pair{}); sent || err != nil {
		t.Errorf("TrySend during a loan = %v, %v", sent, err)
	}
	*l.Value() = pair{1, 2}
	if len(l.Bytes()) != 8 {
		t.Errorf("%d bytes", len(l.Bytes()))
	}
	want(t, l.Publish(9), fs.ErrInvalid)
	must(t, l.Publish(8))
	must(t, l.Discard())
	want(t, l.Publish(8), fs.ErrClosed)
	if l.Bytes() != nil || l.Value() != nil {
		t.Error("a published loan still gives access to its memory")
	}
	l, err = q.Loan(t.Context())
	must(t, err)
	must(t, l.Discard())
	must(t, receive(t, other, pair{1, 2}, 1).Done())
	send(t, q, pair{3, 4}, pair{5, 6})
	ctx := during(t, time.Millisecond)
	_, err = q.Loan(ctx)
	want(t, err, context.DeadlineExceeded)

	text := open(t, proctest.Name(t), codec.String(), nil)
	s, err := text.Loan(t.Context())
	must(t, err)
	if s.Value() != nil {
		t.Error("the Value of a String loan is not nil")
	}
	must(t, s.Publish(copy(s.Bytes(), "in place")))
	d := receive(t, text, "in place", 1)
	if b := d.Bytes(); string(b) != "in place" || cap(b) != len(b) {
		t.Errorf("Bytes = %q", b)
	}
	must(t, d.Done())
}

// When a handle is closed, other handles get its messages, and using its
// deliveries does no harm.
func TestCloseWithMessages(t *testing.T) {
	name := proctest.Name(t)
	q, err := queue.Open(name, codec.String(), nil)
	must(t, err)
	other := open(t, name, codec.String(), nil)
	send(t, other, "one", "two", "three")
	one, two := receive(t, q, "one", 1), receive(t, q, "two", 1)
	b := one.Bytes()
	must(t, two.Done())
	waiting := make(chan *queue.Delivery[string])
	must(t, receive(t, other, "three", 1).Done())
	go func() { waiting <- receive(t, other, "one", 2) }()
	proctest.Parked(t, ".(*Queue[...]).ReceiveInto(")
	must(t, q.Close())
	must(t, q.Close())
	_ = string(b)
	_, err = one.Value()
	want(t, err, fs.ErrClosed)
	// On Windows the closed handle keeps the message until Done or Return.
	if err := one.Return(); err != nil && !errors.Is(err, fs.ErrClosed) {
		t.Error("Return:", err)
	}
	must(t, proctest.Receive(t, waiting).Done())
	_, err = q.Receive(t.Context())
	want(t, err, fs.ErrClosed)
	_, err = q.TryReceive()
	want(t, err, fs.ErrClosed)
	want(t, q.Send(t.Context(), ""), fs.ErrClosed)
	_, err = q.TrySend("")
	want(t, err, fs.ErrClosed)
	_, err = q.Loan(t.Context())
	want(t, err, fs.ErrClosed)
	want(t, q.Shut(), fs.ErrClosed)
	if q.Len() != 0 {
		t.Error("Len", q.Len())
	}
}

// A handle that was closed takes no message, also if it keeps a message, as it
// does on Windows.
func TestReceiveClosed(t *testing.T) {
	name := proctest.Name(t)
	q, err := queue.Open(name, codec.String(), nil)
	must(t, err)
	other := open(t, name, codec.String(), nil)
	send(t, other, "one", "two")
	one := receive(t, q, "one", 1)
	must(t, q.Close())
	_, err = q.Receive(t.Context())
	want(t, err, fs.ErrClosed)
	_, err = q.TryReceive()
	want(t, err, fs.ErrClosed)
	first, err := other.TryReceive()
	must(t, err)
	if first == nil {
		t.Fatal("the closed handle has all messages")
	}
	if err := one.Return(); err != nil && !errors.Is(err, fs.ErrClosed) {
		t.Error("Return:", err)
	}
	must(t, first.Return())
}

// Close ends the calls that wait.
func TestCloseEndsWaits(t *testing.T) {
	name := proctest.Name(t)
	q, err := queue.Open(name, codec.Fixed[int](), &queue.Options{Depth: 1})
	must(t, err)
	open(t, name, codec.Fixed[int](), nil)
	ended := make(chan error)
	for range 3 {
		go func() { _, err := q.Receive(context.Background()); ended <- err }()
	}
	proctest.Parked(t, ".(*Queue[...]).ReceiveInto(")
	must(t, q.Close())
	for range 3 {
		want(t, proctest.Receive(t, ended), fs.ErrClosed)
	}
	q, err = queue.Open(name, codec.Fixed[int](), nil)
	must(t, err)
	send(t, q, 1)
	go func() { ended <- q.Send(context.Background(), 2) }()
	proctest.Parked(t, ".(*Queue[...]).sendSlow(")
	must(t, q.Close())
	want(t, proctest.Receive(t, ended), fs.ErrClosed)
}

// patch writes a number into the file of a queue, as a hostile peer can.
func patch(t *testing.T, o *queue.Options, name string, off int64, b []byte) {
	t.Helper()
	f, err := os.OpenFile(filepath.Join(o.Dir, name), os.O_RDWR, 0)
	must(t, err)
	defer f.Close()
	_, err = f.WriteAt(b, off)
	must(t, err)
}

// If a peer frees the lock of an open loan, Publish and Discard return
// ErrCorrupt, whether or not another call has taken the lock since.
func TestLoanTaken(t *testing.T) {
	o := &queue.Options{Dir: proctest.TempDir(t)}
	q := open(t, "q", codec.Fixed[int64](), o)
	for what, end := range map[string]func(l *queue.Loan[int64]) error{
		"Publish": func(l *queue.Loan[int64]) error { return l.Publish(8) },
		"Discard": (*queue.Loan[int64]).Discard,
	} {
		for _, taken := range []bool{false, true} {
			t.Run(fmt.Sprint(what, "/taken=", taken), func(t *testing.T) {
				l, err := q.Loan(t.Context())
				must(t, err)
				patch(t, o, "q", layout.MutexOff, make([]byte, 4))
				if taken {
					send(t, q, 1)
				}
				want(t, end(l), sharedseg.ErrCorrupt, "took the lock")
				must(t, l.Discard())
			})
		}
	}
}

// A loan ends when its handle is closed, and then does not block others.
func TestCloseWithLoan(t *testing.T) {
	name := proctest.Name(t)
	q, err := queue.Open(name, codec.Fixed[int64](), nil)
	must(t, err)
	other := open(t, name, codec.Fixed[int64](), nil)
	l, err := q.Loan(t.Context())
	must(t, err)
	must(t, q.Close())
	*l.Value() = 7
	want(t, l.Publish(8), fs.ErrClosed)
	send(t, other, 1)
	must(t, receive(t, other, 1, 1).Done())
}

func TestPersist(t *testing.T) {
	name, o := proctest.Name(t), &queue.Options{Dir: proctest.TempDir(t), Persist: true}
	q, err := queue.Create(name, codec.String(), o)
	must(t, err)
	send(t, q, "one", "two")
	d := receive(t, q, "one", 1)
	must(t, q.Close())
	d.Return()
	q, err = queue.Attach(name, codec.String(), o)
	must(t, err)
	must(t, receive(t, q, "one", 2).Done())
	must(t, receive(t, q, "two", 1).Done())
	must(t, q.Close())
	must(t, sharedseg.Remove(name, o.Place()))
}

// A name is refused if it is not a queue of the same geometry and codec, and so
// are invalid options.
func TestRefused(t *testing.T) {
	name := proctest.Name(t)
	_, err := queue.Attach(name, codec.Fixed[int64](), nil)
	want(t, err, fs.ErrNotExist)
	open(t, name, codec.Fixed[int64](), nil)
	_, err = queue.Create(name, codec.Fixed[int64](), nil)
	want(t, err, fs.ErrExist)
	for what, o := range map[string]*queue.Options{
		"its Depth is 64, want 65":  {Depth: 65},
		"its Capacity is 8, want 9": {Capacity: 9},
	} {
		_, err := queue.Open(name, codec.Fixed[int64](), o)
		want(t, err, sharedseg.ErrIncompatible, what)
	}
	_, err = queue.Open(name, codec.Fixed[float64](), nil)
	want(t, err, sharedseg.ErrIncompatible)
	_, err = segment.Open(name, codec.Fixed[int64](), nil)
	want(t, err, sharedseg.ErrIncompatible, "it is a queue, not a segment")
	_, err = ipcsync.OpenMutex(name, nil)
	want(t, err, sharedseg.ErrIncompatible)
	for _, o := range []*queue.Options{{Depth: -1}, {Depth: 65537}, {Capacity: -1}} {
		_, err = queue.Open(name, codec.Fixed[int64](), o)
		want(t, err, fs.ErrInvalid)
	}
	_, err = queue.Open(name, codec.Fixed[int64](), &queue.Options{Capacity: 7})
	want(t, err, sharedseg.ErrTooLarge)
	s, err := segment.Open(name+".s", codec.Fixed[int64](), nil)
	must(t, err)
	defer s.Close()
	_, err = queue.Open(name+".s", codec.Fixed[int64](), nil)
	want(t, err, sharedseg.ErrIncompatible)
	info, err := sharedseg.Stat(name, nil)
	if must(t, err); info.Kind != sharedseg.KindQueue || info.Slots != 64 || info.Capacity != 8 {
		t.Errorf("Stat = %+v", info)
	}
}

// received returns the bytes of the first message, which a handle has received
// that is unreachable by then.
func received(name string) ([]byte, error) {
	q, err := queue.Open(name, codec.String(), nil)
	if err != nil {
		return nil, err
	}
	d, err := q.Receive(context.Background())
	if err != nil {
		return nil, err
	}
	return d.Bytes(), nil
}

// A handle that becomes unreachable with a message is closed by the garbage
// collector, and another handle gets the message. The bytes of the message are
// never used for anything else. On Windows, where mapped memory cannot be
// replaced, the handle keeps its message until its process ends.
func TestDropped(t *testing.T) {
	name := proctest.Name(t)
	q := open(t, name, codec.String(), nil)
	send(t, q, "value")
	if runtime.GOOS == "windows" {
		proctest.Start(t, "dropper", name).Wait()
		must(t, receive(t, q, "value", 2).Done())
		return
	}
	b, err := received(name)
	must(t, err)
	var d *queue.Delivery[string]
	proctest.Eventually(t, "the message of the dropped handle is received", func() bool {
		runtime.GC()
		d, err = q.TryReceive()
		must(t, err)
		return d != nil
	})
	if v, err := d.Value(); v != "value" || d.Attempt() != 2 || err != nil {
		t.Errorf("received %q, attempt %d, %v", v, d.Attempt(), err)
	}
	must(t, d.Done())
	for range 10 {
		send(t, open(t, proctest.Name(t), codec.String(), nil), "other")
	}
	if s := string(b); s != "value" && s != "\x00\x00\x00\x00\x00" { // a copy, or zeros
		t.Errorf("the bytes of the message are %q", b)
	}
}

// dropper drops a handle that has received a message, and ends.
func dropper(args []string) error {
	_, err := received(args[0])
	return err
}

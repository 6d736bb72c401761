// Package queue hands messages from any number of processes to any number of
// others, each to exactly one receiver, even when that dies.
//
//	q, err := queue.Open("orders", codec.Fixed[Order](), nil)
//	if err != nil {
//		return err
//	}
//	defer q.Close()
//	err = q.Send(ctx, order) // in one process
//
//	for order, err := range q.All(ctx) { // in another, or several
//		if err != nil {
//			return err
//		}
//		… // when the loop goes on, the message is done
//	}
//
// A [Queue] is a ring of slots in named shared memory, which every process that
// opens the name with the same [codec.Codec] has. Send waits while it is full,
// Receive while it is empty. Neither makes a system call unless somebody has to
// be woken, or there is something to wait for.
//
// A message is the receiver's from Receive until it says Done. If the process
// of the receiver is killed before that, or closes its handle, the next
// receiver gets the message, at once or within a few milliseconds, and
// [Delivery.Attempt] says that it is not the first. The kernel tells that a
// process is dead, not a time-out, so however slow a live receiver is, no other
// gets its message. Delivery is at least once: a receiver that dies after it
// acted on a message and before Done has acted, and the next will act again.
// Either that does no harm, or the receiver notes in the same place where it
// acts which messages it has dealt with. No message that Send has accepted is
// lost, however many processes are killed and wherever.
//
// Messages are handed out in the order in which they were sent; one that comes
// again is handed out before those that are still there. Messages of different
// priority need a queue each.
//
// Without Options.Persist the messages end with the last handle, as if they had
// never been sent.
//
// All methods of a Queue may be called concurrently, from any number of
// goroutines and processes. Nothing in the mapping is trusted: a peer that
// writes nonsense can spoil messages, but not crash, hang or bloat this
// process.
package queue

import (
	"context"
	"errors"
	"io"
	"iter"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sharedseg/sharedseg"
	"github.com/sharedseg/sharedseg/codec"
	"github.com/sharedseg/sharedseg/internal/layout"
	"github.com/sharedseg/sharedseg/internal/member"
	"github.com/sharedseg/sharedseg/internal/notify"
	"github.com/sharedseg/sharedseg/internal/payload"
	"github.com/sharedseg/sharedseg/internal/ring"
	"github.com/sharedseg/sharedseg/internal/step"
	"github.com/sharedseg/sharedseg/internal/turn"
)

const (
	shortPark = 5 * time.Millisecond   // the longest that a dead receiver goes unnoticed
	longPark  = 500 * time.Millisecond // that a wake-up that died with its sender does

	deepPause  = time.Millisecond // between looks for dead receivers by one that waits
	watchAfter = 1500 * time.Microsecond

	watchedPause = 50 * time.Microsecond // deepPause when the look may come from the end of the process that is watched

	tryLimit = 10 * time.Millisecond // that TrySend waits for the lock
)

// Queue is a handle of a queue, for sending and receiving. Close it when it is
// no longer used; an unreachable handle is eventually closed by the garbage
// collector.
type Queue[T any] struct {
	ring    *ring.Ring
	state   *atomic.Uint32 // bits of package fault; 0 while the handle is open and its memory whole
	direct  bool           // the memory may be touched outside of the door
	payload payload.Payload[T]
	turn    *turn.Turn

	messages, room *notify.EventCount
	member         *member.Member
	holds          *holds
	name           string
	receivings     sync.Pool // *receiving[T]
}

// Open opens the queue of that name, and creates it if there is none. Exactly
// one of those who open a name at the same time initialises it; the others see
// it ready. A queue that does not persist and that nobody has open, as after
// the crash of all its users, counts as none and begins anew.
//
// The name has 1 to 200 of the characters A-Z, a-z, 0-9, '.', '_' and '-', and
// does not start with a dot. It shares its namespace with segments and locks. c
// must have the same ID as the codec of those who have it open; see Options for
// what else must agree.
//
// A queue takes all of its memory when it is created. What the file system, the
// machine or, on Linux, the memory control groups of the process have no room
// for is ErrNoSpace, with the figures, and nothing is taken.
//
// Errors: fs.ErrInvalid (name, options or codec), ErrIncompatible (something
// else has the name, a queue of another type, or one that this process cannot
// address), ErrCorrupt, ErrNoSpace, ErrTooLarge (Capacity less than codec.Fixed
// needs), ErrTooManyMembers, fs.ErrPermission, errors.ErrUnsupported,
// syscall.ENOMEM, and os.ErrDeadlineExceeded if a process was stopped half-way
// through opening or closing the queue.
func Open[T any](name string, c codec.Codec[T], o *Options) (*Queue[T], error) {
	return open(member.OpenOrCreate, "open", name, c, o)
}

// Create is Open for a queue that must not exist; if one is live, or persists,
// that is fs.ErrExist.
func Create[T any](name string, c codec.Codec[T], o *Options) (*Queue[T], error) {
	return open(member.CreateOnly, "create", name, c, o)
}

// Attach is Open for a queue that must exist; if none is live nor persists,
// that is fs.ErrNotExist.
func Attach[T any](name string, c codec.Codec[T], o *Options) (*Queue[T], error) {
	return open(member.AttachOnly, "attach", name, c, o)
}

func open[T any](how member.How, op, name string, c codec.Codec[T], o *Options) (*Queue[T], error) {
	if o == nil {
		o = new(Options)
	}
	spec, err := payload.Spec(c, o.request(name))
	if err != nil {
		return nil, wrap(op, name, err)
	}
	m, err := member.Join(how, spec)
	if err != nil {
		return nil, wrap(op, name, err)
	}
	q := &Queue[T]{name: name, member: m, state: m.State, holds: newHolds(m)}
	q.ring = ring.New(m.Mem, m.Geometry, layout.Ident(m.Self()), m.Alive, m.Key)
	q.payload = payload.New(c, layout.NewSlots(m.Mem, m.Geometry), "Done discards it")
	q.direct = m.Direct
	use := func(f func() error) error { return q.member.Use(f) } // it keeps the handle from being collected
	limit := func() time.Duration {
		if q.ring.Idle() {
			return longPark
		}
		return shortPark
	}
	count := func() { m.Count(layout.Waits) }
	q.messages = notify.NewEventCount(m.Event(layout.MessageEvent), use, limit, count)
	q.room = notify.NewEventCount(m.Event(layout.RoomEvent), use, limit, count)
	messages, room := q.messages, q.room
	q.turn = turn.New(m, func() error {
		// What the dead sender did is whole, but it may have woken nobody.
		return m.Use(func() error {
			messages.Signal()
			room.Signal()
			return nil
		})
	})
	if o.Populate {
		m.Populate()
	}
	runtime.AddCleanup(q, (*holds).discard, q.holds)
	return q, nil
}

// Created reports whether this handle initialised the queue.
func (q *Queue[T]) Created() bool { return q.member.Created }

// Cap returns the number of messages that the queue has room for.
func (q *Queue[T]) Cap() int { return q.member.Geometry.Slots }

// Len returns the number of messages that are not done, those that receivers
// have in hand included. It is 0 if the handle is closed or the queue corrupt,
// which Receive tells.
func (q *Queue[T]) Len() (n int) {
	err := q.member.Use(func() (err error) {
		n, err = q.ring.Len()
		return err
	})
	if q.member.Verdict(err) != nil {
		return 0
	}
	return n
}

// Send sends v. It waits for other senders, and while the queue is full; it
// gives up when ctx is done, at once if it is from the beginning. When it
// returns nil the message is there, whatever becomes of this process.
//
// Errors: ErrTooLarge if the encoding is larger than the capacity, the codec's,
// ErrShut, that of ctx, whose text names the process that has the senders' lock
// if that is what it waited for, ErrCorrupt, ErrNoSpace if memory that was
// reserved is gone, ErrReentrant from within a codec of this handle, and
// fs.ErrClosed. After an error the message is not sent, except perhaps after
// ErrCorrupt and ErrNoSpace.
func (q *Queue[T]) Send(ctx context.Context, v T) error {
	if q.direct && q.payload.Direct && ctx.Err() == nil && q.turn.TryLock() {
		if sent, err := q.put(&v); sent || err != nil {
			return wrap("send", q.name, err)
		}
	}
	return wrap("send", q.name, q.sendSlow(ctx, &v))
}

// TrySend is Send if the queue is not full, and reports whether it sent v. It
// waits for other senders, for 10 ms at most: one of them may be stopped.
func (q *Queue[T]) TrySend(v T) (bool, error) {
	if q.direct && q.payload.Direct && q.turn.TryLock() {
		sent, err := q.put(&v)
		return sent, wrap("send", q.name, err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), tryLimit)
	defer cancel()
	sent, err := q.tryPut(ctx, &v)
	if errors.Is(err, context.DeadlineExceeded) {
		return false, nil
	}
	return sent, wrap("send", q.name, err)
}

// put sends *v unless the queue is full, and wakes a receiver. It is called
// inside the door, with the lock, which it releases unless the codec panics.
func (q *Queue[T]) put(v *T) (sent bool, err error) {
	if q.state.Load() != 0 {
		q.turn.Unlock()
		return false, q.member.Verdict(nil)
	}
	ticket, slot, full, err := q.ring.Reserve()
	if full || err != nil {
		q.turn.Unlock()
		return false, err
	}
	var n int
	if q.payload.Plain {
		n = layout.Put(slot, v)
	} else if n, err = q.payload.Put(slot, v); err != nil {
		q.turn.Unlock()
		return false, err
	}
	step.At(step.WriteFilled)
	q.ring.Send(ticket, slot, n)
	err = q.turn.Unlock()
	q.messages.Signal()
	if q.state.Load() != 0 {
		err = q.member.Loss(err)
	}
	return true, err
}

// tryPut is put, with the lock taken before. However it ends, the lock is
// released.
func (q *Queue[T]) tryPut(ctx context.Context, v *T) (sent bool, err error) {
	if err := q.turn.Lock(ctx); err != nil {
		return false, q.member.Verdict(err)
	}
	ended := false
	defer func() {
		// The codec has panicked, or the memory has vanished.
		if !ended && q.turn.Mine() {
			q.member.Use(q.turn.Unlock)
		}
	}()
	err = q.member.Use(func() (err error) {
		sent, err = q.put(v)
		ended = true
		return err
	})
	return sent, err
}

// sendSlow is Send where the lock is not free or the queue is full, for a
// handle whose memory is touched through the door, and for a codec that may
// panic.
func (q *Queue[T]) sendSlow(ctx context.Context, v *T) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	for {
		if sent, err := q.tryPut(ctx, v); sent || err != nil {
			return err
		}
		if err := q.waitForRoom(ctx); err != nil {
			return err
		}
	}
}

// waitForRoom waits until the queue seems not to be full.
func (q *Queue[T]) waitForRoom(ctx context.Context) error {
	err := q.room.Wait(ctx, func() bool { return q.ring.Room() || q.state.Load() != 0 })
	return q.member.Verdict(err)
}

// Shut ends the sending, by anyone: a Send that waits, and every later one,
// returns ErrShut. Receivers get what is there, and then io.EOF, as soon as the
// last message is done. A queue that was shut stays so for as long as it lives.
// Shut waits for a Send under way.
//
// Errors: ErrCorrupt, ErrNoSpace, ErrReentrant, fs.ErrClosed.
func (q *Queue[T]) Shut() error {
	if err := q.turn.Lock(context.Background()); err != nil {
		return wrap("shut", q.name, q.member.Verdict(err))
	}
	return wrap("shut", q.name, q.member.Use(func() error {
		q.ring.Shut()
		err := q.turn.Unlock()
		q.messages.Signal() // each that is woken wakes the next
		q.room.Signal()
		return err
	}))
}

// Receive returns the next message, which is this handle's from now on, until
// Done or Return. It waits while there is none; it gives up when ctx is done,
// at once if it is from the beginning.
//
// Errors: io.EOF itself when the queue was shut and all messages are done, that
// of ctx, ErrCorrupt, ErrNoSpace if memory that was reserved is gone, and
// fs.ErrClosed. A message that does not decode is not an error of Receive but
// of [Delivery.Value].
func (q *Queue[T]) Receive(ctx context.Context) (*Delivery[T], error) {
	d := new(Delivery[T])
	if err := q.ReceiveInto(ctx, d); err != nil {
		return nil, err
	}
	return d, nil
}

// ReceiveInto is Receive into *d, which must be new, or over by Done or Return.
// It does not allocate.
func (q *Queue[T]) ReceiveInto(ctx context.Context, d *Delivery[T]) error {
	if q.direct && ctx.Err() == nil {
		if m, ok, err := q.ring.Take(false); ok && err == nil && q.state.Load() == 0 {
			d.begin(q, m)
			return nil
		}
	}
	if err := ctx.Err(); err != nil {
		return wrap("receive", q.name, err)
	}
	r := q.receiving()
	m, ok, err := r.finish(q.messages.Wait(ctx, r.look))
	if ok {
		d.begin(q, m)
	}
	return eof("receive", q.name, err)
}

// TryReceive is Receive that does not wait: it returns nil, and no error, if
// there is no message.
func (q *Queue[T]) TryReceive() (*Delivery[T], error) {
	r := q.receiving()
	m, ok, err := r.finish(q.member.Use(func() error {
		if !r.take(false) {
			r.deepen(time.Now())
		}
		return nil
	}))
	if !ok {
		return nil, eof("receive", q.name, err)
	}
	d := new(Delivery[T])
	d.begin(q, m)
	return d, nil
}

// All receives messages one after the other, and says Done of each when the
// loop goes on after it. If the loop's body leaves the loop, or panics, the
// message that it has goes back, as by Return. A message that does not decode
// is codec.ErrMalformed in its place, and done as well when the loop goes on.
// The loop ends when the queue was shut and all messages are done. When ctx is
// done or the handle closed, the last pair has that error.
func (q *Queue[T]) All(ctx context.Context) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		var d Delivery[T]
		for {
			if err := q.ReceiveInto(ctx, &d); err != nil {
				if err != io.EOF {
					var zero T
					yield(zero, err)
				}
				return
			}
			if !d.hand(yield) {
				return
			}
		}
	}
}

// hand is one turn of the loop of All.
func (d *Delivery[T]) hand(yield func(T, error) bool) bool {
	defer d.Return() // unless it is done
	if !yield(d.Value()) {
		return false
	}
	d.Done() // what went wrong, the next Receive says
	return true
}

// receiving is a receive that waits. It is used again for another, as functions
// that are handed to Wait are on the heap.
type receiving[T any] struct {
	q     *Queue[T]
	m     ring.Message
	ok    bool // a message was taken: m
	ended bool // there will be no more
	err   error

	begun, deepened time.Time
	watched         layout.Ident // whose process is waited for
	stop            func()

	look func() bool
}

func (q *Queue[T]) receiving() *receiving[T] {
	r, ok := q.receivings.Get().(*receiving[T])
	if !ok {
		r = new(receiving[T])
		r.look = r.doLook
	}
	r.q = q
	return r
}

// finish returns what r found, in a wait that ended with err.
func (r *receiving[T]) finish(err error) (m ring.Message, ok bool, _ error) {
	q := r.q
	if err == nil {
		err = r.err
	}
	// What was taken by a handle that was closed meanwhile goes back with it.
	if err = q.member.Verdict(err); err == nil {
		if m, ok = r.m, r.ok; r.ended {
			err = io.EOF
		}
	} else if r.ok {
		q.holds.drop()
	}
	if r.stop != nil {
		r.stop()
	}
	*r = receiving[T]{look: r.look}
	q.receivings.Put(r)
	return m, ok, err
}

// doLook reports whether the wait is over. It is called within Use.
func (r *receiving[T]) doLook() bool {
	if r.take(false) {
		return true
	}
	if r.q.ring.Idle() {
		return false
	}
	now, pause := time.Now(), deepPause
	if r.stop != nil {
		pause = watchedPause
	}
	return now.Sub(r.deepened) >= pause && r.deepen(now)
}

func (r *receiving[T]) take(deep bool) bool {
	r.m, r.ok, r.err = r.q.ring.Take(deep)
	if r.ok {
		r.q.holds.add()
	}
	return r.ok || r.err != nil
}

// deepen is doLook where messages are there that are not free. It looks for
// those of dead receivers, and when it has waited for a while, has itself woken
// when the process of the one with the oldest message ends.
func (r *receiving[T]) deepen(now time.Time) bool {
	r.deepened = now
	if r.q.ring.Advance() {
		r.q.room.Signal()
	}
	if r.take(true) {
		return true
	}
	if r.ended = r.q.ring.Ended(); r.ended {
		return true
	}
	if r.begun.IsZero() {
		r.begun = now
	}
	if oldest := r.q.ring.Oldest(); oldest != 0 && oldest != r.watched && now.Sub(r.begun) >= watchAfter {
		if r.stop != nil {
			r.stop()
		}
		r.watched, r.stop = oldest, r.q.messages.KickAtEnd(r.q.member.Words.HolderPID(oldest.Slot()).Load())
	}
	return false
}

// Close closes the handle. It waits for Sends under way. Later calls, and those
// that wait, return fs.ErrClosed. Messages that the handle has received and
// that are not done go to others. What refers to them reads zeros from now on;
// on Windows, where memory cannot be replaced, they are the handle's until the
// last is done or returned. If it is the last handle of a queue that does not
// persist, the queue ends, with its messages. The error says what could not be
// cleaned up; the handle is closed all the same. A second Close returns nil,
// perhaps before the first is done.
//
// A Close from within a codec of this handle would wait for itself: it returns
// ErrReentrant, and the handle stays open.
func (q *Queue[T]) Close() error {
	if q.turn.Within() && !q.member.Closed() {
		return wrap("close", q.name, sharedseg.ErrReentrant)
	}
	if !q.member.BeginClose() {
		return nil
	}
	q.messages.Close()
	q.room.Close()
	step.At(step.WaitsEnded)
	q.turn.Close()
	step.At(step.StoresEnded)
	err := wrap("close", q.name, q.holds.leave())
	runtime.KeepAlive(q)
	return err
}

func wrap(op, name string, err error) error {
	if err == nil {
		return nil
	}
	return &sharedseg.Error{Op: op, Name: name, Err: err}
}

// eof is wrap, but for io.EOF, which callers compare with.
func eof(op, name string, err error) error {
	if err == io.EOF {
		return err
	}
	return wrap(op, name, err)
}

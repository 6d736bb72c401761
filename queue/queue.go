// Package queue passes messages between any number of processes. Each message
// goes to exactly one receiver, or to another one if that receiver dies.
//
//	q, err := queue.Open("orders", codec.Fixed[Order](), nil)
//	if err != nil {
//		return err
//	}
//	defer q.Close()
//	if err := q.Send(ctx, Order{Tea: 2}); err != nil { // in one process
//		return err
//	}
//	for order, err := range q.All(ctx) { // in another process, or in several
//		if err != nil {
//			return err
//		}
//		fmt.Println(order.Tea) // the message is done when the next iteration begins
//	}
//
// A [Queue] is a ring of slots in named shared memory. Every process that opens
// the name with the same [codec.Codec] shares it. Send blocks while the queue
// is full, and Receive while it is empty. They make a system call only to sleep
// or to wake a sleeper.
//
// Delivery is at least once. A receiver owns a message from Receive until Done.
// If its process exits before that, or closes the handle, the next receiver
// gets the message, at once or within a few milliseconds, and
// [Delivery.Attempt] says that it is not the first. The kernel reports the
// death of a process. No time-out is involved, so a slow live receiver never
// loses its message. A receiver that dies after it acted on a message, but
// before Done, leads to a second delivery. Acting twice must therefore do no
// harm, or receivers must record which messages they have dealt with, in the
// place where they act. No message that Send has accepted is lost, however many
// processes are killed, at whatever point.
//
// Messages are delivered in the order in which they were sent. A message that
// is delivered again comes before those that were never delivered. Use a
// separate queue for each priority.
//
// Without Options.Persist, all messages are lost when the last handle is closed
// or its process exits.
//
// All methods of a Queue may be called concurrently, from any number of
// goroutines and processes. Nothing in the mapping is trusted: a peer that
// writes nonsense can spoil messages, but cannot crash or hang this process,
// nor make it allocate without bound.
package queue

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sharedseg/sharedseg"
	"github.com/sharedseg/sharedseg/codec"
	"github.com/sharedseg/sharedseg/internal/fault"
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
	longPark  = 500 * time.Millisecond // the longest delay by a sender that died before it woke a receiver

	deepPause  = time.Millisecond        // between a waiter's looks for dead receivers
	watchAfter = 1500 * time.Microsecond // the wait before the oldest message's process is watched

	// deepPause while a process is watched: its exit may have caused the look.
	watchedPause = 50 * time.Microsecond

	tryLimit = 10 * time.Millisecond // the longest that TrySend waits for the lock
)

// Queue is a handle of a queue, for sending and receiving. Close it after use.
// An unreachable handle is eventually closed by the garbage collector.
type Queue[T any] struct {
	ring    *ring.Ring
	state   *atomic.Uint32 // bits of package fault; 0 while the handle is open and its memory whole
	direct  bool           // the memory may be accessed outside Use
	payload payload.Payload[T]
	turn    *turn.Turn

	messages, room *notify.EventCount
	member         *member.Member
	holds          *holds
	name           string
	receivings     sync.Pool // *receiving[T]
}

// Open opens the queue with the given name, and creates it if it does not
// exist. If several processes open a name at the same time, exactly one of them
// initialises the queue, and the others see it ready. A queue that does not
// persist and that no handle has open, as after the crash of all its users, is
// created again, empty.
//
// The name has 1 to 200 of the characters A-Z, a-z, 0-9, '.', '_' and '-', and
// does not start with a dot. Queues, segments and locks share one namespace.
// All handles of a queue must have codecs with the same ID. See [Options] for
// what else must agree.
//
// A queue allocates all of its memory when it is created. If the file system,
// the machine or, on Linux, a memory control group of the process lacks room
// for it, Open returns ErrNoSpace, with the figures, and allocates nothing.
//
// Errors: fs.ErrInvalid (name, options or codec), ErrIncompatible (something
// else has the name, a queue of another type, or one that this process cannot
// address), ErrCorrupt, ErrNoSpace, ErrTooLarge (Capacity less than codec.Fixed
// needs), ErrTooManyMembers, fs.ErrPermission, errors.ErrUnsupported,
// syscall.ENOMEM, and os.ErrDeadlineExceeded if a process was stopped halfway
// through opening or closing the queue.
func Open[T any](name string, c codec.Codec[T], o *Options) (*Queue[T], error) {
	return open(member.OpenOrCreate, "open", name, c, o)
}

// Create is like [Open], but returns fs.ErrExist if the queue exists: if a
// handle has it open, or if it persists.
func Create[T any](name string, c codec.Codec[T], o *Options) (*Queue[T], error) {
	return open(member.CreateOnly, "create", name, c, o)
}

// Attach is like [Open], but returns fs.ErrNotExist if the queue does not
// exist: if no handle has it open and it does not persist.
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
	q := &Queue[T]{name: name, member: m, state: m.State, holds: &holds{member: m}}
	q.ring = ring.New(m.Mem, m.Geometry, layout.Ident(m.Self()), m.Alive, m.Key)
	q.payload = payload.New(c, layout.NewSlots(m.Mem, m.Geometry), "Done discards it")
	q.direct = m.Direct
	use := func(f func() error) error { return q.member.Use(f) } // refers to q, so that q is not collected
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
		// The dead sender left the ring consistent, but may not have woken
		// anybody.
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

// Len returns the number of messages that are not done, including those that
// receivers own. It returns 0 if the handle is closed or the queue is corrupt.
// Receive reports either as an error.
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

// Send sends v. It waits for other senders, and while the queue is full, until
// ctx is done. If ctx is already done, it sends nothing. Once Send has returned
// nil, the message is in the queue, even if this process dies.
//
// Errors: ErrTooLarge if the encoding is larger than the capacity, an error of
// the codec, ErrShut, the error of ctx, ErrCorrupt, ErrNoSpace if reserved
// memory is gone, ErrReentrant if a codec of this handle calls Send, and
// fs.ErrClosed. If ctx ends a wait for another sender, the text of the error
// names the process that holds the senders' lock. After an error the message is
// not sent, except possibly after ErrCorrupt and ErrNoSpace.
func (q *Queue[T]) Send(ctx context.Context, v T) error {
	if q.direct && q.payload.Direct && ctx.Err() == nil && q.turn.TryLock() {
		if sent, err := q.put(&v); sent || err != nil {
			return wrap("send", q.name, err)
		}
	}
	return wrap("send", q.name, q.sendSlow(ctx, &v))
}

// TrySend is like [Queue.Send], but does not wait while the queue is full. It
// reports whether it sent v. It waits at most 10 ms for other senders, because
// one of them may be stopped.
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
// within Use, with the lock held. It releases the lock unless the codec panics.
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
	q.ring.Post(ticket, slot, n)
	if q.state.Load()&fault.Lost != 0 { // some of the slot may be private memory
		q.turn.Unlock()
		return false, q.member.Loss(nil)
	}
	q.ring.Send(ticket)
	err = q.turn.Unlock()
	q.messages.Signal()
	if q.state.Load() != 0 {
		err = q.member.Loss(err)
	}
	return true, err
}

// tryPut takes the lock and calls put. It always releases the lock.
func (q *Queue[T]) tryPut(ctx context.Context, v *T) (sent bool, err error) {
	if err := q.turn.Lock(ctx, errWithin); err != nil {
		return false, q.member.Verdict(err)
	}
	err = q.turn.Finish(func() (err error) {
		sent, err = q.put(v)
		return err
	})
	return sent, err
}

// sendSlow is Send if the lock is held, the queue is full, the handle's memory
// must be accessed within Use, or the codec may panic.
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

// waitForRoom waits until the queue is probably not full.
func (q *Queue[T]) waitForRoom(ctx context.Context) error {
	err := q.room.Wait(ctx, func() bool { return q.ring.Room() || q.state.Load() != 0 })
	return q.member.Verdict(err)
}

// Shut ends sending, for all processes: every Send that waits, and every later
// one, returns ErrShut. Receivers get the remaining messages, and io.EOF once
// the last of them is done. Shut cannot be undone. It waits for a Send that is
// under way, and for an open Loan, also one of the same goroutine.
//
// Errors: ErrCorrupt, ErrNoSpace, ErrReentrant, fs.ErrClosed.
func (q *Queue[T]) Shut() error {
	if err := q.turn.Lock(context.Background(), errWithin); err != nil {
		return wrap("shut", q.name, q.member.Verdict(err))
	}
	return wrap("shut", q.name, q.turn.Finish(func() error {
		q.ring.Shut()
		err := q.turn.Unlock()
		q.messages.Signal() // each receiver that wakes signals the next
		q.room.Signal()
		return err
	}))
}

// Receive returns the next message. This handle owns the message until Done or
// Return. Receive waits while no message is available, until ctx is done. If
// ctx is already done, it receives nothing.
//
// Errors: the error of ctx, ErrCorrupt, ErrNoSpace if reserved memory is gone,
// fs.ErrClosed, and io.EOF itself, not wrapped, if the queue was shut and all
// messages are done. If a message does not decode, [Delivery.Value] returns the
// error, not Receive.
func (q *Queue[T]) Receive(ctx context.Context) (*Delivery[T], error) {
	d := new(Delivery[T])
	if err := q.ReceiveInto(ctx, d); err != nil {
		return nil, err
	}
	return d, nil
}

// ReceiveInto is like [Queue.Receive], but stores the message in *d and does
// not allocate. *d must be the zero Delivery, or one that Done or Return has
// ended.
func (q *Queue[T]) ReceiveInto(ctx context.Context, d *Delivery[T]) error {
	if q.direct && q.state.Load() == 0 && ctx.Err() == nil {
		if m, ok, err := q.ring.Take(false); ok && err == nil && q.state.Load() == 0 {
			d.begin(q, m, false)
			return nil
		}
	}
	if err := ctx.Err(); err != nil {
		return wrap("receive", q.name, err)
	}
	r := q.receiving()
	return eof("receive", q.name, r.finish(d, q.messages.Wait(ctx, r.look)))
}

// TryReceive is like [Queue.Receive], but does not wait. It returns nil, and no
// error, if no message is available.
func (q *Queue[T]) TryReceive() (*Delivery[T], error) {
	r, d := q.receiving(), new(Delivery[T])
	err := r.finish(d, q.member.Use(func() error {
		if !r.take(false) {
			r.deepen(time.Now())
		}
		return nil
	}))
	if err != nil || d.q == nil {
		return nil, eof("receive", q.name, err)
	}
	return d, nil
}

// All returns an iterator that receives messages one after the other. Each
// message is done when the next iteration begins. If the loop body leaves the
// loop, or panics, its message is returned to the queue, as by
// [Delivery.Return].
//
// For a message that does not decode, All yields codec.ErrMalformed. That
// message is also done when the next iteration begins. The loop ends when the
// queue was shut and all messages are done. If ctx is done or the handle is
// closed, All yields that error as its last pair.
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

// hand is one iteration of the loop of All.
func (d *Delivery[T]) hand(yield func(T, error) bool) bool {
	defer d.Return() // unless it is done
	if !yield(d.Value()) {
		return false
	}
	d.Done() // the next Receive reports its error
	return true
}

// receiving is the state of a receive that waits. It is pooled because the
// functions that it passes to Wait escape to the heap.
type receiving[T any] struct {
	q     *Queue[T]
	m     ring.Message
	ok    bool // a message was taken: m
	held  hold // of m, if Pinning
	ended bool // there will be no more messages
	err   error

	begun, deepened time.Time
	watched         layout.Ident // the handle whose process is watched
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

// finish ends r after a wait that ended with err. It stores the message in *d
// if there is one, and returns the error of the receive.
func (r *receiving[T]) finish(d *Delivery[T], err error) error {
	q := r.q
	if err == nil {
		err = r.err
	}
	if err = q.member.Verdict(err); err != nil {
		err = errors.Join(err, r.giveBack())
	} else if r.ended {
		err = io.EOF
	} else if r.ok {
		d.begin(q, r.m, r.held)
	}
	if r.stop != nil {
		r.stop()
	}
	*r = receiving[T]{look: r.look}
	q.receivings.Put(r)
	return err
}

// giveBack returns a message that was taken while the handle was closed. Close
// does that, too, but if member.Pinning possibly much later.
func (r *receiving[T]) giveBack() error {
	if !r.ok || !member.Pinning {
		return nil
	}
	q := r.q
	q.member.Use(func() error {
		if q.ring.Return(&r.m) {
			q.messages.Signal()
		}
		return nil
	})
	return q.holds.drop(&r.held)
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

// take takes a message. It reports whether the wait is over.
func (r *receiving[T]) take(deep bool) bool {
	if r.q.state.Load() != 0 {
		return true
	}
	r.m, r.ok, r.err = r.q.ring.Take(deep)
	if r.ok && member.Pinning {
		r.err = r.q.holds.add(&r.held)
	}
	return r.ok || r.err != nil
}

// deepen is doLook if there are messages but none is free. It looks for
// messages of dead receivers. After a while it also watches the process of the
// receiver that owns the oldest message, so that the end of that process wakes
// it.
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

// Close closes the handle. It waits for Sends that are under way. Calls that
// wait, and later calls, return fs.ErrClosed. Messages that the handle received
// and that are not done go to other receivers. Slices and pointers into the
// shared memory read as zeros afterwards. On Windows, where mapped memory
// cannot be replaced, the handle keeps its messages and its Loan until the last
// of them has ended. Closing the last handle of a queue that does not persist
// deletes the queue and its messages.
//
// The error says what could not be cleaned up. The handle is closed even so. A
// second Close returns nil, possibly before the first has finished.
//
// If a codec of this handle calls Close, Close returns ErrReentrant, because it
// would wait for itself, and the handle stays open.
func (q *Queue[T]) Close() error {
	if q.turn.Within() && !q.member.Closed() {
		return wrap("close", q.name, errWithin)
	}
	if !q.member.BeginClose() {
		return nil
	}
	q.messages.Close()
	q.room.Close()
	step.At(step.WaitsEnded)
	q.turn.Close()
	step.At(step.StoresEnded)
	err := wrap("close", q.name, q.holds.close())
	runtime.KeepAlive(q)
	return err
}

var errWithin = fmt.Errorf("%w: a codec of the handle made the call", sharedseg.ErrReentrant)

func wrap(op, name string, err error) error {
	if err == nil {
		return nil
	}
	return &sharedseg.Error{Op: op, Name: name, Err: err}
}

// eof is wrap, except for io.EOF, which callers compare with ==.
func eof(op, name string, err error) error {
	if err == io.EOF {
		return err
	}
	return wrap(op, name, err)
}

//go:build sharedseg_steps && linux

package crashtest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/sharedseg/sharedseg"
	"github.com/sharedseg/sharedseg/codec"
	"github.com/sharedseg/sharedseg/internal/step"
	"github.com/sharedseg/sharedseg/queue"
)

// A parcel is a value whose N is a number given by its sender, whose ID is
// Life.
type parcel = value

// A clerk uses a queue of parcels.
type clerk struct {
	queueName, queueDir string
	encoded             bool
	q                   *queue.Queue[parcel]

	id   uint64 // as a sender
	last uint64 // its last parcel that was sent or done

	// Used by the driver only.
	posted  atomic.Uint64   // the last parcel that it sent
	base    uint64          // the same, before the round
	got     map[uint64]bool // its own parcels that it received in the round
	other   uint64          // the other sender whose parcels it received
	arrived uint64          // the last one of these
}

const depth = 8

func newClerk(name, dir string, encoded bool) *clerk {
	return &clerk{queueName: name, queueDir: dir, encoded: encoded, id: rand.Uint64() | 1}
}

func (c *clerk) openQueue() (err error) {
	codec := codec.Fixed[value]()
	if c.encoded {
		c.q, err = queue.Open[value](c.queueName, halves{}, c.queueOptions())
	} else {
		c.q, err = queue.Open(c.queueName, codec, c.queueOptions())
	}
	return err
}

func (c *clerk) queueOptions() *queue.Options { return &queue.Options{Dir: c.queueDir, Depth: depth} }

// The functions that victims run.

func (v *player) posts() error {
	ctx, cancel := patience()
	defer cancel()
	if err := v.q.Send(ctx, newValue(v.id, v.clerk.last+1)); err != nil {
		return err
	}
	v.clerk.last++
	return nil
}

func (v *player) lendsRoom() error {
	ctx, cancel := patience()
	defer cancel()
	l, err := v.q.Loan(ctx)
	if err != nil {
		return err
	}
	*l.Value() = newValue(v.id, v.clerk.last+1)
	if err := l.Publish(len(l.Bytes())); err != nil {
		return err
	}
	v.clerk.last++
	return nil
}

// collect receives one parcel.
func (c *clerk) collect() (*queue.Delivery[parcel], parcel, error) {
	ctx, cancel := patience()
	defer cancel()
	return c.receive(ctx)
}

// another receives a second parcel while the first is not done. It returns nil
// if there is none: others may have completed all parcels that there is room
// for after the first.
func (c *clerk) another() (*queue.Delivery[parcel], parcel, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
	defer cancel()
	d, p, err := c.receive(ctx)
	if errors.Is(err, context.DeadlineExceeded) {
		return nil, p, nil
	}
	return d, p, err
}

func (c *clerk) receive(ctx context.Context) (*queue.Delivery[parcel], parcel, error) {
	d, err := c.q.Receive(ctx)
	if err != nil {
		return nil, parcel{}, err
	}
	p, err := d.Value()
	if err == nil {
		err = p.check()
	}
	return d, p, err
}

func (v *player) collects() error {
	d, p, err := v.collect()
	if err != nil {
		return err
	}
	if err := d.Done(); err != nil {
		return err
	}
	v.clerk.last = p.N
	return nil
}

// collectsTwo completes the second of two parcels, if there is one, before the
// first.
func (v *player) collectsTwo() error {
	first, p, err := v.collect()
	if err != nil {
		return err
	}
	second, later, err := v.another()
	if err != nil {
		return err
	}
	if second != nil {
		err, p = second.Done(), later
	}
	err = errors.Join(err, first.Done())
	v.clerk.last = p.N
	return err
}

func (v *player) givesBack() error {
	first, _, err := v.collect()
	if err != nil {
		return err
	}
	second, _, err := v.another()
	if err != nil {
		return err
	}
	err = first.Return()
	if second != nil {
		err = errors.Join(err, second.Return())
	}
	return err
}

// closesWith closes a handle that has received a parcel.
func (v *player) closesWith() error {
	other := newClerk(v.queueName, v.queueDir, v.encoded)
	if err := other.openQueue(); err != nil {
		return err
	}
	_, _, err := other.collect()
	return errors.Join(err, other.q.Close())
}

// liveQueue goes through the whole life of a queue, unless others have it open.
func liveQueue(v *player) error {
	if err := v.openQueue(); err != nil {
		return err
	}
	ctx, cancel := patience()
	defer cancel()
	err := v.q.Send(ctx, newValue(v.id, 1))
	if errors.Is(err, sharedseg.ErrShut) {
		err = nil
	}
	err = errors.Join(err, v.q.Shut())
	for p, e := range v.q.All(ctx) {
		if e == nil {
			e = p.check()
		}
		err = errors.Join(err, e)
	}
	if _, e := v.q.Receive(ctx); e != io.EOF {
		err = errors.Join(err, fmt.Errorf("Receive after the end: %w", e))
	}
	return errors.Join(err, v.q.Close())
}

// The function that peers run.
func (p *player) mail() error {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Millisecond)
	defer cancel()
	switch rand.IntN(3) {
	case 0:
		if err := p.q.Send(ctx, newValue(p.id, 0)); !errors.Is(err, context.DeadlineExceeded) {
			return err
		}
		return nil
	case 1:
		d, err := p.q.TryReceive()
		if d == nil || err != nil {
			return err
		}
		v, err := d.Value()
		return errors.Join(err, v.check(), d.Return())
	}
	d, err := p.q.Receive(ctx)
	if errors.Is(err, context.DeadlineExceeded) {
		return nil
	} else if err != nil {
		return err
	}
	v, err := d.Value()
	return errors.Join(err, v.check(), d.Done())
}

// The functions that the driver runs beside a victim.

// takeIn repeatedly receives a parcel, with a pause after each.
func takeIn(pause time.Duration) func(ctx context.Context, d *driver) error {
	return func(ctx context.Context, d *driver) error {
		return until(ctx, pause, func() error {
			return d.takeOne(ctx)
		})
	}
}

func (d *driver) takeOne(ctx context.Context) error {
	del, err := d.q.Receive(ctx)
	if err != nil {
		return err
	}
	return d.note(del)
}

// note completes a parcel. It checks that the driver's own parcels come once
// each, and that those of a victim come in order if no other process receives.
func (d *driver) note(del *queue.Delivery[parcel]) error {
	p, err := del.Value()
	if err == nil {
		err = p.check()
	}
	if err == nil {
		err = del.Done()
	}
	if err != nil || !d.alone {
		return err
	}
	if p.Life == d.id {
		if d.got[p.N] {
			return fmt.Errorf("parcel %d came again", p.N)
		}
		d.got[p.N] = true
		return nil
	}
	if d.other == 0 {
		d.other = p.Life
	}
	if p.Life != d.other || p.N != d.arrived+1 {
		return fmt.Errorf("parcel %d of %x after %d of %x", p.N, p.Life, d.arrived, d.other)
	}
	d.arrived = p.N
	return nil
}

// sendOut repeatedly sends a parcel, with a pause after each.
func sendOut(pause time.Duration) func(ctx context.Context, d *driver) error {
	return func(ctx context.Context, d *driver) error {
		return until(ctx, pause, func() error {
			n := d.posted.Load() + 1
			if err := d.q.Send(ctx, newValue(d.id, n)); err != nil {
				return err
			}
			d.posted.Store(n)
			return nil
		})
	}
}

// pauseQueue runs while the victim is stopped.
func (d *driver) pauseQueue(at step.Step) {
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Millisecond)
	defer cancel()
	if d.alone && d.operation.holds(at) {
		if err := d.q.Send(ctx, newValue(d.id, d.posted.Load()+1)); !errors.Is(err, context.DeadlineExceeded) {
			d.Fatalf("the victim has the lock; another sender's error: %v", err)
		}
		return
	}
	// The victim keeps what it holds, and reports if it has lost it. Everything
	// else continues.
	for range 2 * depth {
		if sent, err := d.q.TrySend(newValue(d.id, d.posted.Load()+1)); err != nil {
			d.Fatal(err)
		} else if sent {
			d.posted.Add(1)
		}
		del, err := d.q.TryReceive()
		if err != nil {
			d.Fatal(err)
		}
		if del != nil {
			if d.operation.sends {
				d.must(d.note(del))
			} else {
				d.must(del.Return())
			}
		}
	}
}

// beforeQueue runs at the beginning of a round.
func (d *driver) beforeQueue() {
	d.base, d.got, d.other, d.arrived = d.posted.Load(), map[uint64]bool{}, 0, 0
}

// afterQueue runs when the victim is dead or has finished. acked is the last
// parcel that it reported as sent or done. It may have sent or completed
// another one without a report. Nothing else is lost, and no parcel that was
// done comes again.
func (d *driver) afterQueue(acked uint64) {
	ctx, cancel := patience()
	defer cancel()
	n := d.posted.Load() + 1
	for {
		sent, err := d.q.TrySend(newValue(d.id, n))
		d.must(err)
		if sent {
			break
		}
		d.must(d.takeOne(ctx))
	}
	d.posted.Store(n)
	if !d.alone {
		return
	}
	for d.q.Len() > 0 {
		d.must(d.takeOne(ctx))
	}
	if d.operation.sends && d.arrived != acked && d.arrived != acked+1 {
		d.Fatalf("%d parcels were sent, %d arrived", acked, d.arrived)
	}
	for k := d.base + 1; k <= n; k++ {
		done := d.operation.completes && k <= acked
		perhaps := d.operation.completes && k <= max(acked, d.base)+2
		if d.got[k] == done && !(perhaps && !d.got[k]) {
			d.Fatalf("parcel %d: received %v, acknowledged %v, of %d to %d", k, d.got[k], done, d.base+1, n)
		}
	}
}

var (
	posting  = from(step.MessagePosted, step.MessageSent)
	rousing  = from(step.EventSignalling, step.EventSignalled)
	awaiting = from(step.EventArmed, step.EventAwake)
	taking   = from(step.MessageTaking, step.MessageTaken)
	moving   = from(step.HeadMoving, step.HeadMoved)
	freeing  = from(step.MessageFreed, step.CursorLowered)
)

var queueOperations = []*operation{
	{
		name: "send", scene: queued, flavour: fixed, sends: true, do: (*player).posts, beside: takeIn(0),
		steps: steps(locked, []step.Step{step.WriteFilled}, posting, unlocking, rousing),
	}, {
		name: "send encoded", scene: queued, flavour: encoded, sends: true, do: (*player).posts, beside: takeIn(0),
		steps: steps(locked, from(step.WriteHalf, step.WriteFilled), posting, unlocking, rousing),
	}, {
		name: "send while it is full", scene: queued, flavour: fixed, sends: true, do: (*player).posts, beside: takeIn(2 * time.Millisecond),
		steps: awaiting,
	}, {
		name: "lend", scene: queued, flavour: fixed, sends: true, do: (*player).lendsRoom, beside: takeIn(0),
		steps: steps(locked, posting, unlocking, rousing),
	}, {
		name: "receive", scene: queued, flavour: fixed, completes: true, do: (*player).collects, beside: sendOut(0),
		steps: steps(taking, []step.Step{step.MessageDone}, moving, rousing),
	}, {
		name: "receive two", scene: queued, flavour: encoded, completes: true, do: (*player).collectsTwo, beside: sendOut(0),
		steps: steps(taking, []step.Step{step.CursorMoved, step.MessageDone}, moving),
	}, {
		name: "wait for a message", scene: queued, flavour: fixed, completes: true, do: (*player).collects, beside: sendOut(2 * time.Millisecond),
		steps: steps(awaiting, taking),
	}, {
		name: "give back", scene: queued, flavour: fixed, do: (*player).givesBack, beside: sendOut(0),
		steps: steps(taking, freeing),
	}, {
		name: "close with a message", scene: queued, flavour: fixed, do: (*player).closesWith, beside: sendOut(0),
		steps: steps(from(step.WaitsEnded, step.LockDisowned), freeing, []step.Step{step.MessagesGivenBack, step.RegistryRelocked, step.PlaceDropped}),
	}, {
		name: "create a queue and close it last", scene: brief, flavour: fixed, do: liveQueue,
		steps: steps(from(step.FileCreated, step.SlotHeld), from(step.GenerationRaised, step.RotorMoved), leaving,
			[]step.Step{step.QueueShut}, from(step.WaitsEnded, step.LockDisowned), []step.Step{step.MessagesGivenBack, step.RegistryRelocked},
			from(step.PlaceDropped, step.Unlinked)),
	},
}

package natsbridge

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/sharedseg/sharedseg"
	"github.com/sharedseg/sharedseg/codec"
	"github.com/sharedseg/sharedseg/queue"
)

// ForwardOptions are the options of Forward. A nil *ForwardOptions and the zero
// value select the defaults.
type ForwardOptions struct {
	// Queue says where the queue is. Only Dir, Mode, SecurityDescriptor and
	// Global are used.
	Queue *queue.Options
	// InFlight is the maximum number of messages that are under way at a time.
	// If this process is killed, up to InFlight messages are sent twice. 0
	// means 1, which always keeps the order. A larger number increases the
	// throughput of a connection with a long round trip, but messages can
	// change their order when the server or the connection fails.
	InFlight int
	// Logger receives a message when the bridge starts, fails and succeeds
	// again. If it is nil, slog.Default() is used.
	Logger *slog.Logger
}

// Forward receives the messages of the queue with that name and publishes them
// to a subject of a stream, until ctx is done. If the queue does not exist,
// Forward waits until it does. The stream should have WorkQueuePolicy.
//
// Forward calls Done for a message after the stream has acknowledged it. If
// this process is killed before that, the next receiver of the queue gets the
// message. So no message is lost, but one can be in the stream twice. When an
// answer is lost, Forward publishes the message again with the same
// Nats-Msg-Id, and the stream drops it within its duplicate window. The
// stream's replicas, and whether its server syncs to the disk, determine how
// safe an acknowledged message is.
//
// Any number of Forwards and other receivers can share a queue: each message
// goes to one of them. The order in the stream is the order in which they
// received the messages.
//
// If a message is larger than the server or the stream permits, Forward does
// not drop it. It returns ErrTooLarge, and the message stays first in the
// queue, for another receiver.
//
// Forward blocks. It returns nil when the queue was shut and all its messages
// are in the stream, and the error of ctx when ctx is done. When it returns,
// unacknowledged messages go back to the queue. It also returns when trying
// again would be useless:
//
//   - ErrTooLarge: a message is too large.
//   - ErrIncompatible: the name is not a queue.
//   - fs.ErrInvalid: the name, the subject or an option is not valid.
//   - fs.ErrPermission, errors.ErrUnsupported.
//   - [nats.ErrConnectionClosed]: the connection was closed permanently.
//
// It logs all other errors, including a missing stream, and tries again.
func Forward(ctx context.Context, name string, js jetstream.JetStream, subject string, o *ForwardOptions) error {
	if o == nil {
		o = new(ForwardOptions)
	}
	f := forwarder{
		bridge: newBridge("forward", name, js.Conn(), queuePlace(o.Queue), sharedseg.KindQueue, o.Logger, "subject", subject),
		opts:   o, js: js, subject: subject,
	}
	if err := checkSubject(subject); err != nil {
		return f.wrap(err)
	}
	if o.InFlight < 0 {
		return f.wrap(invalid("InFlight is %d", o.InFlight))
	}
	return f.run(ctx, f.session)
}

// checkSubject returns nil if messages can be published to subject s.
func checkSubject(s string) error {
	for token := range strings.SplitSeq(s, ".") {
		if token == "" || strings.ContainsAny(token, " \t\r\n*>") {
			return invalid("the subject %q: a subject consists of tokens separated by dots, without spaces and wildcards", s)
		}
	}
	return nil
}

func queuePlace(o *queue.Options) *sharedseg.Place {
	if p := o.Place(); p != nil {
		return p
	}
	return new(sharedseg.Place)
}

type forwarder struct {
	bridge
	opts    *ForwardOptions
	js      jetstream.JetStream
	subject string

	queue *queue.Queue[[]byte]
	label label
	sent  []*parcel // under way, in order
}

// A parcel is a message under way.
type parcel struct {
	delivery *queue.Delivery[[]byte]
	id       string // the Nats-Msg-Id, by which the stream detects duplicates
	value    []byte
	ack      jetstream.PubAckFuture
	err      error // why it was not published
}

// session forwards until the name refers to another queue.
func (f *forwarder) session(ctx context.Context) (err error) {
	info, file, err := f.attach(ctx, true, func(info sharedseg.Info) (err error) {
		f.queue, err = queue.Attach(f.name, codec.Opaque(info.Codec), &queue.Options{
			Dir: f.place.Dir, Mode: f.place.Mode, SecurityDescriptor: f.place.SecurityDescriptor, Global: f.place.Global,
		})
		return err
	}, func() { f.queue.Close() })
	if err != nil {
		return err
	}
	f.label, f.sent = labelOf(&info), nil
	defer func() {
		f.giveBack()
		err = errors.Join(err, f.queue.Close())
	}()
	guarded, stop := f.guard(ctx, file, info.Path, false)
	defer stop()
	f.log.Info("forwarding", "codec", f.label.String(), "messages", f.queue.Len())
	err = f.forward(guarded)
	if ctx.Err() == nil && context.Cause(guarded) == errRecreated {
		if err := f.forwardRest(ctx); err != nil {
			return err
		}
	}
	if errors.Is(err, io.EOF) && ctx.Err() == nil {
		f.log.Info("the queue is shut, and all its messages are in the stream")
		return nil
	}
	return f.resume(guarded, err)
}

// forward publishes messages until ctx is done.
func (f *forwarder) forward(ctx context.Context) error {
	for {
		if err := f.fill(ctx, len(f.sent) == 0); err != nil {
			return err
		}
		if err := f.settle(ctx); err != nil {
			return err
		}
	}
}

// forwardRest publishes the messages that are left in a queue whose name now
// refers to another one.
func (f *forwarder) forwardRest(ctx context.Context) error {
	for _, p := range f.sent {
		p.waitAgain()
	}
	for {
		if err := f.fill(ctx, false); err != nil && err != io.EOF {
			return err
		}
		if len(f.sent) == 0 {
			return nil
		}
		if err := f.settle(ctx); err != nil {
			return err
		}
	}
}

// fill receives and publishes messages until enough are under way, or the queue
// is empty. If wait is set, it waits for the first one.
func (f *forwarder) fill(ctx context.Context, wait bool) error {
	for len(f.sent) < max(f.opts.InFlight, 1) {
		var d *queue.Delivery[[]byte]
		var err error
		if wait {
			d, err = f.queue.Receive(ctx)
			wait = false
		} else if d, err = f.queue.TryReceive(); d == nil && err == nil {
			return nil
		}
		if err != nil {
			return err
		}
		p := &parcel{delivery: d, id: rand.Text()}
		if p.value, err = d.Value(); err != nil {
			d.Return()
			return err
		}
		f.sent = append(f.sent, p)
		f.send(p)
	}
	return nil
}

func (f *forwarder) send(p *parcel) {
	m := &nats.Msg{Subject: f.subject, Header: f.label.header(), Data: p.value}
	p.ack, p.err = f.js.PublishMsgAsync(m, jetstream.WithMsgID(p.id), jetstream.WithRetryAttempts(0))
	if p.err != nil {
		p.note(f.conn, m, p.err)
	}
}

// settle waits until the stream has acknowledged the oldest message under way,
// and calls Done for it. After a failure it waits for the results of all
// messages, and publishes the failed ones again in order until they succeed.
func (f *forwarder) settle(ctx context.Context) error {
	for wait := true; len(f.sent) > 0; wait = false {
		if p := f.sent[0]; !p.known(ctx, f.conn, wait) {
			return nil // the caller waits for this one next
		} else if p.err != nil {
			return f.repeat(ctx)
		}
		f.well()
		if err := f.sent[0].delivery.Done(); err != nil {
			return err
		}
		f.sent = f.sent[1:]
	}
	return nil
}

// repeat continues settle after a failure.
func (f *forwarder) repeat(ctx context.Context) error {
	for {
		var failed []*parcel
		for _, p := range f.sent {
			if p.known(ctx, f.conn, true); p.err != nil {
				failed = append(failed, p)
			} else if err := p.delivery.Done(); err != nil {
				return err
			}
		}
		if f.sent = failed; len(failed) == 0 {
			f.well()
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		for _, p := range failed {
			switch {
			case errors.Is(p.err, sharedseg.ErrTooLarge):
				return fmt.Errorf("%w: %w", errTooLarge, p.err)
			case errors.Is(p.err, nats.ErrConnectionClosed):
				return p.err
			}
		}
		err := failed[0].err
		if errors.Is(err, jetstream.ErrNoStreamResponse) || errors.Is(err, nats.ErrNoResponders) {
			err = fmt.Errorf("no stream has the subject %q at the moment: %w", f.subject, err)
		}
		f.fail(ctx, err)
		for _, p := range failed {
			f.send(p)
		}
	}
}

// known reports whether the result of a message is known, and sets p.err to it.
// If wait is set, it waits for the result. It counts as a failure if the server
// does not answer in time.
func (p *parcel) known(ctx context.Context, conn *nats.Conn, wait bool) bool {
	if p.err != nil {
		return true
	}
	limit := requestLimit
	if !wait {
		limit = 0
	}
	timer := time.NewTimer(limit)
	defer timer.Stop()
	ack := p.ack
	select {
	case <-ack.Ok():
	case err := <-ack.Err():
		p.note(conn, ack.Msg(), err)
	case <-ctx.Done():
		p.err = ctx.Err()
	case <-timer.C:
		select { // the answer may be ready, too
		case <-ack.Ok():
			return true
		default:
		}
		if !wait {
			return false
		}
		p.err = errors.New("the server does not answer")
	}
	return true
}

// waitAgain clears the error of a wait that was ended by its context.
func (p *parcel) waitAgain() {
	if errors.Is(p.err, context.Canceled) || errors.Is(p.err, context.DeadlineExceeded) {
		p.err = nil
	}
}

// note records why a message is not in the stream.
func (p *parcel) note(conn *nats.Conn, m *nats.Msg, err error) {
	p.err = err
	if large := refused(conn, m, err); large != nil {
		p.err = large
	}
}

// giveBack returns the messages under way to the queue. It first waits a little
// longer for answers, so that fewer messages are published twice.
func (f *forwarder) giveBack() {
	ctx, cancel := context.WithTimeout(context.Background(), longestPause)
	defer cancel()
	for _, p := range f.sent {
		p.waitAgain()
		if p.ack == nil {
			continue
		}
		if p.known(ctx, f.conn, true); p.err == nil {
			p.delivery.Done()
		}
	}
	for i := len(f.sent) - 1; i >= 0; i-- {
		f.sent[i].delivery.Return() // does nothing after Done
	}
}

// DrainOptions are the options of Drain. A nil *DrainOptions and the zero value
// select the defaults.
type DrainOptions struct {
	// Queue says where the queue is, and how Drain creates it if it does not
	// exist. If its Capacity is 0, the new queue gets the capacity of the queue
	// that was forwarded.
	Queue *queue.Options
	// Codec is the ID of the codec for messages without headers, such as those
	// that other NATS clients publish. If it is "", Drain refuses such
	// messages.
	Codec string
	// Logger receives a message when the bridge starts, fails and succeeds
	// again. If it is nil, slog.Default() is used.
	Logger *slog.Logger
}

// Drain sends the messages of a stream to the queue with that name, until ctx
// is done. If the queue does not exist, the first message creates it, with the
// codec that the message's headers name. The consumer must be a pull consumer
// with AckExplicitPolicy. A durable consumer continues where it stopped.
//
// Drain acknowledges a message after it is in the queue. If this process is
// killed in between, the stream delivers the message again. So no message is
// lost, but one can be in the queue twice. While the queue is full, Drain waits
// and tells the stream that it is working, so that the stream does not deliver
// the message again. Without Persist, the queue ends with its last handle,
// which can be Drain's. Messages that were acknowledged but not received are
// then lost when Drain is killed. So the queue should have Persist, or be open
// in another process.
//
// If the consumer's MaxAckPending is 1, messages keep the order of the stream,
// even if a Drain is killed: the stream delivers no later message until it has
// delivered that one again, after the consumer's AckWait. Otherwise the
// messages that were under way come after later ones. Any number of Drains can
// share a consumer.
//
// If a message is larger than the queue's capacity, or has another codec, Drain
// does not acknowledge it, and it stays in the stream. Drain returns
// ErrTooLarge or ErrIncompatible.
//
// Drain blocks. It returns nil when the queue was shut, and the error of ctx
// when ctx is done. It also returns when trying again would be useless:
//
//   - ErrTooLarge: a message is too large.
//   - ErrIncompatible: a message has another codec, or the name is not a queue.
//   - fs.ErrInvalid: the name is not valid, or the consumer does not have AckExplicitPolicy.
//   - fs.ErrPermission, errors.ErrUnsupported.
//   - [nats.ErrConnectionClosed]: the connection was closed permanently.
//
// It logs all other errors and tries again.
func Drain(ctx context.Context, js jetstream.JetStream, stream, consumer, name string, o *DrainOptions) error {
	if o == nil {
		o = new(DrainOptions)
	}
	d := drainer{
		bridge: newBridge("drain", name, js.Conn(), queuePlace(o.Queue), sharedseg.KindQueue, o.Logger, "stream", stream, "consumer", consumer),
		opts:   o, js: js, stream: stream, consumer: consumer,
	}
	return d.run(ctx, d.session)
}

type drainer struct {
	bridge
	opts             *DrainOptions
	js               jetstream.JetStream
	stream, consumer string

	queue   *queue.Queue[[]byte]
	label   label
	guarded context.Context
	stop    func() // closes the queue
	ackWait time.Duration
	sent    uint64 // the stream's number of the last message that was sent to the queue
}

// session drains until the name refers to another queue, or the iterator ends.
func (d *drainer) session(ctx context.Context) error {
	limited, cancel := context.WithTimeout(ctx, requestLimit)
	c, err := d.js.Consumer(limited, d.stream, d.consumer)
	cancel()
	if err != nil {
		return fmt.Errorf("the consumer %q of the stream %q: %w", d.consumer, d.stream, err)
	}
	if config := c.CachedInfo().Config; config.AckPolicy != jetstream.AckExplicitPolicy {
		return invalid("the consumer %q of the stream %q has AckPolicy %v, and must have explicit", d.consumer, d.stream, config.AckPolicy)
	} else if d.ackWait = config.AckWait; d.ackWait <= 0 {
		d.ackWait = 30 * time.Second // the server's default
	}
	messages, err := c.Messages(jetstream.PullMaxMessages(1), jetstream.PullHeartbeat(time.Second), jetstream.PullExpiry(10*time.Second))
	if err != nil {
		return err
	}
	defer messages.Stop()
	defer func() {
		if d.stop != nil {
			d.stop()
		}
	}()
	d.log.Info("draining")
	d.sent = 0
	for {
		msg, err := messages.Next(jetstream.NextContext(ctx))
		if err != nil {
			return err
		}
		if err := d.pass(ctx, msg); err != nil {
			msg.Nak()
			if errors.Is(err, sharedseg.ErrShut) {
				d.log.Info("the queue is shut; the other messages stay in the stream")
				return nil
			}
			return err
		}
	}
}

// pass sends a message to the queue and acknowledges it.
func (d *drainer) pass(ctx context.Context, msg jetstream.Msg) error {
	meta, err := msg.Metadata()
	if err != nil {
		return err
	}
	if meta.NumDelivered > 1 && meta.Sequence.Stream == d.sent {
		return msg.Ack() // the first acknowledgement was lost
	}
	l, err := readLabel(msg.Headers(), d.opts.Codec)
	if err != nil {
		return err
	}
	for {
		if err := d.open(ctx, &l, len(msg.Data())); err != nil {
			return err
		}
		if err := l.check(fmt.Sprintf("the stream %q", d.stream), &d.label); err != nil {
			return err
		}
		limited, cancel := context.WithTimeout(d.guarded, d.ackWait/3)
		err := d.queue.Send(limited, msg.Data())
		cancel()
		switch {
		case err == nil:
			d.sent = meta.Sequence.Stream
			d.well()
			return msg.Ack()
		case ctx.Err() != nil:
			return ctx.Err()
		case d.guarded.Err() != nil:
			if err := d.resume(d.guarded, err); err != errAgain {
				return err
			}
			d.stop()
		case errors.Is(err, context.DeadlineExceeded):
			msg.InProgress() // the queue is full
		case errors.Is(err, sharedseg.ErrTooLarge):
			return fmt.Errorf("%w: message %d of the stream has %d bytes, and the queue's capacity is %d: %w",
				errTooLarge, meta.Sequence.Stream, len(msg.Data()), d.label.capacity, err)
		default:
			d.stop()
			return err
		}
	}
}

// open opens the queue, unless it is open. If it does not exist, open creates
// it for messages with label l, one of which has size bytes.
func (d *drainer) open(ctx context.Context, l *label, size int) error {
	if d.stop != nil && d.guarded.Err() == nil {
		return nil
	} else if d.stop != nil {
		d.stop()
	}
	var o queue.Options
	if d.opts.Queue != nil {
		o = *d.opts.Queue
	}
	create := o
	if create.Capacity == 0 {
		create.Capacity = max(l.capacity, size)
	}
	made, err := queue.Create(d.name, codec.Opaque(l.codec), &create)
	if err == nil {
		defer made.Close() // after it was opened again
	} else if !errors.Is(err, fs.ErrExist) {
		return err
	}
	var info sharedseg.Info
	var file os.FileInfo
	info, file, err = d.attach(ctx, false, func(info sharedseg.Info) (err error) {
		d.queue, err = queue.Attach(d.name, codec.Opaque(info.Codec), &o)
		return err
	}, func() { d.queue.Close() })
	if err != nil {
		return err
	}
	d.label = labelOf(&info)
	guarded, stop := d.guard(ctx, file, info.Path, false)
	d.guarded = guarded
	d.stop = func() {
		stop()
		d.queue.Close()
		d.stop = nil
	}
	d.log.Info("the queue is open", "codec", d.label.String(), "messages", d.queue.Len())
	return nil
}

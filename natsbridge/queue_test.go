package natsbridge_test

import (
	"bufio"
	"context"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/sharedseg/sharedseg"
	"github.com/sharedseg/sharedseg/codec"
	"github.com/sharedseg/sharedseg/internal/proctest"
	"github.com/sharedseg/sharedseg/natsbridge"
	"github.com/sharedseg/sharedseg/queue"
	"github.com/sharedseg/sharedseg/segment"
)

var (
	errInvalid          = fs.ErrInvalid
	errConnectionClosed = nats.ErrConnectionClosed
)

func openNumbers(t testing.TB, h *host, name string) *queue.Queue[uint64] {
	t.Helper()
	q, err := queue.Open(name, codec.Fixed[uint64](), h.queue())
	must(t, err)
	t.Cleanup(func() { q.Close() })
	return q
}

// work creates a work queue stream and a durable consumer of it, both with the
// same name, as the README shows.
func work(t testing.TB, js jetstream.JetStream, name, subject string) {
	t.Helper()
	_, err := js.CreateStream(patience(t), jetstream.StreamConfig{
		Name: name, Subjects: []string{subject}, Retention: jetstream.WorkQueuePolicy,
	})
	must(t, err)
	_, err = js.CreateConsumer(patience(t), name, jetstream.ConsumerConfig{
		Durable: name, AckPolicy: jetstream.AckExplicitPolicy, AckWait: time.Second, MaxAckPending: 1,
	})
	must(t, err)
}

// ahead is how many messages a sender can be ahead of the receiver. It keeps
// all parts busy until the end.
const ahead = 200

// received opens the segment with the number of messages that a test has
// received. The sender watches it.
func received(h *host) (*segment.Segment[uint64], error) {
	return segment.Open("received", codec.Fixed[uint64](), h.segment())
}

// senderRole, with the arguments DIR FROM TO, sends the numbers and prints each
// one that it has sent.
func senderRole(args []string) error {
	h := &host{args[0]}
	from, _ := strconv.ParseUint(args[1], 10, 64)
	to, err := strconv.ParseUint(args[2], 10, 64)
	if err != nil {
		return err
	}
	q, err := queue.Open("numbers", codec.Fixed[uint64](), h.queue())
	if err != nil {
		return err
	}
	s, err := received(h)
	if err != nil {
		return err
	}
	for n := from; n <= to; n++ {
		for count, err := range s.Watch(context.Background()) {
			if err != nil {
				return err
			}
			if n <= count+ahead {
				break
			}
		}
		if err := q.Send(context.Background(), n); err != nil {
			return err
		}
		os.Stdout.WriteString(fmt.Sprintln(n)) // in one system call, so never half of it
	}
	return q.Close()
}

// receiverRole, with the argument DIR, receives numbers and prints each one.
func receiverRole(args []string) error {
	h := &host{args[0]}
	q, err := queue.Open("numbers", codec.Fixed[uint64](), h.queue())
	if err != nil {
		return err
	}
	for n, err := range q.All(context.Background()) {
		if err != nil {
			return err
		}
		os.Stdout.WriteString(fmt.Sprintln(n))
	}
	return nil
}

// 10,000 messages go from one host to the other, while each part is killed
// three times: the sender, the bridges, the server and the receiver. No message
// is lost. If only one message is under way at a time, the messages also keep
// their order, except those that are delivered again.
func TestEachPartIsKilled(t *testing.T) {
	messages := uint64(10_000)
	if testing.Short() {
		messages = 2_000
	}
	for _, inFlight := range []string{"1", "32"} {
		t.Run("InFlight="+inFlight, func(t *testing.T) { eachPartIsKilled(t, messages, inFlight) })
	}
}

func eachPartIsKilled(t *testing.T, messages uint64, inFlight string) {
	srv := startServer(t)
	work(t, srv.connect(), "numbers", "numbers.sent")
	here, there := newHost(t), newHost(t)
	openNumbers(t, here, "numbers")
	openNumbers(t, there, "numbers")
	came, err := received(here)
	must(t, err)
	defer came.Close()
	must(t, came.Store(0))

	var mu sync.Mutex
	var sent uint64               // the last number that a sender printed
	first := make([]uint64, 0)    // the numbers received, each once, in order of their first arrival
	times := make(map[uint64]int) // how often each was received
	var followers sync.WaitGroup  // they read the output of processes
	follow := func(p *proctest.Proc, note func(uint64)) {
		followers.Go(func() {
			for lines := bufio.NewScanner(p.Output()); lines.Scan(); {
				if n, err := strconv.ParseUint(lines.Text(), 10, 64); err == nil {
					mu.Lock()
					note(n)
					mu.Unlock()
				}
			}
		})
	}
	count := func() int {
		mu.Lock()
		defer mu.Unlock()
		return len(first)
	}
	// The parts, each with the function that starts it.
	parts := map[string]*proctest.Proc{}
	start := map[string]func(){
		"sender": func() {
			mu.Lock()
			from := sent + 1
			mu.Unlock()
			parts["sender"] = proctest.Start(t, "sender", here.dir, fmt.Sprint(from), fmt.Sprint(messages))
			follow(parts["sender"], func(n uint64) { sent = n })
		},
		"forward": func() {
			parts["forward"] = proctest.Start(t, "forward", srv.url(), here.dir, "numbers", "numbers.sent", inFlight)
		},
		"drain": func() {
			parts["drain"] = proctest.Start(t, "drain", srv.url(), there.dir, "numbers", "numbers", "numbers")
		},
		"receiver": func() {
			parts["receiver"] = proctest.Start(t, "receiver", there.dir)
			follow(parts["receiver"], func(n uint64) {
				if times[n]++; times[n] == 1 {
					first = append(first, n)
					if err := came.Store(uint64(len(first))); err != nil {
						t.Error(err)
					}
				}
			})
		},
	}
	order := []string{"sender", "forward", "drain", "receiver"}
	for _, part := range order {
		start[part]()
	}
	kills := 0
	for round := range 3 {
		for i, part := range append(order, "server") {
			at := int(messages) * (5*round + i + 1) / 17
			eventually(t, fmt.Sprintf("%d messages came", at), func() bool { return count() >= at })
			mu.Lock()
			if sent >= messages {
				t.Errorf("all messages were sent before the %s was killed", part)
			}
			mu.Unlock()
			if kills++; part == "server" {
				srv.Kill()
				srv.start()
				continue
			}
			parts[part].Slay()
			if part == "sender" || part == "receiver" {
				time.Sleep(20 * time.Millisecond) // its output has been read then
			}
			parts[part].Kill()
			start[part]()
		}
	}
	eventually(t, "all messages came", func() bool { return count() >= int(messages) })
	for _, part := range order {
		parts[part].Slay()
	}
	followers.Wait()
	again := 0
	for n := uint64(1); n <= messages; n++ {
		if times[n] == 0 {
			t.Errorf("message %d was lost", n)
		}
		again += times[n] - 1
	}
	if inFlight == "1" {
		for i, n := range first {
			if n != uint64(i+1) {
				t.Errorf("message %d arrived in place of %d", n, i+1)
				break
			}
		}
	}
	t.Logf("%d messages, %d kills, %d messages delivered again", messages, kills, again)
}

// When a queue is shut, its Forward ends after all messages are in the stream.
// The other queue gets all messages in order, and has the parameters of the
// first one.
func TestShut(t *testing.T) {
	js := startServer(t).connect()
	work(t, js, "numbers", "numbers")
	here, there := newHost(t), newHost(t)
	from := openNumbers(t, here, "numbers")
	const n = 500
	go func() {
		for i := range uint64(n) {
			if from.Send(patience(t), i) != nil {
				return
			}
		}
		from.Shut()
	}()
	there.drain(t, js, "numbers", "numbers", "copy")
	f := run(t, func(ctx context.Context) error {
		return natsbridge.Forward(ctx, "numbers", js, "numbers", &natsbridge.ForwardOptions{Queue: here.queue(), InFlight: 16, Logger: logger(t)})
	})
	f.fails(nil)
	eventually(t, "the queue exists", func() bool {
		_, err := sharedseg.Stat("copy", there.queue().Place())
		return err == nil
	})
	to := openNumbers(t, there, "copy")
	for i := range uint64(n) {
		d, err := to.Receive(patience(t))
		must(t, err)
		if v, err := d.Value(); v != i || err != nil {
			t.Fatalf("%d, %v, want %d", v, err, i)
		}
		must(t, d.Done())
	}
}

// While the queue is full, the stream does not deliver the message again to
// another Drain.
func TestFull(t *testing.T) {
	js := startServer(t).connect()
	work(t, js, "numbers", "numbers")
	here, there := newHost(t), newHost(t)
	from := openNumbers(t, here, "numbers")
	o := there.queue()
	o.Depth = 2
	to, err := queue.Open("numbers", codec.Fixed[uint64](), o)
	must(t, err)
	defer to.Close()
	here.forward(t, js, "numbers", "numbers")
	for range 2 {
		there.drain(t, js, "numbers", "numbers", "numbers")
	}
	for i := range uint64(5) {
		must(t, from.Send(patience(t), i))
	}
	eventually(t, "it is full", func() bool { return to.Len() == 2 })
	time.Sleep(2500 * time.Millisecond) // more than AckWait
	for i := range uint64(5) {
		d, err := to.Receive(patience(t))
		must(t, err)
		if v, err := d.Value(); v != i || err != nil {
			t.Fatalf("%d, %v, want %d", v, err, i)
		}
		must(t, d.Done())
	}
	c, err := js.Consumer(patience(t), "numbers", "numbers")
	must(t, err)
	eventually(t, "all messages are acknowledged", func() bool {
		info, err := c.Info(patience(t))
		must(t, err)
		return info.NumAckPending == 0 && info.NumPending == 0
	})
	if d, err := to.TryReceive(); d != nil || err != nil {
		t.Errorf("the queue has one more message, error %v", err)
	}
}

// A message that is too large for the server or for the queue stays in its
// queue or stream.
func TestMessageTooLarge(t *testing.T) {
	js := startServerWith(t, 8<<10).connect()
	work(t, js, "texts", "texts")
	here, there := newHost(t), newHost(t)
	o := here.queue()
	o.Capacity = 1 << 20
	from, err := queue.Open("texts", codec.String(), o)
	must(t, err)
	defer from.Close()
	o = there.queue()
	o.Capacity = 1 << 10
	to, err := queue.Open("texts", codec.String(), o)
	must(t, err)
	defer to.Close()

	must(t, from.Send(patience(t), strings.Repeat("x", 9<<10)))
	f := here.forward(t, js, "texts", "texts")
	f.fails(sharedseg.ErrTooLarge, "8192", "stays")
	if from.Len() != 1 {
		t.Errorf("%d messages are left", from.Len())
	}
	d, err := from.Receive(patience(t))
	must(t, err)
	must(t, d.Done())

	must(t, from.Send(patience(t), strings.Repeat("y", 2<<10)))
	here.forward(t, js, "texts", "texts")
	there.drain(t, js, "texts", "texts", "texts").fails(sharedseg.ErrTooLarge, "1024", "stays")
	s, err := js.Stream(patience(t), "texts")
	must(t, err)
	if n := s.CachedInfo().State.Msgs; n != 1 {
		t.Errorf("the stream has %d messages", n)
	}
}

// Wrong types are refused with an error that names both types.
func TestWrongMessages(t *testing.T) {
	js := startServer(t).connect()
	work(t, js, "numbers", "numbers")
	here, there := newHost(t), newHost(t)
	from := openNumbers(t, here, "numbers")
	must(t, from.Send(patience(t), 1))
	here.forward(t, js, "numbers", "numbers")
	to, err := queue.Open("texts", codec.JSON[string](), there.queue())
	must(t, err)
	defer to.Close()
	there.drain(t, js, "numbers", "numbers", "texts").fails(sharedseg.ErrIncompatible,
		codec.Fixed[uint64]().ID(), "uint64", `"json"`, "string", `"numbers"`)
	if to.Len() != 0 {
		t.Error("the message arrived")
	}
	ok := openNumbers(t, there, "numbers")
	there.drain(t, js, "numbers", "numbers", "numbers")
	d, err := ok.Receive(patience(t))
	must(t, err)
	if v, err := d.Value(); v != 1 || err != nil {
		t.Errorf("%d, %v", v, err)
	}
	must(t, d.Done())

	for _, bad := range []string{"", "a..b", "a.*", ">", "a b", ".a"} {
		want(t, natsbridge.Forward(t.Context(), "numbers", js, bad, nil), errInvalid, "subject")
	}
	openSamples(t, here, "segment")
	here.forward(t, js, "segment", "numbers").fails(sharedseg.ErrIncompatible, "segment", "queue")
}

// When a queue is removed and created again, the bridges at both ends follow
// its name. The messages in the old queue go first.
func TestQueueRecreated(t *testing.T) {
	srv := startServer(t)
	js := srv.connect()
	work(t, js, "numbers", "numbers")
	here, there := newHost(t), newHost(t)
	from, to := openNumbers(t, here, "numbers"), openNumbers(t, there, "numbers")
	here.forward(t, js, "numbers", "numbers")
	there.drain(t, js, "numbers", "numbers", "numbers")
	receive := func(q *queue.Queue[uint64], want uint64) {
		t.Helper()
		d, err := q.Receive(patience(t))
		must(t, err)
		if v, err := d.Value(); v != want || err != nil {
			t.Fatalf("%d, %v, want %d", v, err, want)
		}
		must(t, d.Done())
	}
	must(t, from.Send(patience(t), 1))
	receive(to, 1)
	srv.stop()
	for n := range uint64(5) {
		must(t, from.Send(patience(t), 2+n))
	}
	must(t, sharedseg.Remove("numbers", here.queue().Place()))
	from2 := openNumbers(t, here, "numbers")
	must(t, from2.Send(patience(t), 7))
	time.Sleep(300 * time.Millisecond) // long enough for the bridge to see it
	srv.start()
	for n := range uint64(6) {
		receive(to, 2+n)
	}
	must(t, sharedseg.Remove("numbers", there.queue().Place()))
	to2 := openNumbers(t, there, "numbers")
	// A message that comes before the bridge looks belongs to the old queue.
	time.Sleep(500 * time.Millisecond)
	must(t, from2.Send(patience(t), 8))
	receive(to2, 8)
}

// A bridge waits for a stream that does not exist yet.
func TestNoStream(t *testing.T) {
	js := startServer(t).connect()
	here := newHost(t)
	from := openNumbers(t, here, "numbers")
	must(t, from.Send(patience(t), 1))
	here.forward(t, js, "numbers", "numbers")
	time.Sleep(100 * time.Millisecond)
	work(t, js, "numbers", "numbers")
	eventually(t, "the message is in the stream", func() bool {
		s, err := js.Stream(patience(t), "numbers")
		must(t, err)
		return s.CachedInfo().State.Msgs == 1 && from.Len() == 0
	})
}

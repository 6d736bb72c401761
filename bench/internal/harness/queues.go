package harness

import (
	"encoding/binary"
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sharedseg/sharedseg/internal/proctest"
)

// A Queue is a handle of a queue for messages of one size, used by one
// goroutine.
type Queue interface {
	// Send sends the content of m, and waits while the queue is full.
	Send(m []byte) error
	// Receive waits for the next message and copies it to m. When it returns,
	// the message's room is free, and no other receiver will get the message.
	Receive(m []byte) error
	Close() error
}

// A QueueKind is a way to send messages from some processes to others, each
// message to one of them.
type QueueKind struct {
	// Create creates a queue for messages of size bytes. The processes that
	// open it inherit the files, beginning with descriptor 3.
	Create func(name string, size int) (q Queue, files []*os.File, err error)
	// Open opens the queue in those processes.
	Open func(name string, size int) (Queue, error)
	// Takes reports whether the queue supports so many senders and receivers
	// and messages of that size. If it is nil, the queue supports all.
	Takes func(from, to, size int) bool
	// Prefetches means that a receiver can be sent messages before it asks for
	// them.
	Prefetches bool
}

// NamedQueue returns a kind of queue that all processes open by its name,
// including the one that creates it.
func NamedQueue(open func(name string, size int) (Queue, error)) QueueKind {
	return QueueKind{
		Create: func(name string, size int) (Queue, []*os.File, error) {
			q, err := open(name, size)
			return q, nil, err
		},
		Open: open,
	}
}

// Queues are kinds of queues, by mechanism. Their keys are like those of Locks.
type Queues map[string]QueueKind

// Roles returns the roles of the processes that the benchmarks start.
func (q Queues) Roles() map[string]func(args []string) error {
	// The arguments of a role are IMPL NAME SIZE ID ENDS.
	serve := func(work func(h Queue, size, id, ends int) func(*atomic.Bool) (Work, error)) func(args []string) error {
		return func(args []string) error {
			kind, err := Find(q, args[0])
			if err != nil {
				return err
			}
			var n [3]int
			for i := range n {
				if n[i], err = strconv.Atoi(args[2+i]); err != nil {
					return err
				}
			}
			h, err := kind.Open(args[1], n[0])
			if err != nil {
				return err
			}
			defer h.Close()
			return ServeWindows(work(h, n[0], n[1], n[2]))
		}
	}
	return map[string]func([]string) error{
		"sender": serve(func(h Queue, size, id, ends int) func(*atomic.Bool) (Work, error) {
			return newSender(h, size, id, ends).work
		}),
		"receiver": serve(func(h Queue, size, _, _ int) func(*atomic.Bool) (Work, error) {
			return newReceiver(h, size).work
		}),
	}
}

// ways are the numbers of senders and receivers.
var ways = []struct{ from, to int }{{1, 1}, {1, 2}, {2, 1}, {2, 2}}

// messageSizes are the message sizes of the benchmarks between processes. The
// benchmark in one process uses the first.
var messageSizes = []int{64, 4 << 10, 1 << 20}

func queueName(impl string, from, to, size int) string {
	return implName(impl, fmt.Sprintf("from=%d/to=%d/size=%s", from, to, SizeName(size)))
}

// SizeName returns the value of the key size.
func SizeName(n int) string {
	switch {
	case n >= 1<<20 && n%(1<<20) == 0:
		return fmt.Sprintf("%dMiB", n>>20)
	case n >= 1<<10 && n%(1<<10) == 0:
		return fmt.Sprintf("%dKiB", n>>10)
	}
	return fmt.Sprintf("%dB", n)
}

// Run measures all of them: one goroutine that sends and receives a message
// (procs=1), and processes that do nothing except send to others, or receive,
// for a window.
func (q Queues) Run(b *testing.B) {
	all := slices.Sorted(maps.Keys(q))
	for _, impl := range all {
		b.Run(implName(impl, "procs=1/size="+SizeName(messageSizes[0])), func(b *testing.B) {
			h, _, err := q[impl].Create(proctest.Name(b), messageSizes[0])
			inTurn(b, Keep(b, h, err), messageSizes[0])
		})
	}
	for _, size := range messageSizes {
		for _, way := range ways {
			for _, impl := range all {
				if kind := q[impl]; kind.Takes == nil || kind.Takes(way.from, way.to, size) {
					b.Run(queueName(impl, way.from, way.to, size), func(b *testing.B) {
						kind.between(b, impl, way.from, way.to, size)
					})
				}
			}
		}
	}
}

// RunGoroutines is like Run, for a queue between goroutines.
func RunGoroutines(b *testing.B, impl string, open func(size int) Queue) {
	b.Run(implName(impl, "procs=1/size="+SizeName(messageSizes[0])), func(b *testing.B) {
		inTurn(b, open(messageSizes[0]), messageSizes[0])
	})
	for _, size := range messageSizes {
		for _, way := range ways {
			b.Run(queueName(impl, way.from, way.to, size), func(b *testing.B) {
				q := open(size)
				var senders []*sender
				var receivers []*receiver
				for id := range way.from {
					senders = append(senders, newSender(q, size, id, ends(way.from, way.to)))
				}
				for range way.to {
					receivers = append(receivers, newReceiver(q, size))
				}
				m := measurement{q: q, from: way.from, to: way.to, size: size}
				m.run(b, func() (sent, got func() []Work) {
					return amongGoroutines(b, senders, receivers)
				})
			})
		}
	}
}

// inTurn has one goroutine send and receive in turn.
func inTurn(b *testing.B, q Queue, size int) {
	b.ReportAllocs()
	sent, got := make([]byte, size), make([]byte, size)
	for n := uint64(1); b.Loop(); n++ {
		stamp(sent, n)
		if err := q.Send(sent); err != nil {
			b.Fatal(err)
		}
		if err := q.Receive(got); err != nil {
			b.Fatal(err)
		}
		if binary.NativeEndian.Uint64(got) != n {
			b.Fatalf("sent %x, got %x", sent, got)
		}
	}
}

// between has some processes send and others receive.
func (k QueueKind) between(b *testing.B, impl string, from, to, size int) {
	name := proctest.Name(b)
	opened, files, err := k.Create(name, size)
	q := Keep(b, opened, err)
	start := func(n int, role string) (procs []*proctest.Proc) {
		for id := range n {
			cmd := proctest.Command(role, impl, name, fmt.Sprint(size), fmt.Sprint(id), fmt.Sprint(ends(from, to)))
			cmd.ExtraFiles = files
			procs = append(procs, proctest.StartCmd(b, cmd))
		}
		return procs
	}
	senders, receivers := start(from, "sender"), start(to, "receiver")
	for _, p := range slices.Concat(senders, receivers) {
		p.Expect("ready")
	}
	m := measurement{q: q, from: from, to: to, size: size, again: k.Prefetches}
	m.run(b, func() (sent, got func() []Work) {
		beginWindow(slices.Concat(senders, receivers), messageWindow())
		return func() []Work { return endWindow(b, senders) }, func() []Work { return endWindow(b, receivers) }
	})
	for _, p := range slices.Concat(senders, receivers) {
		p.Wait()
	}
}

func messageWindow() time.Duration { return WindowLength() / 5 }

// ends returns how many of the messages that end a window each sender sends. If
// there is one sender, it sends those for all receivers. Otherwise it sends
// none, as another sender may still have messages to send.
func ends(from, to int) int {
	if from == 1 {
		return to
	}
	return 0
}

// A measurement measures the time per message.
type measurement struct {
	q              Queue
	from, to, size int
	again          bool // a receiver can get more than one of the messages that end a window
}

// run reports the time per message received by any process. begin starts a
// window, and returns functions that wait for the senders and for the
// receivers. A receiver continues until it gets a message that ends the window.
// run fails the benchmark if the received messages are not those that were
// sent.
func (m *measurement) run(b *testing.B, begin func() (sent, got func() []Work)) {
	var times []float64
	for window := uint64(1); b.Loop(); window++ {
		endOfSent, endOfGot := begin()
		sent := endOfSent()
		stop := m.end(b, window)
		got := endOfGot()
		stop()
		sentN, gotN, longest := 0, 0, time.Duration(0)
		var sum uint64 // of the messages that were sent and not received
		for _, w := range sent {
			sentN += w.N
			sum += w.Sum
		}
		for _, w := range got {
			gotN += w.N
			sum -= w.Sum
			longest = max(longest, w.Time)
		}
		if sentN == 0 || gotN != sentN || sum != 0 {
			b.Fatalf("%d messages were sent and %d received, with a difference of %#x in their contents", sentN, gotN, sum)
		}
		times = append(times, float64(longest)/float64(gotN))
	}
	ns := Median(times)
	b.ReportMetric(ns, "ns/op")
	b.ReportMetric(float64(m.size)/ns*1e3, "MB/s")
}

// end sends the messages that end a window, unless the only sender does. If a
// receiver can have got another's, it sends more of them until stop is called.
func (m *measurement) end(b *testing.B, window uint64) (stop func()) {
	last := make([]byte, m.size)
	stamp(last, ended|window)
	for range m.to - ends(m.from, m.to) {
		Must(b, m.q.Send(last))
	}
	if !m.again {
		return func() {}
	}
	stopped, failed := make(chan bool), make(chan error)
	go func() {
		for {
			select {
			case <-stopped:
				failed <- nil
				return
			case <-time.After(20 * time.Millisecond):
			}
			if err := m.q.Send(last); err != nil {
				failed <- err
				return
			}
		}
	}()
	return func() {
		close(stopped)
		Must(b, <-failed)
	}
}

// amongGoroutines starts a window of goroutines in this process.
func amongGoroutines(b *testing.B, senders []*sender, receivers []*receiver) (sent, got func() []Work) {
	var stop atomic.Bool
	start := time.Now()
	group := func(n int, work func(i int) (Work, error)) func() []Work {
		done, errs := make([]Work, n), make([]error, n)
		var all sync.WaitGroup
		for i := range n {
			all.Go(func() {
				done[i], errs[i] = work(i)
				done[i].Time = time.Since(start)
			})
		}
		return func() []Work {
			all.Wait()
			for _, err := range errs {
				Must(b, err)
			}
			return done
		}
	}
	sent = group(len(senders), func(i int) (Work, error) { return senders[i].work(&stop) })
	got = group(len(receivers), func(i int) (Work, error) { return receivers[i].work(&stop) })
	time.AfterFunc(messageWindow(), func() { stop.Store(true) })
	return sent, got
}

// ended is set in the number of a message that ends a window for one receiver.
// The other bits are the number of the window.
const ended = 1 << 63

// stamp writes the number to the beginning and the end of m, so that a torn
// message can be detected.
func stamp(m []byte, number uint64) {
	binary.NativeEndian.PutUint64(m, number)
	binary.NativeEndian.PutUint64(m[len(m)-8:], number)
}

// numberOf returns the number of a message.
func numberOf(m []byte) (uint64, error) {
	number := binary.NativeEndian.Uint64(m)
	if last := binary.NativeEndian.Uint64(m[len(m)-8:]); last != number {
		return 0, fmt.Errorf("a message begins with %#x and ends with %#x", number, last)
	}
	return number, nil
}

type sender struct {
	q       Queue
	m       []byte
	number  uint64
	ends    int
	windows uint64
}

func newSender(q Queue, size, id, ends int) *sender {
	return &sender{q: q, m: make([]byte, size), number: uint64(id) << 48, ends: ends}
}

func (s *sender) work(stop *atomic.Bool) (w Work, err error) {
	for w.N == 0 || !stop.Load() { // a short window can end before the first message
		s.number++
		stamp(s.m, s.number)
		if err := s.q.Send(s.m); err != nil {
			return w, err
		}
		w.N++
		w.Sum += s.number
	}
	s.windows++
	stamp(s.m, ended|s.windows)
	for range s.ends {
		if err := s.q.Send(s.m); err != nil {
			return w, err
		}
	}
	// A queue with Flush does not wait in Send until the message is queued.
	if q, ok := s.q.(interface{ Flush() error }); ok {
		err = q.Flush()
	}
	return w, err
}

type receiver struct {
	q       Queue
	m       []byte
	windows uint64
}

func newReceiver(q Queue, size int) *receiver { return &receiver{q, make([]byte, size), 0} }

func (r *receiver) work(*atomic.Bool) (w Work, err error) {
	r.windows++
	for {
		if err := r.q.Receive(r.m); err != nil {
			return w, err
		}
		number, err := numberOf(r.m)
		switch {
		case err != nil || number == ended|r.windows:
			return w, err
		case number&ended == 0: // skips the end of an earlier window
			w.N++
			w.Sum += number
		}
	}
}

// Echo returns the Echo of a pair of queues of a kind without files.
func (q Queues) Echo(impl string) Echo {
	const size = len(Message{})
	open := q[impl].Open
	return Echo{
		Dial: func(b *testing.B) RoundTrip {
			there, back := proctest.Name(b), proctest.Name(b)
			opened, err := open(there, size)
			out := Keep(b, opened, err)
			opened, err = open(back, size)
			in := Keep(b, opened, err)
			echo := proctest.Start(b, "echo", impl, there, back)
			b.Cleanup(func() {
				last := make([]byte, size)
				stamp(last, ended)
				Must(b, out.Send(last))
				echo.Wait()
			})
			echo.Expect("ready")
			return func(sent, got *Message) error {
				if err := out.Send(sent[:]); err != nil {
					return err
				}
				return in.Receive(got[:])
			}
		},
		Serve: func(args []string) error {
			in, err := open(args[0], size)
			if err != nil {
				return err
			}
			defer in.Close()
			out, err := open(args[1], size)
			if err != nil {
				return err
			}
			defer out.Close()
			fmt.Println("ready")
			for m := make([]byte, size); ; {
				if err := in.Receive(m); err != nil {
					return err
				}
				if binary.NativeEndian.Uint64(m[size-8:]) == ended {
					return nil
				}
				if err := out.Send(m); err != nil {
					return err
				}
			}
		},
	}
}

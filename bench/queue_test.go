package bench

import (
	"context"
	"maps"
	"testing"

	"github.com/sharedseg/sharedseg/bench/internal/harness"
	"github.com/sharedseg/sharedseg/codec"
	"github.com/sharedseg/sharedseg/queue"
)

// ourQueue is the key of this library's queue in queues, locks and echoes.
var ourQueue = "queue" + faultKey

// queues are the queues between processes, by mechanism.
var queues = func() harness.Queues {
	all := maps.Clone(rawQueues)
	all[ourQueue] = harness.NamedQueue(openQueue)
	return all
}()

// BenchmarkQueue also measures channels between goroutines.
func BenchmarkQueue(b *testing.B) {
	queues.Run(b)
	harness.RunGoroutines(b, "chan", func(size int) harness.Queue {
		if size == len(harness.Message{}) {
			return make(arrays, queue.DefaultDepth)
		}
		return newBuffers(size)
	})
}

// openQueue uses codec.Fixed for small messages, and codec.Bytes for others.
func openQueue(name string, size int) (harness.Queue, error) {
	if size == len(harness.Message{}) {
		q, err := queue.Open(name, codec.Fixed[harness.Message](), nil)
		return &fixedQueue{Queue: q}, err
	}
	q, err := queue.Open(name, codec.Bytes(), &queue.Options{Capacity: size})
	return &bytesQueue{Queue: q}, err
}

// fixedQueue is a queue, and the Delivery that it receives into.
type fixedQueue struct {
	*queue.Queue[harness.Message]
	d queue.Delivery[harness.Message]
}

func (q *fixedQueue) Send(m []byte) error {
	return q.Queue.Send(context.Background(), harness.Message(m))
}

func (q *fixedQueue) Receive(m []byte) error {
	if err := q.ReceiveInto(context.Background(), &q.d); err != nil {
		return err
	}
	v, err := q.d.Value()
	if err != nil {
		return err
	}
	copy(m, v[:])
	return q.d.Done()
}

// bytesQueue is the same for values that are slices.
type bytesQueue struct {
	*queue.Queue[[]byte]
	d queue.Delivery[[]byte]
}

func (q *bytesQueue) Send(m []byte) error { return q.Queue.Send(context.Background(), m) }

func (q *bytesQueue) Receive(m []byte) error {
	if err := q.ReceiveInto(context.Background(), &q.d); err != nil {
		return err
	}
	copy(m, q.d.Bytes())
	return q.d.Done()
}

// arrays is a channel of arrays, with as much room as a queue.
type arrays chan harness.Message

func (c arrays) Send(m []byte) error {
	c <- harness.Message(m)
	return nil
}

func (c arrays) Receive(m []byte) error {
	v := <-c
	copy(m, v[:])
	return nil
}

func (c arrays) Close() error { return nil }

// buffers passes larger messages through channels, and reuses the buffers.
type buffers struct{ full, free chan []byte }

func newBuffers(size int) buffers {
	c := buffers{make(chan []byte, queue.DefaultDepth), make(chan []byte, queue.DefaultDepth)}
	for range cap(c.free) {
		c.free <- make([]byte, size)
	}
	return c
}

func (c buffers) Send(m []byte) error {
	b := <-c.free
	copy(b, m)
	c.full <- b
	return nil
}

func (c buffers) Receive(m []byte) error {
	b := <-c.full
	copy(m, b)
	c.free <- b
	return nil
}

func (c buffers) Close() error { return nil }

// redelivery uses a queue with one message as a lock: the process that has
// received the message holds the lock.
type redelivery struct {
	*queue.Queue[harness.Message]
	d queue.Delivery[harness.Message]
}

func openRedelivery(name string) (harness.Lock, error) {
	q, err := queue.Open(name, codec.Fixed[harness.Message](), nil)
	if err == nil && q.Created() {
		err = q.Send(context.Background(), harness.Message{})
	}
	return &redelivery{Queue: q}, err
}

func (r *redelivery) Lock() error { return r.ReceiveInto(context.Background(), &r.d) }

func (r *redelivery) Unlock() error { return r.d.Return() }

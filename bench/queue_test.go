package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"net"
	"os"
	"sync"
	"testing"

	"github.com/sharedseg/sharedseg/bench/internal/harness"
	"github.com/sharedseg/sharedseg/codec"
	"github.com/sharedseg/sharedseg/internal/proctest"
	"github.com/sharedseg/sharedseg/queue"
)

// queueKey is the key of this library's queue among the mechanisms.
var queueKey = "queue" + faultKey

func openQueue[T any](tb testing.TB, name string, c codec.Codec[T], o *queue.Options) *queue.Queue[T] {
	tb.Helper()
	q, err := queue.Open(name, c, o)
	return harness.Keep(tb, q, err)
}

// One process sends a message to itself: nobody waits, and no cache line moves.
func BenchmarkMessage(b *testing.B) {
	harness.Run(b, "impl="+queueKey+"/size=64B", 0, func(b *testing.B) {
		q := openQueue(b, proctest.Name(b), codec.Fixed[harness.Message](), nil)
		var d queue.Delivery[harness.Message]
		ctx, m := context.Background(), harness.Message{}
		for b.Loop() {
			if err := q.Send(ctx, m); err != nil {
				b.Fatal(err)
			}
			if err := q.ReceiveInto(ctx, &d); err != nil {
				b.Fatal(err)
			}
			if _, err := d.Value(); err != nil {
				b.Fatal(err)
			}
			if err := d.Done(); err != nil {
				b.Fatal(err)
			}
		}
	})
	harness.Run(b, "impl=chan/size=64B", 0, func(b *testing.B) {
		c, m := make(chan harness.Message, queue.DefaultDepth), harness.Message{}
		for b.Loop() {
			c <- m
			m = <-c
		}
	})
}

func BenchmarkStream(b *testing.B) {
	streams.Run(b)
	for _, size := range []int{64, 4 << 10, 1 << 20} {
		for _, n := range [][2]int{{1, 1}, {1, 2}, {2, 1}, {2, 2}} {
			harness.Run(b, fmt.Sprintf("impl=chan/from=%d/to=%d/size=%s", n[0], n[1], harness.SizeName(size)), size, func(b *testing.B) {
				goroutinesStream(b, n[0], n[1], size)
			})
		}
	}
}

// goroutinesStream has goroutines do what processes do in BenchmarkStream. As there,
// a message is copied twice.
func goroutinesStream(b *testing.B, from, to, size int) {
	slots, free := make(chan []byte, queue.DefaultDepth), make(chan []byte, queue.DefaultDepth)
	for range queue.DefaultDepth {
		free <- make([]byte, size)
	}
	var senders, receivers sync.WaitGroup
	left := b.N
	b.ResetTimer()
	for i := range from {
		n := left / (from - i)
		left -= n
		senders.Go(func() {
			m := make([]byte, size)
			for range n {
				s := <-free
				copy(s, m)
				slots <- s
			}
		})
	}
	for range to {
		receivers.Go(func() {
			m := make([]byte, size)
			for s := range slots {
				copy(m, s)
				free <- s
			}
		})
	}
	senders.Wait()
	close(slots)
	receivers.Wait()
}

// streams are ways to send messages between processes, by mechanism.
var streams = func() harness.Streams {
	all := harness.Streams{
		queueKey: {Make: makeQueue, Open: openQueueEnd},
		"pipe":   {Make: makePipe, Open: openFile, Shared: 4 << 10}, // which is PIPE_BUF on Linux
		"tcp":    {Make: makeTCP, Open: openFile, Shared: 1},
	}
	maps.Copy(all, rawStreams)
	return all
}()

func makeQueue(b *testing.B, size int) (args []string, send, receive *os.File) {
	name := proctest.Name(b)
	openQueue(b, name, codec.Bytes(), &queue.Options{Capacity: size})
	return []string{name}, nil, nil
}

// queueEnd is a handle of a queue.
type queueEnd struct {
	*queue.Queue[[]byte]
	d queue.Delivery[[]byte]
}

func openQueueEnd(args []string, _ *os.File, _ int) (harness.End, error) {
	q, err := queue.Attach(args[0], codec.Bytes(), nil)
	return &queueEnd{Queue: q}, err
}

func (e *queueEnd) Send(m []byte) error { return e.Queue.Send(context.Background(), m) }

func (e *queueEnd) Receive(m []byte) error {
	if err := e.ReceiveInto(context.Background(), &e.d); err != nil {
		return err
	}
	if n := copy(m, e.d.Bytes()); n != len(m) {
		return fmt.Errorf("a message of %d bytes", n)
	}
	return e.d.Done()
}

func makePipe(b *testing.B, size int) (args []string, send, receive *os.File) {
	receive, send, err := os.Pipe()
	harness.Must(b, err)
	harness.Keep(b, receive, nil)
	harness.Keep(b, send, nil)
	return nil, send, receive
}

func makeTCP(b *testing.B, size int) (args []string, send, receive *os.File) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	harness.Keep(b, listener, err)
	a, err := net.Dial("tcp", listener.Addr().String())
	harness.Keep(b, a, err)
	c, err := listener.Accept()
	harness.Keep(b, c, err)
	if send, err = a.(*net.TCPConn).File(); errors.Is(err, errors.ErrUnsupported) {
		b.Skip(err)
	}
	harness.Keep(b, send, err)
	receive, err = c.(*net.TCPConn).File()
	harness.Keep(b, receive, err)
	return nil, send, receive
}

// fileEnd is one end of a stream of bytes.
type fileEnd struct{ *os.File }

func openFile(_ []string, file *os.File, _ int) (harness.End, error) {
	if file == nil {
		return nil, fs.ErrInvalid
	}
	return fileEnd{file}, nil
}

func (e fileEnd) Send(m []byte) error {
	_, err := e.Write(m)
	return err
}

func (e fileEnd) Receive(m []byte) error {
	_, err := io.ReadFull(e, m)
	return err
}

// dialQueues is a queue for each direction.
func dialQueues(b *testing.B) harness.RoundTrip {
	there, back, c := proctest.Name(b), proctest.Name(b), codec.Fixed[harness.Message]()
	out, in := openQueue(b, there, c, nil), openQueue(b, back, c, nil)
	echo := proctest.Start(b, "echo", queueKey, there, back)
	b.Cleanup(func() {
		out.Shut()
		echo.Wait()
	})
	ctx := context.Background()
	var d queue.Delivery[harness.Message]
	return func(sent, got *harness.Message) (err error) {
		if err := out.Send(ctx, *sent); err != nil {
			return err
		}
		if err := in.ReceiveInto(ctx, &d); err != nil {
			return err
		}
		if *got, err = d.Value(); err != nil {
			return err
		}
		return d.Done()
	}
}

func serveQueues(args []string) error {
	c := codec.Fixed[harness.Message]()
	in, err := queue.Attach(args[0], c, nil)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := queue.Attach(args[1], c, nil)
	if err != nil {
		return err
	}
	defer out.Close()
	ctx := context.Background()
	for m, err := range in.All(ctx) {
		if err == nil {
			err = out.Send(ctx, m)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// dying are mechanisms whose owners die: locks, and a queue whose only message goes
// from one to the next.
var dying = func() harness.Locks {
	all := maps.Clone(locks)
	all[queueKey] = func(name string) (harness.Lock, error) {
		q, err := queue.Open(name, codec.Fixed[uint64](), nil)
		if err == nil && q.Created() {
			err = q.Send(context.Background(), 1)
		}
		return &received{Queue: q}, err
	}
	return all
}()

// received has the message between Lock and Unlock.
type received struct {
	*queue.Queue[uint64]
	d queue.Delivery[uint64]
}

func (r *received) Lock() error { return r.ReceiveInto(context.Background(), &r.d) }

func (r *received) Unlock() error { return r.d.Return() }

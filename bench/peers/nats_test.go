package peers

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/sharedseg/sharedseg/bench/internal/harness"
	"github.com/sharedseg/sharedseg/internal/proctest"
)

const (
	natsName  = "queue"          // the name of the stream, its subject and its consumer
	natsReady = 30 * time.Second // the time limit for starting the server, and for a request
)

// startNATS starts a server on the loopback interface in this process. Its
// streams are in memory.
func startNATS(dir string) (*server.Server, error) {
	s, err := server.NewServer(&server.Options{
		Host: "127.0.0.1", Port: server.RANDOM_PORT, NoLog: true, NoSigs: true,
		JetStream: true, StoreDir: dir, MaxPayload: 8 << 20,
		// The server disconnects clients that have more to read. The default is
		// less than depth of the largest messages.
		MaxPending: 256 << 20,
	})
	if err != nil {
		return nil, err
	}
	s.Start()
	if !s.ReadyForConnections(natsReady) {
		s.Shutdown()
		return nil, errors.New("the NATS server did not start")
	}
	return s, nil
}

// natsQueue is a work queue of JetStream with acknowledged messages.
type natsQueue struct {
	conn *nats.Conn
	js   jetstream.JetStream
	got  jetstream.MessagesContext // set by the first Receive

	// server is set in the handle that created the queue. Its directory has a
	// file with the address.
	server *server.Server
	dir    string
}

// createNATS starts the server of a queue, and opens the queue.
func createNATS(name string, size int) (harness.Queue, []*os.File, error) {
	dir := filepath.Join(os.TempDir(), name)
	if err := os.Mkdir(dir, 0o700); err != nil {
		return nil, nil, err
	}
	s, err := startNATS(dir)
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, "url"), []byte(s.ClientURL()), 0o600)
	}
	if err != nil {
		return nil, nil, errors.Join(err, os.RemoveAll(dir))
	}
	q, err := dialNATS(s.ClientURL())
	if err != nil {
		return nil, nil, err
	}
	q.server, q.dir = s, dir
	_, err = q.js.CreateStream(context.Background(), jetstream.StreamConfig{
		Name: natsName, Subjects: []string{natsName}, Retention: jetstream.WorkQueuePolicy, Storage: jetstream.MemoryStorage,
	})
	if err == nil {
		_, err = q.js.CreateConsumer(context.Background(), natsName, jetstream.ConsumerConfig{
			Durable: natsName, AckPolicy: jetstream.AckExplicitPolicy,
		})
	}
	return q, nil, err
}

func openNATS(name string, _ int) (harness.Queue, error) {
	url, err := os.ReadFile(filepath.Join(os.TempDir(), name, "url"))
	if err != nil {
		return nil, err
	}
	return dialNATS(string(url))
}

func dialNATS(url string) (*natsQueue, error) {
	conn, err := nats.Connect(url)
	if err != nil {
		return nil, err
	}
	js, err := jetstream.New(conn, jetstream.WithPublishAsyncMaxPending(depth))
	return &natsQueue{conn: conn, js: js}, err
}

// Send waits while depth messages are not yet acknowledged by the server.
func (q *natsQueue) Send(m []byte) error {
	_, err := q.js.PublishAsync(natsName, m, jetstream.WithStallWait(natsReady))
	return err
}

// Flush waits until the server has acknowledged all messages.
func (q *natsQueue) Flush() error {
	select {
	case <-q.js.PublishAsyncComplete():
		return nil
	case <-time.After(natsReady):
		return errors.New("messages were not acknowledged")
	}
}

func (q *natsQueue) Receive(m []byte) error {
	if q.got == nil {
		consumer, err := q.js.Consumer(context.Background(), natsName, natsName)
		if err == nil {
			// On a busy machine the client sometimes waits for messages that it
			// has not requested. It requests them again when heartbeats are
			// missing.
			q.got, err = consumer.Messages(jetstream.PullMaxMessages(depth), jetstream.PullHeartbeat(time.Second),
				jetstream.WithMessagesErrOnMissingHeartbeat(false))
		}
		if err != nil {
			return err
		}
	}
	msg, err := q.got.Next()
	if err != nil {
		return err
	}
	if n := copy(m, msg.Data()); n != len(m) {
		return fmt.Errorf("%d of %d bytes arrived", n, len(m))
	}
	return msg.Ack()
}

func (q *natsQueue) Close() error {
	if q.got != nil {
		q.got.Stop()
	}
	q.conn.Close()
	if q.server == nil {
		return nil
	}
	q.server.Shutdown()
	q.server.WaitForShutdown()
	return os.RemoveAll(q.dir)
}

// dialNATSEcho uses requests and responses, without a stream.
func dialNATSEcho(b *testing.B) harness.RoundTrip {
	s, err := startNATS(b.TempDir())
	harness.Must(b, err)
	b.Cleanup(func() {
		s.Shutdown()
		s.WaitForShutdown()
	})
	proctest.Start(b, "echo", "nats", s.ClientURL()).Expect("ready")
	conn, err := nats.Connect(s.ClientURL())
	harness.Must(b, err)
	b.Cleanup(conn.Close)
	return func(sent, got *harness.Message) error {
		answer, err := conn.Request(natsName, sent[:], natsReady)
		if err != nil {
			return err
		}
		if n := copy(got[:], answer.Data); n != len(got) {
			return fmt.Errorf("%d bytes came back", n)
		}
		return nil
	}
}

// serveNATSEcho, with the argument URL, answers until its standard input ends.
func serveNATSEcho(args []string) error {
	conn, err := nats.Connect(args[0])
	if err != nil {
		return err
	}
	defer conn.Close()
	if _, err := conn.Subscribe(natsName, func(m *nats.Msg) { m.Respond(m.Data) }); err != nil {
		return err
	}
	if err := conn.Flush(); err != nil {
		return err
	}
	fmt.Println("ready")
	proctest.Await()
	return nil
}

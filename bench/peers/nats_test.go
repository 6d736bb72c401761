package peers

import (
	"os"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/sharedseg/sharedseg/bench/internal/harness"
	"github.com/sharedseg/sharedseg/internal/proctest"
)

// messages is how many messages a queue has room for, as one of this library has.
const messages = 64

// streams are ways to send messages between processes, by mechanism.
var streams = harness.Streams{"nats": {Make: makeNATS, Open: openNATS, Limit: 4 << 10}}

func BenchmarkStream(b *testing.B) { streams.Run(b) }

// makeNATS starts a server on the loopback interface, in this process.
func makeNATS(b *testing.B, size int) (args []string, send, receive *os.File) {
	s, err := server.NewServer(&server.Options{
		Host: "127.0.0.1", Port: server.RANDOM_PORT, NoLog: true, NoSigs: true,
		MaxPayload: 4 << 20, MaxPending: 1 << 30,
	})
	harness.Must(b, err)
	go s.Start()
	b.Cleanup(func() {
		s.Shutdown()
		s.WaitForShutdown()
	})
	if !s.ReadyForConnections(proctest.Patience) {
		b.Fatal("the server does not start")
	}
	return []string{s.ClientURL()}, nil, nil
}

// natsEnd sends to a subject, whose messages a group of receivers shares. What ends receivers goes to all of them, as
// chance decides who of a group gets a message. Core NATS does not hold senders back, nor keep what nobody receives,
// so a sender flushes now and then, and receivers have much room.
type natsEnd struct {
	*nats.Conn
	got  chan *nats.Msg
	sent int
}

func openNATS(args []string, _ *os.File, _ int) (harness.End, error) {
	c, err := nats.Connect(args[0])
	if err != nil {
		return nil, err
	}
	e := &natsEnd{Conn: c, got: make(chan *nats.Msg, 1<<20)}
	if proctest.Role() == "receive" {
		_, err = c.ChanQueueSubscribe("bench", "receivers", e.got)
		if err == nil {
			_, err = c.ChanSubscribe("end", e.got)
		}
		if err == nil {
			err = c.Flush() // the server knows of it
		}
	}
	return e, err
}

func (e *natsEnd) Send(m []byte) error {
	if harness.Last(m) {
		return e.Publish("end", m)
	}
	if e.sent++; e.sent%messages == 0 {
		if err := e.Flush(); err != nil {
			return err
		}
	}
	return e.Publish("bench", m)
}

func (e *natsEnd) Receive(m []byte) error {
	copy(m, (<-e.got).Data)
	return nil
}

func (e *natsEnd) Close() error {
	err := e.Flush()
	e.Conn.Close()
	return err
}

func dialNATS(b *testing.B) harness.RoundTrip {
	args, _, _ := makeNATS(b, 0)
	c, err := nats.Connect(args[0])
	harness.Must(b, err)
	b.Cleanup(c.Close)
	proctest.Start(b, "echo", "nats", args[0]).Expect("ready")
	return func(sent, got *harness.Message) error {
		answer, err := c.Request("echo", sent[:], time.Minute)
		if err == nil {
			copy(got[:], answer.Data)
		}
		return err
	}
}

// serveNATS URL serves until its standard input ends.
func serveNATS(args []string) error {
	c, err := nats.Connect(args[0])
	if err != nil {
		return err
	}
	defer c.Close()
	if _, err := c.Subscribe("echo", func(m *nats.Msg) { m.Respond(m.Data) }); err != nil {
		return err
	}
	if err := c.Flush(); err != nil {
		return err
	}
	os.Stdout.WriteString("ready\n")
	proctest.Await()
	return nil
}

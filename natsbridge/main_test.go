package natsbridge_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/sharedseg/sharedseg/internal/proctest"
	"github.com/sharedseg/sharedseg/natsbridge"
	"github.com/sharedseg/sharedseg/queue"
	"github.com/sharedseg/sharedseg/segment"
)

// roles are the parts that tests kill. They run in separate processes.
var roles = map[string]func([]string) error{
	"server":   serverRole,
	"publish":  publishRole,
	"mirror":   mirrorRole,
	"forward":  forwardRole,
	"drain":    drainRole,
	"sender":   senderRole,
	"receiver": receiverRole,
}

func TestMain(m *testing.M) { proctest.Main(m, roles) }

var (
	must, want = proctest.Must, proctest.Want
	patience   = proctest.Patient
	eventually = proctest.Eventually
)

// A natsServer is a real server in its own process, with its own directory.
type natsServer struct {
	*proctest.Proc
	t    testing.TB
	dir  string
	port string
	max  int // max_payload
}

func startServer(t testing.TB) *natsServer { return startServerWith(t, 0) }

func startServerWith(t testing.TB, max int) *natsServer {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	_, port, _ := net.SplitHostPort(l.Addr().String())
	l.Close()
	s := &natsServer{t: t, dir: proctest.TempDir(t), port: port, max: max}
	s.start()
	t.Cleanup(func() { s.Kill() })
	return s
}

func (s *natsServer) start() {
	s.t.Helper()
	s.Proc = proctest.Start(s.t, "server", s.dir, s.port, strconv.Itoa(s.max))
	s.Expect("ready")
}

// stop ends the server with SIGTERM, as an operator would.
func (s *natsServer) stop() {
	s.Signal(syscall.SIGTERM)
	s.Reap()
}

func (s *natsServer) url() string { return "nats://127.0.0.1:" + s.port }

func serverRole(args []string) error {
	port, err := strconv.Atoi(args[1])
	if err != nil {
		return err
	}
	max, err := strconv.Atoi(args[2])
	if err != nil {
		return err
	}
	if max == 0 {
		max = server.MAX_PAYLOAD_SIZE
	}
	s, err := server.NewServer(&server.Options{
		Host: "127.0.0.1", Port: port, JetStream: true, StoreDir: args[0], MaxPayload: int32(max),
	})
	if err != nil {
		return err
	}
	if os.Getenv("SHAREDSEG_TEST_LOG") != "" {
		s.ConfigureLogger()
	}
	s.Start() // this also installs the handler of SIGTERM
	if !s.ReadyForConnections(proctest.Patience) {
		return errors.New("the server is not ready")
	}
	fmt.Println("ready")
	s.WaitForShutdown()
	return nil
}

// connect returns a connection as the README recommends, with shorter waits.
func connect(url string) (*nats.Conn, jetstream.JetStream, error) {
	nc, err := nats.Connect(url, nats.MaxReconnects(-1), nats.RetryOnFailedConnect(true),
		nats.ReconnectWait(20*time.Millisecond), nats.ReconnectJitter(0, 0))
	if err != nil {
		return nil, nil, err
	}
	js, err := jetstream.New(nc)
	return nc, js, err
}

func (s *natsServer) connect() jetstream.JetStream {
	s.t.Helper()
	nc, js, err := connect(s.url())
	must(s.t, err)
	s.t.Cleanup(func() {
		js.CleanupPublisher()
		nc.Close()
	})
	return js
}

// bucket creates a bucket on disk.
func bucket(t testing.TB, js jetstream.JetStream, name string) jetstream.KeyValue {
	t.Helper()
	kv, err := js.CreateKeyValue(patience(t), jetstream.KeyValueConfig{Bucket: name, History: 64})
	must(t, err)
	return kv
}

// A host stands in for a machine: it has its own directory, and so its own
// names.
type host struct{ dir string }

func newHost(t testing.TB) *host { return &host{proctest.TempDir(t)} }

func (h *host) segment() *segment.Options { return &segment.Options{Dir: h.dir} }

func (h *host) queue() *queue.Options { return &queue.Options{Dir: h.dir, Persist: true} }

// logger returns a logger that writes to the test's log.
func logger(t testing.TB) *slog.Logger {
	return slog.New(slog.NewTextHandler(t.Output(), nil))
}

// A running bridge, which a goroutine runs.
type running struct {
	t    testing.TB
	stop context.CancelFunc
	done chan struct{}
	err  error
	once sync.Once
}

// run runs a bridge until the test ends or stop is called.
func run(t testing.TB, bridge func(context.Context) error) *running {
	ctx, cancel := context.WithCancel(context.Background())
	r := &running{t: t, stop: cancel, done: make(chan struct{})}
	go func() {
		defer close(r.done)
		r.err = bridge(ctx)
	}()
	t.Cleanup(r.end)
	return r
}

// end ends the bridge if it still runs.
func (r *running) end() {
	r.once.Do(func() {
		r.stop()
		if err := r.result(); !errors.Is(err, context.Canceled) {
			r.t.Errorf("a bridge returned %v", err)
		}
	})
}

// result waits until the bridge returns, and returns its error.
func (r *running) result() error {
	r.t.Helper()
	select {
	case <-r.done:
		return r.err
	case <-time.After(proctest.Patience):
		r.t.Fatal("the bridge did not return")
		return nil
	}
}

// fails waits until the bridge returns an error that matches target.
func (r *running) fails(target error, texts ...string) {
	r.t.Helper()
	r.once.Do(func() {})
	want(r.t, r.result(), target, texts...)
}

func (h *host) publish(t testing.TB, js jetstream.JetStream, name, bucket, key string) *running {
	return run(t, func(ctx context.Context) error {
		return natsbridge.Publish(ctx, name, js, bucket, key, &natsbridge.PublishOptions{Segment: h.segment(), Logger: logger(t)})
	})
}

func (h *host) mirror(t testing.TB, js jetstream.JetStream, bucket, key, name string) *running {
	return run(t, func(ctx context.Context) error {
		return natsbridge.Mirror(ctx, js, bucket, key, name, &natsbridge.MirrorOptions{Segment: h.segment(), Logger: logger(t)})
	})
}

func (h *host) forward(t testing.TB, js jetstream.JetStream, name, subject string) *running {
	return run(t, func(ctx context.Context) error {
		return natsbridge.Forward(ctx, name, js, subject, &natsbridge.ForwardOptions{Queue: h.queue(), Logger: logger(t)})
	})
}

func (h *host) drain(t testing.TB, js jetstream.JetStream, stream, consumer, name string) *running {
	return run(t, func(ctx context.Context) error {
		return natsbridge.Drain(ctx, js, stream, consumer, name, &natsbridge.DrainOptions{Queue: h.queue(), Logger: logger(t)})
	})
}

// roleLogger returns a silent logger, unless SHAREDSEG_TEST_LOG is set to find
// the cause of a failure.
func roleLogger(name string) *slog.Logger {
	if os.Getenv("SHAREDSEG_TEST_LOG") != "" {
		return slog.New(slog.NewTextHandler(os.Stderr, nil)).With("pid", os.Getpid())
	}
	return slog.New(slog.DiscardHandler)
}

// publishRole runs Publish, with the arguments URL DIR NAME BUCKET KEY.
func publishRole(args []string) error {
	_, js, err := connect(args[0])
	if err != nil {
		return err
	}
	h := &host{args[1]}
	return natsbridge.Publish(context.Background(), args[2], js, args[3], args[4],
		&natsbridge.PublishOptions{Segment: h.segment(), Logger: roleLogger("publish")})
}

// mirrorRole runs Mirror, with the arguments URL DIR BUCKET KEY NAME.
func mirrorRole(args []string) error {
	_, js, err := connect(args[0])
	if err != nil {
		return err
	}
	h := &host{args[1]}
	return natsbridge.Mirror(context.Background(), js, args[2], args[3], args[4],
		&natsbridge.MirrorOptions{Segment: h.segment(), Logger: roleLogger("mirror")})
}

// forwardRole runs Forward, with the arguments URL DIR QUEUE SUBJECT INFLIGHT.
func forwardRole(args []string) error {
	_, js, err := connect(args[0])
	if err != nil {
		return err
	}
	n, err := strconv.Atoi(args[4])
	if err != nil {
		return err
	}
	h := &host{args[1]}
	return natsbridge.Forward(context.Background(), args[2], js, args[3],
		&natsbridge.ForwardOptions{Queue: h.queue(), InFlight: n, Logger: roleLogger("forward")})
}

// drainRole runs Drain, with the arguments URL DIR STREAM CONSUMER QUEUE.
func drainRole(args []string) error {
	_, js, err := connect(args[0])
	if err != nil {
		return err
	}
	h := &host{args[1]}
	return natsbridge.Drain(context.Background(), js, args[2], args[3], args[4],
		&natsbridge.DrainOptions{Queue: h.queue(), Logger: roleLogger("drain")})
}

// Sharedseg-nats connects segments and queues of several hosts, of any type,
// through a NATS server with JetStream.
//
//	sharedseg-nats demo                      two sides on this machine, with a server of their own
//	sharedseg-nats publish NAME KEY          the newest value of a segment goes to a key
//	sharedseg-nats mirror KEY NAME           the newest value of a key goes into a segment
//	sharedseg-nats forward QUEUE SUBJECT     the messages of a queue go into a stream
//	sharedseg-nats drain STREAM QUEUE        the messages of a stream go into a queue
//
// Flags come first, and -h lists them. A command runs until it is interrupted,
// and says on standard error what happens to it.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/sharedseg/sharedseg/natsbridge"
	"github.com/sharedseg/sharedseg/queue"
	"github.com/sharedseg/sharedseg/segment"
)

const usage = `usage:
  sharedseg-nats demo                            two sides on this machine, with a server of their own
  sharedseg-nats [flags] publish NAME KEY        the newest value of a segment goes to a key
  sharedseg-nats [flags] mirror KEY NAME         the newest value of a key goes into a segment
  sharedseg-nats [flags] forward QUEUE SUBJECT   the messages of a queue go into a stream
  sharedseg-nats [flags] drain STREAM QUEUE      the messages of a stream go into a queue
flags:
`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// A command is what the flags say.
type command struct {
	server, creds string
	create        bool
	bucket        string
	stream        string
	consumer      string
	dir           string
	codec         string
	capacity      int
	depth         int
	persist       bool
	interval      time.Duration
	inFlight      int
	log           *slog.Logger
}

// run does what the command line says, and returns the exit code.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	c := command{log: slog.New(slog.NewTextHandler(stderr, nil))}
	flags := flag.NewFlagSet("sharedseg-nats", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.Usage = func() {
		fmt.Fprint(stderr, usage)
		flags.PrintDefaults()
	}
	server := os.Getenv("NATS_URL")
	if server == "" {
		server = nats.DefaultURL
	}
	flags.StringVar(&c.server, "server", server, "the server's `URL`, or several with commas; its default is NATS_URL in the environment")
	flags.StringVar(&c.creds, "creds", "", "a `file` of credentials")
	flags.BoolVar(&c.create, "create", false, "create the bucket, stream or consumer if it is missing")
	flags.StringVar(&c.bucket, "bucket", "sharedseg", "of publish and mirror: the KeyValue `bucket` that has the key")
	flags.StringVar(&c.stream, "stream", "sharedseg", "of forward with -create: the `name` of the stream")
	flags.StringVar(&c.consumer, "consumer", "sharedseg", "of drain: the durable consumer's `name`")
	flags.StringVar(&c.dir, "dir", "", "the `directory` of segments and queues; the default is the platform's shared memory")
	flags.StringVar(&c.codec, "codec", "", "the codec's `ID` of values that other NATS clients put, such as json")
	flags.IntVar(&c.capacity, "capacity", 0, "of mirror and drain, if they create the name: `bytes` of the largest value; 0: as at the other end")
	flags.IntVar(&c.depth, "depth", 0, "of drain, if it creates the queue: how many `messages` it has room for")
	flags.BoolVar(&c.persist, "persist", false, "of mirror and drain: the name is one that persists")
	flags.DurationVar(&c.interval, "interval", 0, "of publish: the shortest `time` between two values")
	flags.IntVar(&c.inFlight, "inflight", 1, "of forward: how many `messages` are under way at a time; 1 keeps their order")
	if err := flags.Parse(args); errors.Is(err, flag.ErrHelp) {
		return 0
	} else if err != nil {
		return 2
	}
	args = flags.Args()
	var err error
	switch {
	case len(args) == 1 && args[0] == "demo":
		err = demo(ctx, stdout, stderr)
	case len(args) == 3 && args[0] == "publish":
		err = c.publish(ctx, args[1], args[2])
	case len(args) == 3 && args[0] == "mirror":
		err = c.mirror(ctx, args[1], args[2])
	case len(args) == 3 && args[0] == "forward":
		err = c.forward(ctx, args[1], args[2])
	case len(args) == 3 && args[0] == "drain":
		err = c.drain(ctx, args[1], args[2])
	default:
		flags.Usage()
		return 2
	}
	if err != nil && ctx.Err() == nil {
		fmt.Fprintln(stderr, "sharedseg-nats:", err)
		return 1
	}
	return 0
}

func (c *command) publish(ctx context.Context, name, key string) error {
	return c.connected(ctx, c.makeBucket, func(js jetstream.JetStream) error {
		return natsbridge.Publish(ctx, name, js, c.bucket, key, &natsbridge.PublishOptions{
			Segment: &segment.Options{Dir: c.dir}, Interval: c.interval, Codec: c.codec, Logger: c.log,
		})
	})
}

func (c *command) mirror(ctx context.Context, key, name string) error {
	return c.connected(ctx, c.makeBucket, func(js jetstream.JetStream) error {
		return natsbridge.Mirror(ctx, js, c.bucket, key, name, &natsbridge.MirrorOptions{
			Segment: &segment.Options{Dir: c.dir, Capacity: c.capacity, Persist: c.persist}, Codec: c.codec, Logger: c.log,
		})
	})
}

func (c *command) forward(ctx context.Context, name, subject string) error {
	makeStream := func(ctx context.Context, js jetstream.JetStream) error {
		_, err := js.CreateStream(ctx, jetstream.StreamConfig{
			Name: c.stream, Subjects: []string{subject}, Retention: jetstream.WorkQueuePolicy,
		})
		return err
	}
	return c.connected(ctx, makeStream, func(js jetstream.JetStream) error {
		return natsbridge.Forward(ctx, name, js, subject, &natsbridge.ForwardOptions{
			Queue: &queue.Options{Dir: c.dir}, InFlight: c.inFlight, Logger: c.log,
		})
	})
}

func (c *command) drain(ctx context.Context, stream, name string) error {
	makeConsumer := func(ctx context.Context, js jetstream.JetStream) error {
		_, err := js.CreateConsumer(ctx, stream, jetstream.ConsumerConfig{
			Durable: c.consumer, AckPolicy: jetstream.AckExplicitPolicy, AckWait: 5 * time.Second, MaxAckPending: 1,
		})
		return err
	}
	return c.connected(ctx, makeConsumer, func(js jetstream.JetStream) error {
		return natsbridge.Drain(ctx, js, stream, c.consumer, name, &natsbridge.DrainOptions{
			Queue: &queue.Options{Dir: c.dir, Capacity: c.capacity, Depth: c.depth, Persist: c.persist}, Codec: c.codec, Logger: c.log,
		})
	})
}

func (c *command) makeBucket(ctx context.Context, js jetstream.JetStream) error {
	_, err := js.CreateKeyValue(ctx, jetstream.KeyValueConfig{Bucket: c.bucket})
	return err
}

// connected calls bridge with a connection that lasts until ctx is done, after
// what is missing is made, if it is to be.
func (c *command) connected(ctx context.Context, missing func(context.Context, jetstream.JetStream) error, bridge func(jetstream.JetStream) error) error {
	options := []nats.Option{
		nats.Name("sharedseg-nats"), nats.MaxReconnects(-1), nats.RetryOnFailedConnect(true),
		nats.ReconnectWait(100 * time.Millisecond),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) { c.log.Warn("disconnected", "error", err) }),
		nats.ReconnectHandler(func(nc *nats.Conn) { c.log.Info("connected", "server", nc.ConnectedUrlRedacted()) }),
	}
	if c.creds != "" {
		options = append(options, nats.UserCredentials(c.creds))
	}
	nc, err := nats.Connect(c.server, options...)
	if err != nil {
		return err
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		return err
	}
	defer js.CleanupPublisher()
	for said := false; c.create && ctx.Err() == nil; said = true {
		limited, cancel := context.WithTimeout(ctx, 2*time.Second)
		err := missing(limited, js)
		cancel()
		if err == nil || exists(err) {
			break
		}
		if api, ok := errors.AsType[*jetstream.APIError](err); ok && api.Code == 400 {
			return err // what is asked for is not allowed
		}
		if !said {
			c.log.Warn("not created yet; trying again", "error", err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(200 * time.Millisecond):
		}
	}
	return bridge(js)
}

// exists reports whether err says that what was to be created is there, perhaps
// with another configuration, which is the operator's.
func exists(err error) bool {
	for _, there := range []error{jetstream.ErrBucketExists, jetstream.ErrStreamNameAlreadyInUse, jetstream.ErrConsumerExists} {
		if errors.Is(err, there) {
			return true
		}
	}
	return false
}

// Sharedseg-nats connects the segments and queues of several hosts, with values
// of any type, through a NATS server with JetStream.
//
//	sharedseg-nats demo                      shows two sides on this machine, with an embedded server
//	sharedseg-nats publish NAME KEY          puts the newest value of a segment into a key
//	sharedseg-nats mirror KEY NAME           stores the newest value of a key in a segment
//	sharedseg-nats forward QUEUE SUBJECT     publishes the messages of a queue to a stream
//	sharedseg-nats drain STREAM QUEUE        sends the messages of a stream to a queue
//
// Flags come before the other arguments, and -h lists them. A command runs
// until it is interrupted, and logs to standard error.
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
  sharedseg-nats demo                            show two sides on this machine, with an embedded server
  sharedseg-nats [flags] publish NAME KEY        put the newest value of a segment into a key
  sharedseg-nats [flags] mirror KEY NAME         store the newest value of a key in a segment
  sharedseg-nats [flags] forward QUEUE SUBJECT   publish the messages of a queue to a stream
  sharedseg-nats [flags] drain STREAM QUEUE      send the messages of a stream to a queue
flags:
`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// A command holds the values of the flags.
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

// run executes the command line, and returns the exit code.
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
	flags.StringVar(&c.server, "server", server, "the `URL` of the server, or several separated by commas; the environment variable NATS_URL changes the default")
	flags.StringVar(&c.creds, "creds", "", "use the credentials in `file`")
	flags.BoolVar(&c.create, "create", false, "create the bucket, stream or consumer if it is missing")
	flags.StringVar(&c.bucket, "bucket", "sharedseg", "for publish and mirror: the KeyValue `bucket` of the key")
	flags.StringVar(&c.stream, "stream", "sharedseg", "for forward with -create: the `name` of the stream")
	flags.StringVar(&c.consumer, "consumer", "sharedseg", "for drain: the `name` of the durable consumer")
	flags.StringVar(&c.dir, "dir", "", "the `directory` of segments and queues (default: the platform's shared memory)")
	flags.StringVar(&c.codec, "codec", "", "the codec `ID` of values that other NATS clients put, such as json")
	flags.IntVar(&c.capacity, "capacity", 0, "for mirror and drain, if they create the name: the capacity in `bytes`; 0 means that of the other end")
	flags.IntVar(&c.depth, "depth", 0, "for drain, if it creates the queue: room for so many `messages`; 0 means the default of package queue")
	flags.BoolVar(&c.persist, "persist", false, "for mirror and drain: the name persists while no process has it open")
	flags.DurationVar(&c.interval, "interval", 0, "for publish: the minimum `time` between two values")
	flags.IntVar(&c.inFlight, "inflight", 1, "for forward: how many `messages` are under way at a time; 1 keeps their order")
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

// connected calls bridge with a connection that lasts until ctx is done. With
// -create, it first calls missing until what bridge needs exists.
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
	for logged := false; c.create && ctx.Err() == nil; logged = true {
		limited, cancel := context.WithTimeout(ctx, 2*time.Second)
		err := missing(limited, js)
		cancel()
		if err == nil || exists(err) {
			break
		}
		if api, ok := errors.AsType[*jetstream.APIError](err); ok && api.Code == 400 {
			return err // the server refuses the configuration
		}
		if !logged {
			c.log.Warn("not created yet; trying again", "error", err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(200 * time.Millisecond):
		}
	}
	return bridge(js)
}

// exists reports whether err says that the object to create already exists. Its
// configuration can differ: then the operator has chosen it.
func exists(err error) bool {
	for _, there := range []error{jetstream.ErrBucketExists, jetstream.ErrStreamNameAlreadyInUse, jetstream.ErrConsumerExists} {
		if errors.Is(err, there) {
			return true
		}
	}
	return false
}

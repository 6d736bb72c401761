package natsbridge_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/sharedseg/sharedseg/codec"
	"github.com/sharedseg/sharedseg/natsbridge"
	"github.com/sharedseg/sharedseg/queue"
	"github.com/sharedseg/sharedseg/segment"
)

// A site is an embedded NATS server, and two directories that stand in for
// hosts. A real program connects to the hosts' server, and uses the default
// place of segments and queues.
type site struct {
	js         jetstream.JetStream
	west, east string
}

// withSite calls f with a site.
func withSite(f func(ctx context.Context, s *site) error) error {
	dir, err := os.MkdirTemp("", "natsbridge")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	s := &site{west: filepath.Join(dir, "west"), east: filepath.Join(dir, "east")}
	if err := errors.Join(os.Mkdir(s.west, 0o700), os.Mkdir(s.east, 0o700)); err != nil {
		return err
	}
	embedded, err := server.NewServer(&server.Options{
		Host: "127.0.0.1", Port: server.RANDOM_PORT, JetStream: true, StoreDir: filepath.Join(dir, "nats"), NoSigs: true,
	})
	if err != nil {
		return err
	}
	embedded.Start()
	defer embedded.WaitForShutdown()
	defer embedded.Shutdown()
	if !embedded.ReadyForConnections(10 * time.Second) {
		return errors.New("the server did not start")
	}
	nc, err := nats.Connect(embedded.ClientURL(), nats.MaxReconnects(-1))
	if err != nil {
		return err
	}
	defer nc.Close()
	if s.js, err = jetstream.New(nc); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	return f(ctx, s)
}

// quiet is a logger for examples, whose output must not vary.
var quiet = slog.New(slog.DiscardHandler)

// A value that is stored on one host appears on the other.
func ExampleMirror() {
	type price struct{ Cents int64 }

	example := func(ctx context.Context, s *site) error {
		if _, err := s.js.CreateKeyValue(ctx, jetstream.KeyValueConfig{Bucket: "shop"}); err != nil {
			return err
		}
		ctx, stop := context.WithCancel(ctx)
		var bridges sync.WaitGroup
		defer bridges.Wait()
		defer stop()

		// On the western host, a program stores the value, and a bridge
		// publishes it.
		west := &segment.Options{Dir: s.west}
		here, err := segment.Open("tea", codec.Fixed[price](), west)
		if err != nil {
			return err
		}
		defer here.Close()
		bridges.Go(func() {
			natsbridge.Publish(ctx, "tea", s.js, "shop", "tea", &natsbridge.PublishOptions{Segment: west, Logger: quiet})
		})

		// On the eastern host, a bridge mirrors it, and a program watches it.
		east := &segment.Options{Dir: s.east}
		bridges.Go(func() {
			natsbridge.Mirror(ctx, s.js, "shop", "tea", "tea", &natsbridge.MirrorOptions{Segment: east, Logger: quiet})
		})
		there, err := segment.Open("tea", codec.Fixed[price](), east)
		if err != nil {
			return err
		}
		defer there.Close()

		if err := here.Store(price{Cents: 450}); err != nil {
			return err
		}
		for p, err := range there.Watch(ctx) {
			if err != nil {
				return err
			}
			fmt.Printf("Tea costs %d cents in the east, too.\n", p.Cents)
			return nil
		}
		return nil
	}
	if err := withSite(example); err != nil {
		log.Fatal(err)
	}
	// Output: Tea costs 450 cents in the east, too.
}

// A message that is sent on one host is received on the other.
func ExampleForward() {
	example := func(ctx context.Context, s *site) error {
		_, err := s.js.CreateStream(ctx, jetstream.StreamConfig{
			Name: "ORDERS", Subjects: []string{"orders"}, Retention: jetstream.WorkQueuePolicy,
		})
		if err != nil {
			return err
		}
		_, err = s.js.CreateConsumer(ctx, "ORDERS", jetstream.ConsumerConfig{
			Durable: "warehouse", AckPolicy: jetstream.AckExplicitPolicy, MaxAckPending: 1,
		})
		if err != nil {
			return err
		}
		ctx, stop := context.WithCancel(ctx)
		var bridges sync.WaitGroup
		defer bridges.Wait()
		defer stop()

		// On the western host, a program sends to a queue, and a bridge
		// forwards its messages to the stream.
		west := &queue.Options{Dir: s.west, Persist: true}
		here, err := queue.Open("orders", codec.String(), west)
		if err != nil {
			return err
		}
		defer here.Close()
		bridges.Go(func() {
			natsbridge.Forward(ctx, "orders", s.js, "orders", &natsbridge.ForwardOptions{Queue: west, Logger: quiet})
		})

		// On the eastern host, a bridge drains the stream, and a program
		// receives from a queue.
		east := &queue.Options{Dir: s.east, Persist: true}
		there, err := queue.Open("orders", codec.String(), east)
		if err != nil {
			return err
		}
		defer there.Close()
		bridges.Go(func() {
			natsbridge.Drain(ctx, s.js, "ORDERS", "warehouse", "orders", &natsbridge.DrainOptions{Queue: east, Logger: quiet})
		})

		for _, order := range []string{"tea", "milk"} {
			if err := here.Send(ctx, order); err != nil {
				return err
			}
		}
		if err := here.Shut(); err != nil {
			return err
		}
		for range 2 {
			d, err := there.Receive(ctx)
			if err != nil {
				return err
			}
			order, err := d.Value()
			if err != nil {
				return err
			}
			fmt.Println(order)
			if err := d.Done(); err != nil {
				return err
			}
		}
		return nil
	}
	if err := withSite(example); err != nil {
		log.Fatal(err)
	}
	// Output:
	// tea
	// milk
}

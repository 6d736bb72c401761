package natsbridge_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/sharedseg/sharedseg/codec"
	"github.com/sharedseg/sharedseg/internal/proctest"
	"github.com/sharedseg/sharedseg/queue"
	"github.com/sharedseg/sharedseg/segment"
)

var sizes = []int{64, 4 << 10, 64 << 10}

// numbered returns a value of size bytes that contains a number.
func numbered(size int, n uint64) []byte {
	b := make([]byte, size)
	binary.LittleEndian.PutUint64(b, n)
	return b
}

func number(b []byte) uint64 { return binary.LittleEndian.Uint64(b) }

// A valueWay carries numbered values from one host to another.
type valueWay struct {
	put func(n uint64)
	got <-chan uint64 // the numbers that arrived
}

// report reports percentiles of durations.
func report(b *testing.B, took []time.Duration) {
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Nanoseconds()), "p50-ns")
	b.ReportMetric(float64(took[len(took)*99/100].Nanoseconds()), "p99-ns")
}

var valueWays = []struct {
	name string
	open func(b *testing.B, size int) valueWay
}{
	{"natsbridge", bridged},
	{"nats", alone},
}

// bridged carries values from segment to segment: a Store on one host, and a
// Watch on the other. The bridges and the server are separate processes.
func bridged(b *testing.B, size int) valueWay {
	srv := startServer(b)
	kv(b, srv.connect())
	here, there := newHost(b), newHost(b)
	options := func(h *host) *segment.Options { return &segment.Options{Dir: h.dir, Capacity: size} }
	from, err := segment.Open("s", codec.Bytes(), options(here))
	must(b, err)
	to, err := segment.Open("s", codec.Bytes(), options(there))
	must(b, err)
	proctest.Start(b, "publish", srv.url(), here.dir, "s", "values", "s")
	proctest.Start(b, "mirror", srv.url(), there.dir, "values", "s", "s")
	got := make(chan uint64, 1024)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for v, err := range to.Watch(ctx) {
			if err != nil {
				return
			}
			select {
			case got <- number(v):
			case <-ctx.Done():
			}
		}
	}()
	b.Cleanup(func() {
		cancel()
		<-ended
		from.Close()
		to.Close()
	})
	return valueWay{put: func(n uint64) { must(b, from.Store(numbered(size, n))) }, got: got}
}

// alone carries values by NATS without shared memory: a Put, and a watcher on
// another connection.
func alone(b *testing.B, size int) valueWay {
	srv := startServer(b)
	from := kv(b, srv.connect())
	to, err := srv.connect().KeyValue(patience(b), "values")
	must(b, err)
	watcher, err := to.Watch(context.Background(), "s")
	must(b, err)
	got := make(chan uint64, 1024)
	done, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for e := range watcher.Updates() {
			if e == nil {
				continue
			}
			select {
			case got <- number(e.Value()):
			case <-done:
				return
			}
		}
	}()
	b.Cleanup(func() {
		close(done)
		watcher.Stop()
		<-ended
	})
	return valueWay{put: func(n uint64) {
		_, err := from.Put(context.Background(), "s", numbered(size, n))
		must(b, err)
	}, got: got}
}

func kv(b *testing.B, js jetstream.JetStream) jetstream.KeyValue {
	kv, err := js.CreateKeyValue(patience(b), jetstream.KeyValueConfig{Bucket: "values"})
	must(b, err)
	return kv
}

// BenchmarkLatency measures the time from storing a value on one host to seeing
// it on the other, one value at a time.
func BenchmarkLatency(b *testing.B) {
	for _, way := range valueWays {
		for _, size := range sizes {
			b.Run(fmt.Sprintf("impl=%s/size=%d", way.name, size), func(b *testing.B) {
				w := way.open(b, size)
				n := uint64(1)
				cross := func() time.Duration {
					n++
					start := time.Now()
					w.put(n)
					for got := range w.got {
						if got == n {
							break
						}
					}
					return time.Since(start)
				}
				for range 20 {
					cross()
				}
				var took []time.Duration
				for b.Loop() {
					took = append(took, cross())
				}
				report(b, took)
			})
		}
	}
}

// BenchmarkValues measures the time for each value that arrives while one host
// stores continuously. Most values of a segment are conflated on the way.
func BenchmarkValues(b *testing.B) {
	for _, way := range valueWays {
		for _, size := range sizes {
			b.Run(fmt.Sprintf("impl=%s/size=%d", way.name, size), func(b *testing.B) {
				w := way.open(b, size)
				w.put(1)
				<-w.got
				var stop atomic.Bool
				ended := make(chan struct{})
				go func() {
					defer close(ended)
					for n := uint64(2); !stop.Load(); n++ {
						w.put(n)
						if way.name == "natsbridge" {
							time.Sleep(20 * time.Microsecond) // leaves the bridges some processor time
						}
					}
				}()
				for b.Loop() {
					<-w.got
				}
				b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "values/s")
				stop.Store(true)
				for over := false; !over; {
					select {
					case <-w.got:
					case <-ended:
						over = true
					}
				}
			})
		}
	}
}

// BenchmarkMessages measures the time for each message that goes from a queue
// through a work queue stream into another queue. With NATS alone, it is from a
// Publish to the acknowledgement by a consumer.
func BenchmarkMessages(b *testing.B) {
	const size = 64
	for _, inFlight := range []int{1, 64} {
		b.Run(fmt.Sprintf("impl=natsbridge/size=%d/inflight=%d", size, inFlight), func(b *testing.B) {
			srv := startServer(b)
			work(b, srv.connect(), "m", "m")
			here, there := newHost(b), newHost(b)
			open := func(h *host) *queue.Queue[[]byte] {
				o := h.queue()
				o.Capacity, o.Depth = size, 256
				q, err := queue.Open("m", codec.Bytes(), o)
				must(b, err)
				b.Cleanup(func() { q.Close() })
				return q
			}
			from, to := open(here), open(there)
			proctest.Start(b, "forward", srv.url(), here.dir, "m", "m", fmt.Sprint(inFlight))
			proctest.Start(b, "drain", srv.url(), there.dir, "m", "m", "m")
			messages(b, size, func(v []byte) { must(b, from.Send(context.Background(), v)) }, func() {
				d, err := to.Receive(context.Background())
				must(b, err)
				must(b, d.Done())
			})
		})
	}
	b.Run(fmt.Sprintf("impl=nats/size=%d/inflight=1", size), func(b *testing.B) {
		srv := startServer(b)
		js := srv.connect()
		work(b, js, "m", "m")
		c, err := srv.connect().Consumer(patience(b), "m", "m")
		must(b, err)
		it, err := c.Messages(jetstream.PullMaxMessages(1))
		must(b, err)
		b.Cleanup(it.Stop)
		messages(b, size, func(v []byte) {
			_, err := js.Publish(context.Background(), "m", v)
			must(b, err)
		}, func() {
			m, err := it.Next()
			must(b, err)
			must(b, m.Ack())
		})
	})
}

// messages sends messages as fast as they are received, with up to 128 under
// way.
func messages(b *testing.B, size int, send func([]byte), receive func()) {
	send(numbered(size, 0))
	receive()
	work, ended := make(chan struct{}, 128), make(chan struct{})
	go func() {
		defer close(ended)
		for range work {
			send(numbered(size, 1))
		}
	}()
	sent := 0
	for b.Loop() {
		for ; sent < 128; sent++ {
			work <- struct{}{}
		}
		receive()
		sent--
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "messages/s")
	for ; sent > 0; sent-- {
		receive()
	}
	close(work)
	<-ended
}

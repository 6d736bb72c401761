package main

import (
	"bytes"
	"context"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/sharedseg/sharedseg/codec"
	"github.com/sharedseg/sharedseg/internal/proctest"
	"github.com/sharedseg/sharedseg/queue"
	"github.com/sharedseg/sharedseg/segment"
)

func TestMain(m *testing.M) {
	self = func(args ...string) (*exec.Cmd, error) { return proctest.Command("self", args...), nil }
	proctest.Main(m, map[string]func([]string) error{
		"self": func(args []string) error {
			os.Exit(run(context.Background(), args, os.Stdout, os.Stderr))
			return nil
		},
	})
}

var must = proctest.Must

// TestDemo runs the demo of the README.
func TestDemo(t *testing.T) {
	var out bytes.Buffer
	var log buffer
	if code := run(t.Context(), []string{"demo"}, &out, &log); code != 0 {
		t.Fatalf("code %d\n%s\n%s", code, &out, log.String())
	}
	for _, want := range []string{
		"West stored {City:Rome Celsius:14}. East saw it", "East received {Number:3 Pieces:30}", "West stored {City:Bern Celsius:9}. East saw it",
		"East received {Number:6 Pieces:60}", "No value and no message was lost.\n",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is not in\n%s", want, &out)
		}
	}
}

// A buffer is a bytes.Buffer for several goroutines.
type buffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

// The commands create what is missing, in any order, even before there is a
// server. They exit with 0 when they are interrupted.
func TestCommands(t *testing.T) {
	// A server chooses the port, and is not running when the commands start.
	o := server.Options{Host: "127.0.0.1", Port: server.RANDOM_PORT, JetStream: true, StoreDir: proctest.TempDir(t), NoSigs: true}
	start := func() *server.Server {
		s, err := server.NewServer(&o)
		must(t, err)
		s.Start()
		if !s.ReadyForConnections(proctest.Patience) {
			t.Fatal("the server did not start")
		}
		return s
	}
	s := start()
	url := s.ClientURL()
	o.Port = s.Addr().(*net.TCPAddr).Port
	s.Shutdown()
	s.WaitForShutdown()

	here, there := proctest.TempDir(t), proctest.TempDir(t)
	ctx, stop := context.WithCancel(context.Background())
	var bridges sync.WaitGroup
	var log buffer
	bridge := func(args ...string) {
		bridges.Go(func() {
			if code := run(ctx, append([]string{"-server", url, "-create"}, args...), io.Discard, &log); code != 0 {
				t.Errorf("%q ended with %d", args, code)
			}
		})
	}
	defer func() {
		stop()
		bridges.Wait()
		if t.Failed() {
			t.Log(log.String())
		}
	}()
	bridge("-dir", there, "mirror", "a/b", "copy")
	bridge("-dir", there, "-depth", "8", "-persist", "drain", "sharedseg", "orders")
	bridge("-dir", here, "forward", "orders", "orders.new")
	bridge("-dir", here, "-interval", "1ms", "publish", "original", "a/b")
	time.Sleep(100 * time.Millisecond)
	s = start()
	defer s.WaitForShutdown()
	defer s.Shutdown()

	from, err := segment.Open("original", codec.String(), &segment.Options{Dir: here})
	must(t, err)
	defer from.Close()
	must(t, from.Store("hello"))
	out, err := queue.Open("orders", codec.String(), &queue.Options{Dir: here})
	must(t, err)
	defer out.Close()
	must(t, out.Send(t.Context(), "tea"))

	proctest.Eventually(t, "the copy has the value", func() bool {
		to, err := segment.Attach("copy", codec.String(), &segment.Options{Dir: there})
		if err != nil {
			return false
		}
		defer to.Close()
		v, err := to.Load()
		return v == "hello" && err == nil
	})
	proctest.Eventually(t, "the other queue has the message", func() bool {
		in, err := queue.Attach("orders", codec.String(), &queue.Options{Dir: there})
		if err != nil {
			return false
		}
		defer in.Close()
		d, err := in.TryReceive()
		if d == nil || err != nil {
			return false
		}
		v, err := d.Value()
		return v == "tea" && err == nil && in.Cap() == 8 && d.Done() == nil
	})
}

// TestUsage checks the errors for invalid arguments.
func TestUsage(t *testing.T) {
	for _, c := range []struct {
		args []string
		code int
		want string
	}{
		{nil, 2, "usage:"},
		{[]string{"publish", "a"}, 2, "usage:"},
		{[]string{"-x", "demo"}, 2, "-x"},
		{[]string{"-h"}, 0, "-bucket"},
		{[]string{"-server", "nats://127.0.0.1:1", "publish", "a", "b*"}, 1, "the key"},
		{[]string{"-server", "nats://127.0.0.1:1", "-bucket", "a b", "mirror", "k", "a"}, 1, "the bucket"},
		{[]string{"-server", "nats://127.0.0.1:1", "forward", "q", "a b"}, 1, "the subject"},
		{[]string{"-creds", "/nowhere", "publish", "a", "b"}, 1, "/nowhere"},
	} {
		var log buffer
		if code := run(t.Context(), c.args, io.Discard, &log); code != c.code || !strings.Contains(log.String(), c.want) {
			t.Errorf("%q: %d, %s", c.args, code, log.String())
		}
	}
}

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/sharedseg/sharedseg/codec"
	"github.com/sharedseg/sharedseg/queue"
	"github.com/sharedseg/sharedseg/segment"
)

// Weather is the demo's value, and Order its message.
type (
	Weather struct {
		City    string
		Celsius float64
	}
	Order struct{ Number, Pieces int }
)

// demo sends values and messages from one side to another. Each side is a
// directory, as if it were a host, and each bridge is a process of this
// program. Two of the bridges are killed and restarted.
func demo(ctx context.Context, stdout, stderr io.Writer) (err error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	dir, err := os.MkdirTemp("", "sharedseg-nats")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	west, east := filepath.Join(dir, "west"), filepath.Join(dir, "east")
	for _, side := range []string{west, east} {
		if err := os.Mkdir(side, 0o700); err != nil {
			return err
		}
	}
	s, err := server.NewServer(&server.Options{
		Host: "127.0.0.1", Port: server.RANDOM_PORT, JetStream: true, StoreDir: filepath.Join(dir, "server"), NoSigs: true,
	})
	if err != nil {
		return err
	}
	s.Start()
	defer s.WaitForShutdown()
	defer s.Shutdown()
	if !s.ReadyForConnections(10 * time.Second) {
		return errors.New("the server did not start")
	}
	fmt.Fprintf(stdout, "A NATS server runs at %s. West and east are two directories.\n", s.ClientURL())

	// The segments and queues that the programs of both sides have open.
	here, err := segment.Open("weather", codec.JSON[Weather](), &segment.Options{Dir: west})
	if err != nil {
		return err
	}
	defer here.Close()
	there, err := segment.Open("weather", codec.JSON[Weather](), &segment.Options{Dir: east})
	if err != nil {
		return err
	}
	defer there.Close()
	out, err := queue.Open("orders", codec.Fixed[Order](), &queue.Options{Dir: west, Persist: true})
	if err != nil {
		return err
	}
	defer out.Close()
	in, err := queue.Open("orders", codec.Fixed[Order](), &queue.Options{Dir: east, Persist: true})
	if err != nil {
		return err
	}
	defer in.Close()

	bridge := func(side string, args ...string) (stop func(), err error) {
		fmt.Fprintf(stdout, "\t%s: sharedseg-nats %s\n", filepath.Base(side), strings.Join(args, " "))
		return startSelf(stderr, append([]string{"-server", s.ClientURL(), "-create", "-dir", side}, args...)...)
	}
	start := func(side string, args ...string) (stop func()) {
		if err != nil {
			return func() {}
		}
		stop, err = bridge(side, args...)
		return stop
	}
	publish := start(west, "publish", "weather", "weather")
	defer func() { publish() }()
	defer start(east, "mirror", "weather", "weather")()
	forward := start(west, "forward", "orders", "orders")
	defer func() { forward() }()
	defer start(east, "drain", "sharedseg", "orders")()
	if err != nil {
		return err
	}

	cross := func(w Weather) error {
		begun := time.Now()
		if err := here.Store(w); err != nil {
			return err
		}
		for v, err := range there.Watch(ctx) {
			if err != nil {
				return err
			}
			if v == w {
				break
			}
		}
		fmt.Fprintf(stdout, "West stored %+v. East saw it after %v.\n", w, time.Since(begun).Round(10*time.Microsecond))
		return nil
	}
	send := func(from, to int) error {
		for n := from; n <= to; n++ {
			if err := out.Send(ctx, Order{Number: n, Pieces: 10 * n}); err != nil {
				return err
			}
		}
		fmt.Fprintf(stdout, "West sent orders %d to %d.\n", from, to)
		return nil
	}
	next := 1
	receive := func(to int) error {
		for next <= to {
			d, err := in.Receive(ctx)
			if err != nil {
				return err
			}
			o, err := d.Value()
			if err != nil {
				return err
			}
			switch {
			case o.Number == next:
				next++
				fmt.Fprintf(stdout, "East received %+v.\n", o)
			case o.Number < next:
				fmt.Fprintf(stdout, "East received %+v again: the bridge was killed before it could acknowledge the order.\n", o)
			default:
				return fmt.Errorf("order %d arrived before %d", o.Number, next)
			}
			if err := d.Done(); err != nil {
				return err
			}
		}
		return nil
	}
	for i, celsius := range []float64{11, 12.5, 14} {
		if err := cross(Weather{[]string{"Bern", "Oslo", "Rome"}[i], celsius}); err != nil {
			return err
		}
	}
	if err := errors.Join(send(1, 3), receive(3)); err != nil {
		return err
	}
	fmt.Fprintln(stdout, "Killing west's bridges, and starting them again:")
	publish()
	forward()
	if err := send(4, 6); err != nil {
		return err
	}
	publish = start(west, "publish", "weather", "weather")
	forward = start(west, "forward", "orders", "orders")
	if err := errors.Join(err, cross(Weather{"Bern", 9}), receive(6)); err != nil {
		return err
	}
	fmt.Fprintln(stdout, "No value and no message was lost.")
	return nil
}

// startSelf starts this program with the arguments. stop kills it.
func startSelf(stderr io.Writer, args ...string) (stop func(), err error) {
	cmd, err := self(args...)
	if err != nil {
		return nil, err
	}
	cmd.Stderr = stderr
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	return func() {
		cmd.Process.Kill()
		cmd.Wait()
	}, nil
}

// self returns a command that runs this program.
var self = func(args ...string) (*exec.Cmd, error) {
	exe, err := os.Executable()
	if err != nil {
		return nil, err
	}
	return exec.Command(exe, args...), nil
}

package bench

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/rpc"
	"os"
	"path/filepath"
	"testing"

	"github.com/sharedseg/sharedseg/bench/internal/harness"
	"github.com/sharedseg/sharedseg/codec"
	"github.com/sharedseg/sharedseg/internal/proctest"
	"github.com/sharedseg/sharedseg/segment"
)

func BenchmarkRoundTrip(b *testing.B) { echoes.Run(b) }

// segmentEcho is the key of a pair of segments in echoes.
var segmentEcho = "segment" + faultKey

// echoes are the kinds of connections to a process, by mechanism.
var echoes = func() harness.Echoes {
	all := harness.Echoes{
		segmentEcho: {Dial: dialSegments, Serve: serveSegments},
		ourQueue:    queues.Echo(ourQueue),
		eventEcho:   linkEcho(eventEcho),
		condEcho:    linkEcho(condEcho),
		"pipe":      {Dial: dialPipes, Serve: servePipes},
		"unix":      {Dial: dialUnix("unix"), Serve: serveConn("unix")},
		"tcp":       {Dial: dialTCP, Serve: serveConn("tcp")},
		"netrpc":    {Dial: dialRPC, Serve: serveRPC},
	}
	if _, ok := queues["mq"]; ok {
		all["mq"] = queues.Echo("mq")
	}
	if _, ok := queues["unixpacket"]; ok {
		all["unixpacket"] = harness.Echo{Dial: dialUnix("unixpacket"), Serve: serveConn("unixpacket")}
	}
	return all
}()

// segmentPair has a segment for each direction.
type segmentPair struct {
	out, in *segment.Segment[harness.Message]
	seen    uint64 // the version that was read last
}

func (p *segmentPair) send(m *harness.Message) error { return p.out.Store(*m) }

func (p *segmentPair) receive(m *harness.Message) (err error) {
	if _, err = p.in.Wait(context.Background(), p.seen); err != nil {
		return err
	}
	p.seen, err = p.in.LoadInto(m)
	return err
}

func dialSegments(b *testing.B) harness.RoundTrip {
	there, back, c := proctest.Name(b), proctest.Name(b), codec.Fixed[harness.Message]()
	p := &segmentPair{out: open(b, there, c, nil), in: open(b, back, c, nil)}
	echo := proctest.Start(b, "echo", segmentEcho, there, back)
	b.Cleanup(echo.Wait) // before the segments are closed, as the last Close frees them
	echo.Expect("ready")
	return func(sent, got *harness.Message) error {
		if err := p.send(sent); err != nil {
			return err
		}
		return p.receive(got)
	}
}

func serveSegments(args []string) error {
	c := codec.Fixed[harness.Message]()
	in, err := segment.Attach(args[0], c, nil)
	if err != nil {
		return err
	}
	out, err := segment.Attach(args[1], c, nil)
	if err != nil {
		return err
	}
	defer out.Close()
	closed := make(chan bool)
	go func() {
		proctest.Await()
		in.Close()
		close(closed)
	}()
	fmt.Println("ready")
	p := &segmentPair{out: out, in: in}
	for m := new(harness.Message); ; {
		if err := p.receive(m); errors.Is(err, fs.ErrClosed) {
			<-closed
			return nil
		} else if err != nil {
			return err
		}
		if err := p.send(m); err != nil {
			return err
		}
	}
}

func dialPipes(b *testing.B) harness.RoundTrip {
	cmd := proctest.Command("echo", "pipe")
	out, err := cmd.StdinPipe()
	harness.Must(b, err)
	in, err := cmd.StdoutPipe()
	harness.Must(b, err)
	harness.Must(b, cmd.Start())
	b.Cleanup(func() {
		out.Close()
		harness.Must(b, cmd.Wait())
	})
	return harness.OverStream(out, in)
}

func servePipes([]string) error { return harness.ServeStream(os.Stdout, os.Stdin) }

func dialUnix(network string) func(b *testing.B) harness.RoundTrip {
	return func(b *testing.B) harness.RoundTrip {
		conn := accept(b, network, socketPath(b), network)
		return harness.OverStream(conn, conn)
	}
}

// dialTCP leaves TCP_NODELAY on, the default of package net.
func dialTCP(b *testing.B) harness.RoundTrip {
	conn := accept(b, "tcp", "127.0.0.1:0", "tcp")
	return harness.OverStream(conn, conn)
}

func serveConn(network string) func(args []string) error {
	return func(args []string) error {
		conn, err := net.Dial(network, args[0])
		if err != nil {
			return err
		}
		defer conn.Close()
		return harness.ServeStream(conn, conn)
	}
}

// socketPath returns a short path. The path of a socket is limited to about a
// hundred bytes, which a path of b.TempDir easily exceeds.
func socketPath(b *testing.B) string {
	dir, err := os.MkdirTemp("", "bench")
	harness.Must(b, err)
	b.Cleanup(func() { os.RemoveAll(dir) })
	return filepath.Join(dir, "socket")
}

// accept starts the process that runs a mechanism's echo, and returns its
// connection to an address.
func accept(b *testing.B, network, address, impl string) net.Conn {
	listener, err := net.Listen(network, address)
	if no, ok := errors.AsType[*os.SyscallError](err); ok && no.Syscall == "socket" {
		b.Skip("this system does not support such sockets:", err)
	}
	harness.Keep(b, listener, err)
	proctest.Start(b, "echo", impl, listener.Addr().String())
	conn, err := listener.Accept()
	return harness.Keep(b, conn, err)
}

// dialRPC uses net/rpc over a unix socket, with its default encoding, gob.
func dialRPC(b *testing.B) harness.RoundTrip {
	client := rpc.NewClient(accept(b, "unix", socketPath(b), "netrpc"))
	return func(sent, got *harness.Message) error { return client.Call("Echoer.Echo", sent, got) }
}

func serveRPC(args []string) error {
	server := rpc.NewServer()
	if err := server.Register(Echoer{}); err != nil {
		return err
	}
	conn, err := net.Dial("unix", args[0])
	if err != nil {
		return err
	}
	server.ServeConn(conn) // until the client closes the connection
	return nil
}

// Echoer and its method are exported for net/rpc.
type Echoer struct{}

// Echo returns the message that it receives.
func (Echoer) Echo(sent, got *harness.Message) error {
	*got = *sent
	return nil
}

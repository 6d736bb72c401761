package bench

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/sharedseg/sharedseg/codec"
	"github.com/sharedseg/sharedseg/internal/proctest"
	"github.com/sharedseg/sharedseg/segment"
)

type message [64]byte

// A link is one end of a connection of two processes.
type link interface {
	send(m *message) error
	receive(m *message) error
}

// A linkKind is a kind of connection to a process that plays echo.
type linkKind struct {
	dial func(b *testing.B) link           // starts the process
	echo func(args []string) (link, error) // the other end, in that process
}

var linkKinds = map[string]linkKind{
	"segment": {dialSegments, echoSegments},
	"pipe":    {dialPipes, echoPipes},
	"unix":    {dialUnix, echoUnix},
}

func BenchmarkRoundTrip(b *testing.B) {
	for _, impl := range slices.Sorted(maps.Keys(linkKinds)) {
		for _, busy := range []bool{true, false} {
			load := "idle"
			if busy {
				load = "busy"
			}
			run(b, fmt.Sprintf("impl=%s/size=64B/load=%s", impl, load), 0, func(b *testing.B) {
				l, times := linkKinds[impl].dial(b), newLatencies()
				sent, got := new(message), new(message)
				must(b, roundTrip(l, sent, got))
				start := time.Now()
				for n := uint64(1); b.Loop(); n++ {
					if !busy {
						time.Sleep(time.Millisecond)
						start = time.Now()
					}
					binary.NativeEndian.PutUint64(sent[:], n)
					if err := roundTrip(l, sent, got); err != nil {
						b.Fatal(err)
					}
					end := time.Now()
					times.add(end.Sub(start))
					start = end
				}
				times.report(b)
			})
		}
	}
}

func roundTrip(l link, sent, got *message) error {
	if err := l.send(sent); err != nil {
		return err
	}
	if err := l.receive(got); err != nil {
		return err
	}
	if *got != *sent {
		return fmt.Errorf("sent %x, got %x", *sent, *got)
	}
	return nil
}

// echo KIND ARGS sends back what it receives until the other end is closed.
func echo(args []string) error {
	kind, err := find(linkKinds, args[0])
	if err != nil {
		return err
	}
	l, err := kind.echo(args[1:])
	if err != nil {
		return err
	}
	for m := new(message); ; {
		if err := l.receive(m); errors.Is(err, io.EOF) || errors.Is(err, fs.ErrClosed) {
			return nil
		} else if err != nil {
			return err
		}
		if err := l.send(m); err != nil {
			return err
		}
	}
}

// segmentLink is a segment for each direction.
type segmentLink struct {
	out, in *segment.Segment[message]
	seen    uint64 // version
}

func (l *segmentLink) send(m *message) error { return l.out.Store(*m) }

func (l *segmentLink) receive(m *message) (err error) {
	if _, err = l.in.Wait(context.Background(), l.seen); err != nil {
		return err
	}
	l.seen, err = l.in.LoadInto(m)
	return err
}

func dialSegments(b *testing.B) link {
	there, back, c := proctest.Name(b), proctest.Name(b), codec.Fixed[message]()
	l := &segmentLink{out: open(b, there, c, nil), in: open(b, back, c, nil)}
	proctest.Start(b, "echo", "segment", there, back).Expect("ready")
	return l
}

func echoSegments(args []string) (link, error) {
	c := codec.Fixed[message]()
	in, err := segment.Attach(args[0], c, nil)
	if err != nil {
		return nil, err
	}
	out, err := segment.Attach(args[1], c, nil)
	if err != nil {
		return nil, err
	}
	go func() {
		proctest.Await()
		in.Close()
	}()
	fmt.Println("ready")
	return &segmentLink{out: out, in: in}, nil
}

// streamLink is a stream for each direction.
type streamLink struct {
	out io.Writer
	in  io.Reader
}

func (l streamLink) send(m *message) error {
	_, err := l.out.Write(m[:])
	return err
}

func (l streamLink) receive(m *message) error {
	_, err := io.ReadFull(l.in, m[:])
	return err
}

func dialPipes(b *testing.B) link {
	cmd := proctest.Command("echo", "pipe")
	out, err := cmd.StdinPipe()
	must(b, err)
	in, err := cmd.StdoutPipe()
	must(b, err)
	must(b, cmd.Start())
	b.Cleanup(func() {
		out.Close()
		must(b, cmd.Wait())
	})
	return streamLink{out, in}
}

func echoPipes([]string) (link, error) { return streamLink{os.Stdout, os.Stdin}, nil }

func dialUnix(b *testing.B) link {
	// The path of a socket may have about a hundred bytes, which those of b.TempDir easily exceed.
	dir, err := os.MkdirTemp("", "bench")
	must(b, err)
	b.Cleanup(func() { os.RemoveAll(dir) })
	socket := filepath.Join(dir, "socket")
	listener, err := net.Listen("unix", socket)
	if no, ok := errors.AsType[*os.SyscallError](err); ok && no.Syscall == "socket" {
		b.Skip("this system has no such sockets, as Wine has none:", err)
	}
	keep(b, listener, err)
	proctest.Start(b, "echo", "unix", socket)
	conn, err := listener.Accept()
	keep(b, conn, err)
	return streamLink{conn, conn}
}

func echoUnix(args []string) (link, error) {
	conn, err := net.Dial("unix", args[0])
	return streamLink{conn, conn}, err
}

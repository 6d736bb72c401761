package harness

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"slices"
	"testing"
	"time"
)

// A Message is sent to another process and back.
type Message [64]byte

// A RoundTrip sends a message and waits for the reply, which has the same
// content.
type RoundTrip func(sent, got *Message) error

// An Echo is a kind of connection to a process that sends back what it
// receives.
type Echo struct {
	// Dial starts the process, by proctest.Start(b, "echo", impl, args…), and
	// connects to it until the benchmark ends.
	Dial func(b *testing.B) RoundTrip
	// Serve runs in the process, until its peer closes the connection or its
	// standard input ends.
	Serve func(args []string) error
}

// Echoes are kinds of connections, by mechanism. Their keys are like those of
// Locks.
type Echoes map[string]Echo

// Roles returns the roles of the processes that the benchmarks start.
func (e Echoes) Roles() map[string]func(args []string) error {
	return map[string]func([]string) error{"echo": func(args []string) error {
		kind, err := Find(e, args[0])
		if err != nil {
			return err
		}
		return kind.Serve(args[1:])
	}}
}

// Run measures all of them: one message immediately after the other
// (load=busy), and with a millisecond of rest before each, which is not counted
// (load=idle).
func (e Echoes) Run(b *testing.B) {
	for _, impl := range slices.Sorted(maps.Keys(e)) {
		for _, load := range []string{"busy", "idle"} {
			name := implName(impl, fmt.Sprintf("size=%dB/load=%s", len(Message{}), load))
			Run(b, name, 0, func(b *testing.B) { e[impl].measure(b, load == "idle") })
		}
	}
}

func (e Echo) measure(b *testing.B, rest bool) {
	roundTrip, times := e.Dial(b), new(Histogram)
	sent, got := new(Message), new(Message)
	once := func(n uint64) {
		binary.NativeEndian.PutUint64(sent[:], n)
		if err := roundTrip(sent, got); err != nil {
			b.Fatal(err)
		}
		if *got != *sent {
			b.Fatalf("sent %x, got %x", *sent, *got)
		}
	}
	once(1 << 63) // waits until the process is ready
	start := time.Now()
	for n := uint64(1); b.Loop(); n++ {
		if rest {
			time.Sleep(time.Millisecond)
			start = time.Now()
		}
		once(n)
		end := time.Now()
		times.Add(end.Sub(start))
		start = end
	}
	times.Report(b)
}

// OverStream returns the RoundTrip over a stream for each direction, or one
// stream for both.
func OverStream(out io.Writer, in io.Reader) RoundTrip {
	return func(sent, got *Message) error {
		if _, err := out.Write(sent[:]); err != nil {
			return err
		}
		_, err := io.ReadFull(in, got[:])
		return err
	}
}

// ServeStream sends back the messages that it receives, until the other end is
// closed.
func ServeStream(out io.Writer, in io.Reader) error {
	for m := new(Message); ; {
		if _, err := io.ReadFull(in, m[:]); errors.Is(err, io.EOF) || errors.Is(err, fs.ErrClosed) {
			return nil
		} else if err != nil {
			return err
		}
		if _, err := out.Write(m[:]); err != nil {
			return err
		}
	}
}

package harness

import (
	"encoding/binary"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"testing"

	"github.com/sharedseg/sharedseg/internal/proctest"
)

// An End is one end of a stream of messages, each of which one receiver gets. Its
// methods are not called concurrently.
type End interface {
	Send(message []byte) error
	Receive(message []byte) error // of the same length
	Close() error

	// One that also has a method Flush() error is flushed before it is said that all
	// is sent.
}

// A Stream is a way to send messages from some processes to others.
type Stream struct {
	// Limit is the size of the largest message, and Shared that of the largest if
	// there are several senders or receivers. 0: any.
	Limit, Shared int
	// Make makes the stream for messages of a size, until the benchmark ends. Open is
	// called with what it returns, in the processes that use it.
	Make func(b *testing.B, size int) (args []string, send, receive *os.File)
	// Open opens an end. file is what Make returned for such an end, nil if nothing.
	Open func(args []string, file *os.File, size int) (End, error)
}

// Streams are such ways, by mechanism, with keys as those of Locks.
type Streams map[string]Stream

// Roles are those of the processes that the benchmarks start.
func (s Streams) Roles() map[string]func(args []string) error {
	return map[string]func([]string) error{"send": s.send, "receive": s.receive}
}

// Run measures all of them: the time per message, with so many processes that send
// (from) and so many that receive (to), as fast as they can.
func (s Streams) Run(b *testing.B) {
	for _, impl := range slices.Sorted(maps.Keys(s)) {
		for _, size := range []int{64, 4 << 10, 1 << 20} {
			for _, procs := range [][2]int{{1, 1}, {1, 2}, {2, 1}, {2, 2}} {
				limit := s[impl].Limit
				if procs != [2]int{1, 1} && s[impl].Shared != 0 {
					limit = s[impl].Shared
				}
				if limit != 0 && size > limit {
					continue
				}
				name := implName(impl, fmt.Sprintf("from=%d/to=%d/size=%s", procs[0], procs[1], SizeName(size)))
				Run(b, name, size, func(b *testing.B) { s.measure(b, impl, procs[0], procs[1], size) })
			}
		}
	}
}

// SizeName is a number of bytes as names of benchmarks have it.
func SizeName(size int) string {
	switch {
	case size >= 1<<20:
		return fmt.Sprint(size>>20, "MiB")
	case size >= 1<<10:
		return fmt.Sprint(size>>10, "KiB")
	}
	return fmt.Sprint(size, "B")
}

// last is the number of a message that ends the receiver that gets it.
const last = 1<<64 - 1

// Last reports whether a message is one that ends the receiver that gets it.
func Last(message []byte) bool { return binary.NativeEndian.Uint64(message) == last }

func (s Streams) measure(b *testing.B, impl string, from, to, size int) {
	args, send, receive := s[impl].Make(b, size)
	start := func(role string, file *os.File) *proctest.Proc {
		cmd := proctest.Command(role, append([]string{impl, strconv.Itoa(size)}, args...)...)
		if file != nil {
			cmd.ExtraFiles = []*os.File{file}
		}
		p := startStream(b, cmd)
		return p
	}
	var senders, receivers []*proctest.Proc
	for range to {
		receivers = append(receivers, start("receive", receive))
	}
	for range from {
		senders = append(senders, start("send", send))
	}
	b.ResetTimer()
	left := b.N
	for i, p := range senders {
		n := left / (from - i)
		left -= n
		p.Say(strconv.Itoa(n))
	}
	for _, p := range senders {
		p.Expect("done")
	}
	senders[0].Say(fmt.Sprint("end ", to))
	got := 0
	for _, p := range receivers {
		n, err := strconv.Atoi(p.Line())
		Must(b, err)
		got += n
	}
	b.StopTimer()
	for _, p := range slices.Concat(senders, receivers) {
		p.Wait()
	}
	if got != b.N {
		b.Fatalf("%d messages were sent, %d received", b.N, got)
	}
}

func startStream(b *testing.B, cmd *exec.Cmd) *proctest.Proc {
	p := proctest.StartCmd(b, cmd)
	p.Expect("ready")
	return p
}

func (s Streams) open(args []string) (end End, message []byte, err error) {
	stream, err := Find(s, args[0])
	if err != nil {
		return nil, nil, err
	}
	size, err := strconv.Atoi(args[1])
	if err != nil {
		return nil, nil, err
	}
	var file *os.File
	if f := os.NewFile(3, "stream"); f != nil {
		if _, err := f.Stat(); err == nil {
			file = f
		}
	}
	end, err = stream.Open(args[2:], file, size)
	return end, make([]byte, size), err
}

// send IMPL SIZE … sends as many messages as it is told, and in the end, perhaps,
// those that end receivers.
func (s Streams) send(args []string) error {
	end, message, err := s.open(args)
	if err != nil {
		return err
	}
	defer end.Close()
	fmt.Println("ready")
	n, err := strconv.Atoi(proctest.Await())
	if err != nil {
		return err
	}
	for i := range n {
		binary.NativeEndian.PutUint64(message, uint64(i))
		if err := end.Send(message); err != nil {
			return err
		}
	}
	if f, ok := end.(interface{ Flush() error }); ok {
		if err := f.Flush(); err != nil {
			return err
		}
	}
	fmt.Println("done")
	var ends int
	fmt.Sscanf(proctest.Await(), "end %d", &ends)
	binary.NativeEndian.PutUint64(message, last)
	for range ends {
		if err := end.Send(message); err != nil {
			return err
		}
	}
	return nil
}

// receive IMPL SIZE … receives until it gets a message that ends it, and says how
// many it got before.
func (s Streams) receive(args []string) error {
	end, message, err := s.open(args)
	if err != nil {
		return err
	}
	defer end.Close()
	fmt.Println("ready")
	for n := 0; ; n++ {
		if err := end.Receive(message); err != nil {
			return err
		}
		if Last(message) {
			fmt.Println(n)
			proctest.Await()
			return nil
		}
	}
}

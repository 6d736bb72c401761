package bench

import (
	"fmt"
	"os"
	"syscall"
	"testing"
	"unsafe"

	"github.com/sharedseg/sharedseg/bench/internal/harness"
	"github.com/sharedseg/sharedseg/internal/proctest"
	"golang.org/x/sys/unix"
)

// rawStreams are mechanisms that the kernel has for messages.
var rawStreams = harness.Streams{
	"seqpacket": {Make: makeSeqpacket, Open: openSocket, Limit: 64 << 10},
	"mq":        {Make: makeMQ, Open: openMQ, Limit: 8 << 10}, // what an unprivileged user may have
}

func makeSeqpacket(b *testing.B, size int) (args []string, send, receive *os.File) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	harness.Must(b, err)
	send, receive = os.NewFile(uintptr(fds[0]), "send"), os.NewFile(uintptr(fds[1]), "receive")
	harness.Keep(b, send, nil)
	harness.Keep(b, receive, nil)
	return nil, send, receive
}

// socketEnd is a socket that blocks its thread.
type socketEnd int

func openSocket(_ []string, file *os.File, _ int) (harness.End, error) {
	if file == nil {
		return nil, os.ErrInvalid
	}
	return socketEnd(file.Fd()), nil
}

func (e socketEnd) Send(m []byte) error {
	return uninterrupted(func() error { _, err := unix.Write(int(e), m); return err })
}

func (e socketEnd) Receive(m []byte) error {
	return uninterrupted(func() error {
		n, err := unix.Read(int(e), m)
		if err == nil && n != len(m) {
			err = fmt.Errorf("a message of %d bytes", n)
		}
		return err
	})
}

func (e socketEnd) Close() error { return unix.Close(int(e)) }

// mqAttr is struct mq_attr of mq_open(3).
type mqAttr struct {
	flags, maxmsg, msgsize, curmsgs int
	_                               [4]int
}

func mqOpen(name string, flags, size int) (mqEnd, error) {
	p, err := syscall.BytePtrFromString(name)
	if err != nil {
		return 0, err
	}
	attr := mqAttr{maxmsg: 10, msgsize: size}
	fd, _, errno := unix.Syscall6(unix.SYS_MQ_OPEN, uintptr(unsafe.Pointer(p)), uintptr(flags|unix.O_CLOEXEC), 0o600, uintptr(unsafe.Pointer(&attr)), 0, 0)
	if errno != 0 {
		return 0, fmt.Errorf("mq_open: %w", errno)
	}
	return mqEnd(fd), nil
}

func makeMQ(b *testing.B, size int) (args []string, send, receive *os.File) {
	name := proctest.Name(b)
	mq, err := mqOpen(name, unix.O_RDWR|unix.O_CREAT|unix.O_EXCL, size)
	harness.Keep(b, mq, err)
	b.Cleanup(func() {
		p, err := syscall.BytePtrFromString(name)
		harness.Must(b, err)
		if _, _, errno := unix.Syscall(unix.SYS_MQ_UNLINK, uintptr(unsafe.Pointer(p)), 0, 0); errno != 0 {
			b.Error("mq_unlink:", errno)
		}
	})
	return []string{name}, nil, nil
}

// mqEnd is a POSIX message queue.
type mqEnd int

func openMQ(args []string, _ *os.File, size int) (harness.End, error) {
	return mqOpen(args[0], unix.O_RDWR, size)
}

func (e mqEnd) Send(m []byte) error { return e.call(unix.SYS_MQ_TIMEDSEND, m) }

func (e mqEnd) Receive(m []byte) error { return e.call(unix.SYS_MQ_TIMEDRECEIVE, m) }

func (e mqEnd) call(trap uintptr, m []byte) error {
	return uninterrupted(func() error {
		_, _, errno := unix.Syscall6(trap, uintptr(e), uintptr(unsafe.Pointer(unsafe.SliceData(m))), uintptr(len(m)), 0, 0, 0)
		if errno != 0 {
			return errno
		}
		return nil
	})
}

func (e mqEnd) Close() error { return unix.Close(int(e)) }

// rawEchoes are the same, there and back.
var rawEchoes = harness.Echoes{
	"mq":        {Dial: dialMQ, Serve: serveMQ},
	"seqpacket": {Dial: dialSeqpacket, Serve: serveSeqpacket},
}

func dialMQ(b *testing.B) harness.RoundTrip {
	size := len(harness.Message{})
	there, _, _ := makeMQ(b, size)
	back, _, _ := makeMQ(b, size)
	out, err := openMQ(there, nil, size)
	harness.Keep(b, out, err)
	in, err := openMQ(back, nil, size)
	harness.Keep(b, in, err)
	echo := proctest.Start(b, "echo", "mq", there[0], back[0])
	b.Cleanup(func() { echo.Kill() })
	return overEnds(out, in)
}

func overEnds(out, in harness.End) harness.RoundTrip {
	return func(sent, got *harness.Message) error {
		if err := out.Send(sent[:]); err != nil {
			return err
		}
		return in.Receive(got[:])
	}
}

func serveMQ(args []string) error {
	size := len(harness.Message{})
	in, err := openMQ(args[:1], nil, size)
	if err != nil {
		return err
	}
	out, err := openMQ(args[1:], nil, size)
	if err != nil {
		return err
	}
	return serveEnds(out, in)
}

// serveEnds sends back what comes in, until it is killed.
func serveEnds(out, in harness.End) error {
	for m := new(harness.Message); ; {
		if err := in.Receive(m[:]); err != nil {
			return err
		}
		if err := out.Send(m[:]); err != nil {
			return err
		}
	}
}

func dialSeqpacket(b *testing.B) harness.RoundTrip {
	_, ours, theirs := makeSeqpacket(b, 0)
	cmd := proctest.Command("echo", "seqpacket")
	cmd.ExtraFiles = []*os.File{theirs}
	echo := proctest.StartCmd(b, cmd)
	b.Cleanup(func() { echo.Kill() })
	end := socketEnd(ours.Fd())
	return overEnds(end, end)
}

func serveSeqpacket([]string) error { return serveEnds(socketEnd(3), socketEnd(3)) }

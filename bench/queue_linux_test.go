package bench

import (
	"errors"
	"io"
	"net"
	"os"
	"unsafe"

	"github.com/sharedseg/sharedseg/bench/internal/harness"
	"github.com/sharedseg/sharedseg/queue"
	"golang.org/x/sys/unix"
)

// rawQueues are the mechanisms that the queue is compared with. Where several
// processes share an end, a message must arrive in one piece.
var rawQueues = harness.Queues{
	"pipe": connected(func(from, to, size int) bool {
		return from == 1 && to == 1 || size <= pipeBuf
	}, func() (out, in *os.File, err error) {
		var fds [2]int
		err = unix.Pipe2(fds[:], unix.O_CLOEXEC|unix.O_NONBLOCK)
		return os.NewFile(uintptr(fds[1]), "pipe"), os.NewFile(uintptr(fds[0]), "pipe"), err
	}),
	"unixpacket": connected(func(_, _, size int) bool {
		return size < 64<<10 // the system's limit
	}, func() (out, in *os.File, err error) {
		fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
		return os.NewFile(uintptr(fds[0]), "unixpacket"), os.NewFile(uintptr(fds[1]), "unixpacket"), err
	}),
	"tcp": connected(func(from, to, _ int) bool { return from == 1 && to == 1 }, connectTCP),
	"mq":  limited(openMessageQueue, 8<<10), // the system's limit
}

const pipeBuf = 4 << 10 // PIPE_BUF

// connected returns a kind of queue that consists of two connected files. What
// is written to one can be read from the other.
func connected(takes func(from, to, size int) bool, connect func() (out, in *os.File, err error)) harness.QueueKind {
	return harness.QueueKind{
		Create: func(string, int) (harness.Queue, []*os.File, error) {
			out, in, err := connect()
			return connection{out, in}, []*os.File{out, in}, err
		},
		Open: func(string, int) (harness.Queue, error) {
			return connection{os.NewFile(3, "out"), os.NewFile(4, "in")}, nil
		},
		Takes: takes,
	}
}

// connection consists of two files in blocking mode, so that reads and writes
// do not go through the poller of package os.
type connection struct{ out, in *os.File }

func (c connection) Send(m []byte) error {
	_, err := c.out.Write(m)
	return err
}

func (c connection) Receive(m []byte) error {
	_, err := io.ReadFull(c.in, m)
	return err
}

func (c connection) Close() error { return errors.Join(c.out.Close(), c.in.Close()) }

// connectTCP leaves TCP_NODELAY on, the default of package net.
func connectTCP() (out, in *os.File, err error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, nil, err
	}
	defer listener.Close()
	dialed, err := net.Dial("tcp", listener.Addr().String())
	if err != nil {
		return nil, nil, err
	}
	defer dialed.Close()
	accepted, err := listener.Accept()
	if err != nil {
		return nil, nil, err
	}
	defer accepted.Close()
	if out, err = dialed.(*net.TCPConn).File(); err != nil {
		return nil, nil, err
	}
	in, err = accepted.(*net.TCPConn).File()
	return out, in, err
}

// limited returns a kind of queue whose messages have a maximum size.
func limited(open func(name string, size int) (harness.Queue, error), limit int) harness.QueueKind {
	kind := harness.NamedQueue(open)
	kind.Takes = func(_, _, size int) bool { return size <= limit }
	return kind
}

// messageQueue is a POSIX message queue, mq_overview(7). Its calls block.
type messageQueue struct {
	name string // "" if another process has created it
	fd   int
}

// openMessageQueue creates a queue with room for as many messages as one of
// this library, if the process is permitted to, and otherwise for as many as
// any process is.
func openMessageQueue(name string, size int) (harness.Queue, error) {
	var fd int
	err := error(unix.EINVAL)
	for _, depth := range []int{queue.DefaultDepth, 10} {
		// mq_maxmsg and mq_msgsize are the second and the third of eight longs.
		attr := [8]int{1: depth, 2: size}
		if err == unix.EINVAL || err == unix.EMFILE {
			fd, err = mqOpen(name, unix.O_RDWR|unix.O_CREAT|unix.O_EXCL|unix.O_CLOEXEC, &attr)
		}
	}
	if err == unix.EEXIST {
		fd, err = mqOpen(name, unix.O_RDWR|unix.O_CLOEXEC, nil)
		name = ""
	}
	return &messageQueue{name, fd}, os.NewSyscallError("mq_open", err)
}

// mqOpen is the system call, which takes names without a slash.
func mqOpen(name string, flags int, attr *[8]int) (fd int, err error) {
	n, err := unix.BytePtrFromString(name)
	if err != nil {
		return 0, err
	}
	f, _, errno := unix.Syscall6(unix.SYS_MQ_OPEN, uintptr(unsafe.Pointer(n)), uintptr(flags), 0o600,
		uintptr(unsafe.Pointer(attr)), 0, 0)
	if errno != 0 {
		return 0, errno
	}
	return int(f), nil
}

func (q *messageQueue) Send(m []byte) error { return q.transfer(unix.SYS_MQ_TIMEDSEND, m) }

func (q *messageQueue) Receive(m []byte) error { return q.transfer(unix.SYS_MQ_TIMEDRECEIVE, m) }

func (q *messageQueue) transfer(trap uintptr, m []byte) error {
	return uninterrupted(func() error {
		if _, _, errno := unix.Syscall6(trap, uintptr(q.fd), uintptr(unsafe.Pointer(&m[0])), uintptr(len(m)), 0, 0, 0); errno != 0 {
			return errno
		}
		return nil
	})
}

// Close also unlinks the queue if this process created it.
func (q *messageQueue) Close() error {
	if q.name != "" {
		n, err := unix.BytePtrFromString(q.name)
		if err != nil {
			return err
		}
		if _, _, errno := unix.Syscall(unix.SYS_MQ_UNLINK, uintptr(unsafe.Pointer(n)), 0, 0); errno != 0 {
			return os.NewSyscallError("mq_unlink", errno)
		}
	}
	return unix.Close(q.fd)
}

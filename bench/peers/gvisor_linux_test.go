package peers

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"gvisor.dev/gvisor/pkg/flipcall"
	"gvisor.dev/gvisor/pkg/tcpip/link/sharedmem/pipe"

	"github.com/sharedseg/sharedseg/bench/internal/harness"
	"github.com/sharedseg/sharedseg/internal/proctest"
)

func init() {
	queues["gvisor-pipe"] = harness.QueueKind{
		Create: func(name string, size int) (harness.Queue, []*os.File, error) {
			f, err := createFile(name, depth*(size+8)+8)
			if err != nil {
				return nil, nil, err
			}
			q, err := openGvisorPipe(name)
			if err != nil {
				return nil, nil, errors.Join(err, f.Close())
			}
			q.file = f
			q.tx.Init(q.mem.MMap)
			return q, nil, nil
		},
		Open:  func(name string, _ int) (harness.Queue, error) { return openGvisorPipe(name) },
		Takes: func(from, to, _ int) bool { return from == 1 && to == 1 },
	}
	echoes["gvisor-flipcall"] = harness.Echo{Dial: dialFlipcall, Serve: serveFlipcall}
}

// gvisorPipe is the ring of gVisor's shared-memory network device. It has one
// sender and one receiver. A network device is notified by other means, so here
// a process that waits polls.
type gvisorPipe struct {
	mem  *mapping
	tx   pipe.Tx
	rx   pipe.Rx
	file interface{ Close() error } // of the process that creates it
	sent bool
}

func openGvisorPipe(name string) (*gvisorPipe, error) {
	mem, err := openMapping(name)
	if err != nil {
		return nil, err
	}
	q := &gvisorPipe{mem: mem}
	q.rx.Init(mem.MMap)
	return q, nil
}

func (q *gvisorPipe) Send(m []byte) error {
	if !q.sent {
		q.sent = true
		q.tx.Init(q.mem.MMap)
	}
	b := q.tx.Push(uint64(len(m)))
	for b == nil {
		runtime.Gosched()
		b = q.tx.Push(uint64(len(m)))
	}
	copy(b, m)
	q.tx.Flush()
	return nil
}

func (q *gvisorPipe) Receive(m []byte) error {
	b := q.rx.Pull()
	for b == nil {
		runtime.Gosched()
		b = q.rx.Pull()
	}
	if n := copy(m, b); n != len(m) {
		return fmt.Errorf("%d of %d bytes arrived", n, len(m))
	}
	q.rx.Flush()
	return nil
}

func (q *gvisorPipe) Close() error {
	err := q.mem.Close()
	if q.file != nil {
		err = errors.Join(err, q.file.Close())
	}
	return err
}

// flipcallEnd is one end of calls between processes through a new file.
func flipcallEnd(side flipcall.EndpointSide, name string) (*flipcall.Endpoint, error) {
	f, err := os.OpenFile(filepath.Join(shmDir, name), os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	length := flipcall.PacketWindowLengthForDataCap(uint32(len(harness.Message{})))
	return flipcall.NewEndpoint(side, flipcall.PacketWindowDescriptor{FD: int(f.Fd()), Length: length})
}

func dialFlipcall(b *testing.B) harness.RoundTrip {
	name := proctest.Name(b)
	f, err := createFile(name, flipcall.PacketWindowLengthForDataCap(uint32(len(harness.Message{}))))
	harness.Keep(b, f, err)
	client, err := flipcallEnd(flipcall.ClientSide, name)
	harness.Must(b, err)
	server := proctest.Start(b, "echo", "gvisor-flipcall", name)
	b.Cleanup(func() {
		client.Shutdown()
		server.Wait()
		client.Destroy()
	})
	harness.Must(b, client.Connect())
	return func(sent, got *harness.Message) error {
		copy(client.Data(), sent[:])
		n, err := client.SendRecv(uint32(len(sent)))
		if err == nil && copy(got[:], client.Data()[:n]) != len(got) {
			err = fmt.Errorf("%d bytes came back", n)
		}
		return err
	}
}

// serveFlipcall, with the argument NAME, answers until the client shuts down
// the connection.
func serveFlipcall(args []string) error {
	server, err := flipcallEnd(flipcall.ServerSide, args[0])
	if err != nil {
		return err
	}
	defer server.Destroy()
	m := new(harness.Message)
	n, err := server.RecvFirst()
	for err == nil {
		copy(m[:], server.Data()[:n])
		copy(server.Data(), m[:n])
		n, err = server.SendRecv(n)
	}
	if errors.As(err, new(flipcall.ShutdownError)) {
		return nil
	}
	return err
}

// Package peers contains only benchmarks, of other modules that do what this
// library does. The benchmarks have the same names, methods and units as those
// in package bench, so that benchstat shows both as columns of one table. They
// are in a separate module, so that users of the library do not depend on the
// modules that it is compared with.
//
//	cd bench/peers && go test -run '^$' -bench .
//
// On Linux, with cgo, that needs a C++ compiler and the headers of Boost, for
// example from Debian's package libboost-dev.
//
// Package bench describes Load, Store, Lock, OpenClose, Takeover, RoundTrip and
// Queue. The mechanisms:
//
//	mmap-go       github.com/edsrzf/mmap-go: copy to and from its mapping; OpenClose is open, Map, close and Unmap
//	gofrs-flock   github.com/gofrs/flock: flock(2) on a file that Lock opens and Unlock closes
//	go-filemutex  github.com/alexflint/go-filemutex: flock(2) on a file that stays open
//	juju-mutex    github.com/juju/mutex/v2: flock(2) in a goroutine, on a file that Acquire opens and Release closes
//	pthread       a robust pthread_mutex_t in a mapped file, through cgo; only on Linux with cgo
//	boost         the message_queue of Boost.Interprocess, through cgo, with room for 64 messages; only on Linux with cgo
//	nats          github.com/nats-io/nats-server/v2 on the loopback interface. Queue: a work queue of JetStream in memory,
//	              each message acknowledged, with up to 64 under way from each sender and to each receiver. RoundTrip: a
//	              request and its response, without a stream. The server runs in the process of the benchmark, which itself
//	              sends and receives only with procs=1
//	gvisor-pipe   gvisor.dev/gvisor/pkg/tcpip/link/sharedmem/pipe: the ring of a network device in a mapped file, with one
//	              sender and one receiver, which poll while there is nothing to do; only on Linux
//	gvisor-flipcall  gvisor.dev/gvisor/pkg/flipcall: calls through a mapped file; only on Linux
//	grpc          google.golang.org/grpc: a unary call of its benchmark service, on a socket of the unix domain
//
// On Windows, gofrs-flock and go-filemutex use LockFileEx instead of flock(2),
// and juju-mutex uses a mutex of the kernel.
//
// Not all of them do as much as this library. With mmap-go, a reader can see
// half of a value, and a process whose file was truncated crashes. The locks
// wait without a limit or a context: locks of files could have these only by
// polling, or by leaving a goroutine behind. Only pthread reports that the last
// owner died. Its owner is a thread, so Lock ties the goroutine to its thread.
// Of the queues, only nats delivers a message to another receiver when the
// first one dies, after a time-out. With boost and gvisor-pipe that message is
// lost, and with boost all processes wait forever if the dead one held the
// lock. A call of grpc has framing, headers and flow control, which messages of
// 64 bytes do not need.
//
// On Linux the files are in /dev/shm, like segments, so that no disk is
// measured. Elsewhere they are in os.TempDir.
package peers

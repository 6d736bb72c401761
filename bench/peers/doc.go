// Package peers has benchmarks only, of what other modules have for what this
// library does. They have the names, the methods and the units of those in
// package bench, so that benchstat shows both as columns of one table. They are
// a module of their own, so that nobody who uses the library comes to require
// the modules that it is compared with.
//
//	cd bench/peers && go test -run '^$' -bench .
//
// On Linux, with cgo, that needs a C++ compiler and the headers of Boost, as in
// Debian's package libboost-dev.
//
// Load, Store, Lock, OpenClose, Takeover, RoundTrip and Queue are what package
// bench describes. The mechanisms:
//
//	mmap-go       github.com/edsrzf/mmap-go: copy to and from its mapping; OpenClose is open, Map, close and Unmap
//	gofrs-flock   github.com/gofrs/flock: flock(2) on a file that Lock opens and Unlock closes
//	go-filemutex  github.com/alexflint/go-filemutex: flock(2) on a file that stays open
//	juju-mutex    github.com/juju/mutex/v2: flock(2) in a goroutine, on a file that Acquire opens and Release closes
//	pthread       a robust pthread_mutex_t in a mapped file, through cgo; only on Linux with cgo
//	boost         the message_queue of Boost.Interprocess, through cgo, with room for 64 messages; only on Linux with cgo
//	nats          github.com/nats-io/nats-server/v2 on the loopback interface. Queue: a work queue of JetStream in memory,
//	              each message acknowledged, with 64 on the way from each sender and to each receiver. RoundTrip: a request
//	              and its response, without a stream. The server is in the process of the benchmark, which sends and
//	              receives nothing itself but with procs=1
//	gvisor-pipe   gvisor.dev/gvisor/pkg/tcpip/link/sharedmem/pipe: the ring of a network device in a mapped file, with one
//	              sender and one receiver, which look again and again while there is nothing to do; only on Linux
//	gvisor-flipcall  gvisor.dev/gvisor/pkg/flipcall: calls through a mapped file; only on Linux
//	grpc          google.golang.org/grpc: a unary call of its benchmark service, on a socket of the unix domain
//
// On Windows, instead of flock(2), gofrs-flock and go-filemutex use LockFileEx,
// and juju-mutex a mutex of the kernel.
//
// Not all of them do as much as this library. With mmap-go nothing keeps a
// reader from half of a value, or a process alive whose file was truncated. The
// locks wait without a limit or a context, which those of files could only have
// by polling or by leaving a goroutine behind. Of them pthread alone learns
// that the last owner died; its owner is a thread, to which Lock ties the
// goroutine. Of the queues, nats alone hands a message to another receiver when
// the first one dies, after a time-out. With boost and gvisor-pipe that message
// is lost, and with boost all wait for ever if the lock is lost with it. A call
// of grpc has framing, headers and flow control, which messages of 64 bytes do
// not need.
//
// Files are where segments are on Linux, in /dev/shm, so that no disk is
// measured, and elsewhere in os.TempDir.
package peers

// Package bench contains only benchmarks. They help to choose between the
// mechanisms of this library and others. Each mechanism is compared with what
// one would use without the library, and with the limit of the machine.
//
//	go test -run '^$' -bench . ./bench
//	go test -run '^$' -bench Takeover ./bench -deaths 1000   # instead of 100 in each operation
//	SHAREDSEG_TRAP=off go test -run '^$' -bench . ./bench    # with the guard instead of the trap
//	go -C bench/peers run ./report                           # all of these and package peers, for docs/benchmarks.md
//
// A complete run takes about six minutes, and needs two processors that are
// otherwise idle.
//
// The benchmarks, by the regular expression that selects them:
//
//	Load       one value from the mapping to the heap; call=Borrow: borrow the value and release it, without reading it
//	Store      one value from the heap to the mapping; call=Loan: lend room for a value and publish it, without writing it
//	Borrowers  one Store while borrowers=N other processes have borrowed a value each
//	Lock       lock and unlock; procs=2, 4: so many processes do that continuously for a second
//	OpenClose  attach to a name that another handle has open, and close
//	First      the same, with the first Store or Load of a large value in between; populate=on: Options.Populate
//	Readers    loads per second of one process, of two at a time, and the ratio; no process stores
//	FanOut     stores per second of one process, and at the same time loads per second of all readers=N others
//	CatchUp    one follower reads a thousand values that already exist; no process stores
//	Follow     lines per second that one process writes, and at the same time those that all followers=N others read in order
//	Watchers   the time from a store until all watchers=N goroutines of another process, on one handle, have the value
//	Watched    the time from a store to one of segments=N until its watcher has the value; another process watches them all,
//	           each on its own handle
//	RWMutex    op=RLock: RLock and RUnlock, op=Lock: Lock and Unlock; procs=2: one process, two at a time, and the ratio;
//	           writers=1: one process, while another one continuously does Lock and Unlock
//	Semaphore  acquire and release one permit of eight; procs=2: two processes do that continuously
//	Takeover   a lock whose owner was killed, or a message whose receiver was: the time from its death to the next owner
//	Queue      messages from from=N processes to to=N others, each to one of them; procs=1: one goroutine sends and receives
//	           a message
//	RoundTrip  64 bytes to another process and back; load=idle: with 1 ms of rest before each
//
// In addition to the units of package testing there are
//
//	ns/op                    of Lock with several processes: the time per acquisition by any of them
//	ns/op, MB/s              of Queue between processes: per message received by any of them
//	pairs/s                  of RWMutex: RLock and RUnlock; pairs/s-1 and -2 of one process and of two
//	longest-µs               of RWMutex: the longest pair among those that were timed
//	min-share                the fewest acquisitions of one process, relative to an equal share
//	p50-ns, p99-ns, p99.9-ns quantiles of the times of all operations, within 1 %
//	first-ns                 of First: the Store or Load alone
//	loads/s, stores/s        of FanOut; each store has a new value, and each load checks eight words of it
//	torn-%                   of these loads, those that returned parts of two values; a mechanism that prevents that must have 0
//	ns/value                 of CatchUp: ns/op divided by the number of values
//	takes/s                  of Follow: lines read by all followers, each of which checks eight words of each line
//	missed-%                 of Follow: of a follower's lines, those that were overwritten before it read them
//	ns/watcher               ns/op divided by the number of watchers
//	p50-spread-ns            from when the first watcher has a value until the last one has it
//	all-ns                   of Watched: from the first of a series of stores to each segment until all watchers have their values
//	threads                  of the process that watches, on Linux
//	idle-cpu-%               its use of one processor during a second without stores, on Linux
//
// The rest of a benchmark's name consists of key=value parts. The first one is
// the mechanism:
//
//	segment                 segment.Segment, with the codec of another part
//	queue                   queue.Queue: Send, ReceiveInto and Done, with codec.Fixed for 64 bytes and codec.Bytes for more,
//	                        which are copied out of Delivery.Bytes
//	ipcsync.Mutex           this library's named mutex, and likewise its other locks. In RoundTrip, ipcsync.Event and
//	                        ipcsync.Cond signal that there is a message in a segment
//	copy, assign            memmove, or an assignment of the type, between the heap and a mapping of the same kind; nothing
//	                        prevents readers from seeing half of a value
//	copyring                copy into three places of the mapping in turn, as a segment with three slots does
//	mutex, rwmutex          copy under a lock of package sync, which does not work between processes
//	convert                 string(mapped bytes): one allocation and a copy
//	codec                   the codec on the heap, with nothing shared
//	sync.Mutex, flock, ofd  other locks, the first with goroutines=N instead of processes; ofd is fcntl(2) with
//	                        F_OFD_SETLKW; in FanOut, flock is an assignment under LOCK_SH and LOCK_EX
//	mmap                    open, fstat, mmap, munmap and close
//	chan                    goroutines of one process that wait until a channel is closed; in Queue, goroutines instead of
//	                        processes, with a channel of arrays or, for more than 64 bytes, of buffers that are reused
//	pipe, unix, tcp         os.Pipe, a stream socket of the unix domain, and one on the loopback interface; in Follow, unix is
//	                        a socket to each follower, and the slowest one holds up the writer
//	unixpacket, mq          sockets of the unix domain with SOCK_SEQPACKET, and a POSIX message queue
//	netrpc                  a call of net/rpc, with gob, on a socket of the unix domain
//
// For the mechanisms of this library, reads=free or locked is
// Options.LockReads. fault=trap or guard is how the process catches faults of
// mapped memory: by a handler of SIGBUS, which costs nothing until there is
// one, or by debug.SetPanicOnFault in each call. It is the guard if
// SHAREDSEG_TRAP=off is in the environment, and on platforms without a trap.
//
// The size of a value is that of its encoding. FixedBools is codec.Fixed of a
// struct with bools, which the codec must check. With benchstat, the mechanisms
// become columns by
//
//	benchstat -row .name,/codec,/size,/call -col /impl,/reads,/fault new.txt
//
// In Queue, a message of pipe, unixpacket, mq and tcp is one system call at
// each end. A mechanism is left out where it cannot be such a queue. A pipe
// that several processes share keeps only messages of up to PIPE_BUF bytes
// together, and a stream keeps none together. A packet of 1 MiB exceeds the
// system's limits. A message of mq is limited to 8 KiB. All of them except
// queue lose the message of a receiver that is killed.
//
// Other platforms leave out mechanisms that need system calls of Linux.
package bench

// Package bench has benchmarks only, for choosing between this library's
// mechanisms and others. Each of them stands beside what one would use without
// the library, and beside what the machine gives at best.
//
//	go test -run '^$' -bench . ./bench
//	go test -run '^$' -bench Takeover ./bench -deaths 1000   # rather than 100 in each operation
//	SHAREDSEG_TRAP=off go test -run '^$' -bench . ./bench    # with the guard in place of the trap
//	go -C bench/peers run ./report                           # all these and package peers, for docs/benchmarks.md
//
// All of it takes about six minutes, and needs two processors that are
// otherwise idle.
//
// What is measured, by the regular expression that selects it:
//
//	Load       one value, mapping to heap; call=Borrow: borrow it where it is and release it, without a look at it
//	Store      one value, heap to mapping; call=Loan: get the room for it and publish that, without a write to it
//	Borrowers  one Store beside borrowers=N other processes that have borrowed a value each
//	Lock       lock and unlock; procs=2, 4: so many processes do nothing but that for a second
//	OpenClose  attach to what another handle has open, and close
//	First      the same around the first Store or Load of a large value; populate=on: Options.Populate
//	Readers    loads per second of one process, of two at a time, and the ratio; nobody stores
//	FanOut     stores per second of one process, and loads per second of all of readers=N others, meanwhile
//	CatchUp    one follower takes a thousand values that are there; nobody stores
//	Follow     lines per second that one process writes, and that all of followers=N others take in order, meanwhile
//	Watchers   from a store until all of watchers=N goroutines of another process, through one handle, have the value
//	Watched    from a store to one of segments=N until its watcher has the value; another process watches them all, each
//	           through a handle of its own
//	RWMutex    op=RLock: RLock and RUnlock, op=Lock: Lock and Unlock; procs=2: of one process, of two at a time, and the
//	           ratio; writers=1: of a process beside one that does nothing but Lock and Unlock
//	Semaphore  acquire and release one permit of eight; procs=2: two processes do nothing but that
//	Takeover   a lock whose owner was killed, or a message whose receiver was: from its death to the next one
//	Queue      messages from from=N processes to to=N others, each to one of them; procs=1: one goroutine sends a message
//	           and receives it
//	RoundTrip  64 bytes to another process and back; load=idle: with 1 ms of rest before each
//
// Besides the units of package testing there are
//
//	ns/op                    of Lock with several processes: the time per acquisition by any of them
//	ns/op, MB/s              of Queue between processes: per message received by any of them
//	pairs/s                  of RWMutex: RLock and RUnlock; pairs/s-1 and -2 of one process and of two
//	longest-µs               of RWMutex: of a pair, as far as the clock was looked at
//	min-share                the fewest acquisitions of one process, by what it would have if all had the same
//	p50-ns, p99-ns, p99.9-ns quantiles of the times of all operations, within 1 %
//	first-ns                 of First: the Store or Load alone
//	loads/s, stores/s        of FanOut; stores make a new value each time, loads look at eight words of it
//	torn-%                   of these loads, those of parts of two values; a mechanism that is to prevent that fails
//	ns/value                 of CatchUp: ns/op by the number of values
//	takes/s                  of Follow: by all followers, each of which looks at eight words of each line
//	missed-%                 of Follow: of the lines that came by a follower, those overwritten before it took them
//	ns/watcher               ns/op by the number of watchers
//	p50-spread-ns            from when the first watcher has a value until the last has it
//	all-ns                   of Watched: from the first of a store to each segment until all watchers have theirs
//	threads                  of the process that watches, on Linux
//	idle-cpu-%               its use of one processor during a second without stores, on Linux
//
// The rest of a name is key=value parts, the first of which says what is
// measured, the mechanism:
//
//	segment                 segment.Segment, with the codec of another part
//	queue                   queue.Queue: Send, ReceiveInto and Done, with codec.Fixed for 64 bytes and codec.Bytes for more,
//	                        which are copied out of Delivery.Bytes
//	ipcsync.Mutex           this library's named mutex; so the other locks. In RoundTrip, ipcsync.Event and ipcsync.Cond
//	                        say that there is a message, which is in a segment
//	copy, assign            memmove, and an assignment of the type, between the heap and a mapping of the same kind;
//	                        nothing keeps readers from half of a value
//	copyring                copy into three places of the mapping in turn, as a segment of three slots does
//	mutex, rwmutex          copy under a lock of package sync, which is no use between processes
//	convert                 string(mapped bytes), one allocation and a copy
//	codec                   the codec on the heap, nothing shared
//	sync.Mutex, flock, ofd  other locks, the first with goroutines=N instead of processes; ofd is fcntl(2) with
//	                        F_OFD_SETLKW; in FanOut, flock is an assignment under LOCK_SH and LOCK_EX
//	mmap                    open, fstat, mmap, munmap and close
//	chan                    goroutines of one process that wait until a channel is closed; in Queue, goroutines in place of
//	                        processes, with a channel of arrays or, for more than 64 bytes, of buffers that go round
//	pipe, unix, tcp         os.Pipe, a stream socket of the unix domain, and one of the loopback interface; in Follow,
//	                        unix is a socket to each follower, the slowest of which holds up the writer
//	unixpacket, mq          sockets of the unix domain with SOCK_SEQPACKET, and a POSIX message queue
//	netrpc                  a call of net/rpc, with gob, on a socket of the unix domain
//
// Of this library's mechanisms, reads=free or locked is Options.LockReads, and
// fault=trap or guard is how the process catches faults of mapped memory: by a
// handler of SIGBUS, which costs nothing before there is one, or by
// debug.SetPanicOnFault in each call. It is the guard where the environment has
// SHAREDSEG_TRAP=off, and on platforms without a trap.
//
// The size of a value is that of its encoding. FixedBools is codec.Fixed of a
// struct with bools, which are looked at. With benchstat, mechanisms become
// columns by
//
//	benchstat -row .name,/codec,/size,/call -col /impl,/reads,/fault new.txt
//
// In Queue, a message of pipe, unixpacket, mq and tcp is one system call at
// each end. They are left out where they have no such queue: a pipe that
// several processes share keeps messages of PIPE_BUF bytes together, and a
// stream none; a packet of 1 MiB is more than the system's limits; and a
// message of mq may have 8 KiB. All but queue lose what a receiver has that is
// killed.
//
// Where a mechanism needs system calls of Linux, other platforms leave it out.
package bench

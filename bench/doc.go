// Package bench has benchmarks only, for choosing between this library's mechanisms and others. Each of them stands
// beside what one would use without the library, and beside what the machine gives at best.
//
//	go test -run '^$' -bench . ./bench
//	go run ./bench/budgets        # the same, as the tables of docs/benchmarks.md
//
// All of it takes about four minutes, and needs two processors that are otherwise idle.
//
// What is measured, by the regular expression that selects it:
//
//	Load       one value, mapping to heap
//	Store      one value, heap to mapping
//	Lock       lock and unlock; procs=2: while another process does nothing but the same
//	OpenClose  attach to what another handle has open, and let go
//	Readers    loads per second of one process, of two at a time, and the ratio
//	Takeover   a lock whose owner was killed: from its death to the next owner
//	RoundTrip  64 bytes to another process and back; load=idle: with 1 ms of rest after each
//
// The rest of a name is key=value parts, the first of which says what is measured, the mechanism:
//
//	segment                 segment.Segment, with the codec, guard and fault guard of the other parts
//	ipcsync.Mutex           this library's named mutex
//	copy, assign            memmove, and an assignment of the type, between the heap and a mapping of the same kind
//	copyring                copy into three places of the mapping in turn, as a segment of three slots does
//	mutex, rwmutex          copy under a lock of package sync, which is no use between processes
//	convert                 string(mapped bytes), one allocation and a copy
//	codec                   the codec on the heap, nothing shared
//	sync.Mutex, flock, ofd  other locks; ofd is fcntl(2) with F_OFD_SETLKW
//	mmap                    open, fstat, mmap, munmap and close
//	pipe, unix              os.Pipe, and a stream socket of the unix domain
//
// The size of a value is that of its encoding. So, with benchstat, mechanisms become columns by
//
//	benchstat -row .name,/codec,/size,/call -col /impl,/guard,/fault new.txt
//
// Where a mechanism needs system calls of Linux, other platforms leave it out.
package bench

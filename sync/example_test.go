package ipcsync_test

import (
	"fmt"

	"github.com/sharedseg/sharedseg/sync"
)

// In use, the memory is one that processes share, as from mmap(2). Here it is a
// variable of the Go heap, which does for one goroutine only.
func ExampleSeqLock() {
	type point struct{ x, y int64 }
	type memory struct {
		counters ipcsync.Counters
		_        [48]byte // a cache line for the counters alone
		points   [3]point
	}
	mem := new(memory)
	l := ipcsync.NewSeqLock(&mem.counters, len(mem.points), 16)

	// One process at a time, holding a Mutex.
	write := func(p point) {
		version, slot := l.WriteBegin()
		mem.points[slot] = p
		l.WriteEnd(version)
	}
	// Any number of processes, holding nothing.
	read := func() (point, uint64) {
		for {
			version, slot := l.ReadBegin()
			p := mem.points[slot]
			if !l.ReadRetry(version) {
				return p, version
			}
		}
	}

	write(point{1, 2})
	write(point{3, 4})
	p, version := read()
	fmt.Println("version", version, "is", p)
	// Output:
	// version 2 is {3 4}
}

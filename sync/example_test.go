package ipcsync_test

import (
	"context"
	"fmt"
	"log"
	"time"

	"github.com/sharedseg/sharedseg/sync"
)

func Example() {
	m, err := ipcsync.OpenMutex("com.example.mutex", nil)
	if err != nil {
		log.Fatal(err)
	}
	defer m.Close()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := m.Lock(ctx); err != nil {
		log.Fatal(err)
	}

	// No other process holds the mutex here.
	locked, err := m.TryLock()
	fmt.Println(m.Held(), locked, err)

	if err := m.Unlock(); err != nil {
		log.Fatal(err)
	}
	fmt.Println(m.Held())
	// Output:
	// true false <nil>
	// false
}

// In practice, the memory is shared between processes, for example by mmap(2).
// This example uses a Go variable, which is correct for one goroutine only.
func ExampleSeqLock() {
	type point struct{ x, y int64 }
	type memory struct {
		counters ipcsync.Counters
		_        [48]byte // so that the counters have a cache line of their own
		points   [3]point
	}
	mem := new(memory)
	l := ipcsync.NewSeqLock(&mem.counters, len(mem.points), 16)

	// write is called by one process at a time, which holds a Mutex.
	write := func(p point) {
		version, slot := l.WriteBegin()
		mem.points[slot] = p
		l.WriteEnd(version)
	}
	// read is called by any number of processes, without a lock.
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

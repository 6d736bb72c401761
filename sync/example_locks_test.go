package ipcsync_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"sync"

	"github.com/sharedseg/sharedseg/sync"
)

// Readers in all processes share the lock. A writer holds it alone.
func ExampleRWMutex() {
	rw, err := ipcsync.OpenRWMutex("com.example.routes", nil)
	if err != nil {
		log.Fatal(err)
	}
	defer rw.Close()
	ctx := context.Background()
	if err := rw.RLock(ctx); err != nil {
		log.Fatal(err)
	}
	locked, err := rw.TryLock()
	fmt.Println("write while reading:", locked, err)
	if err := rw.RUnlock(); err != nil {
		log.Fatal(err)
	}
	if err := rw.Lock(ctx); err != nil {
		log.Fatal(err)
	}
	defer rw.Unlock()
	locked, err = rw.TryRLock()
	fmt.Println("read while writing:", locked, err)
	// Output:
	// write while reading: false <nil>
	// read while writing: false <nil>
}

// At most four jobs use the disk at a time, in all processes together. If a
// process is killed, its permits are released.
func ExampleSemaphore() {
	disk, err := ipcsync.OpenSemaphore("com.example.disk", 4, nil)
	if err != nil {
		log.Fatal(err)
	}
	defer disk.Close()
	job := func() error {
		if err := disk.Acquire(context.Background(), 1); err != nil {
			return err
		}
		defer disk.Release(1)
		fmt.Println("working")
		return nil
	}
	if err := job(); err != nil {
		log.Fatal(err)
	}
	acquired, err := disk.TryAcquire(4) // for a job that needs the disk alone
	fmt.Println(acquired, err)
	// Output:
	// working
	// true <nil>
}

// A process waits until another process has added a job.
func ExampleCond() {
	m, err := ipcsync.OpenMutex("com.example.jobs", nil)
	if err != nil {
		log.Fatal(err)
	}
	defer m.Close()
	some, err := ipcsync.OpenCond("com.example.jobs.some", m, nil)
	if err != nil {
		log.Fatal(err)
	}
	defer some.Close()
	jobs := 0 // in shared memory, if processes share it

	var adding sync.WaitGroup
	defer adding.Wait()
	adding.Go(func() {
		if err := m.Lock(context.Background()); err != nil {
			log.Fatal(err)
		}
		jobs++
		if err := errors.Join(some.Signal(), m.Unlock()); err != nil {
			log.Fatal(err)
		}
	})

	ctx := context.Background()
	if err := m.Lock(ctx); err != nil {
		log.Fatal(err)
	}
	for jobs == 0 {
		if err := some.Wait(ctx); err != nil {
			log.Fatal(err) // the mutex is not locked
		}
	}
	jobs--
	fmt.Println("did a job")
	if err := m.Unlock(); err != nil {
		log.Fatal(err)
	}
	// Output: did a job
}

// Processes wait until a service is ready. Those that start later find the
// event set and do not wait.
func ExampleEvent() {
	ready, err := ipcsync.OpenEvent("com.example.ready", nil)
	if err != nil {
		log.Fatal(err)
	}
	defer ready.Close()
	var starting sync.WaitGroup
	defer starting.Wait()
	starting.Go(func() {
		if err := ready.Set(); err != nil {
			log.Fatal(err)
		}
	})
	if err := ready.Wait(context.Background()); err != nil {
		log.Fatal(err)
	}
	fmt.Println("ready:", ready.IsSet())
	// Output: ready: true
}

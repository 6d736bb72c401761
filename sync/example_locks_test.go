package ipcsync_test

import (
	"context"
	"errors"
	"fmt"
	"log"

	"github.com/sharedseg/sharedseg/sync"
)

// Readers of all processes read beside each other, and each writer is alone.
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
	fmt.Println("a writer beside a reader:", locked, err)
	if err := rw.RUnlock(); err != nil {
		log.Fatal(err)
	}
	if err := rw.Lock(ctx); err != nil {
		log.Fatal(err)
	}
	defer rw.Unlock()
	locked, err = rw.TryRLock()
	fmt.Println("a reader beside a writer:", locked, err)
	// Output:
	// a writer beside a reader: false <nil>
	// a reader beside a writer: false <nil>
}

// At most four jobs at a time use the disk, of all processes together. What a
// process had that is killed comes back.
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
	acquired, err := disk.TryAcquire(4) // a job that wants the disk for itself
	fmt.Println(acquired, err)
	// Output:
	// working
	// true <nil>
}

// A process waits until there is something to do, which another says.
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
	jobs := 0 // in shared memory, if they are for another process

	go func() {
		m.Lock(context.Background())
		jobs++
		err := errors.Join(some.Signal(), m.Unlock())
		if err != nil {
			log.Fatal(err)
		}
	}()

	ctx := context.Background()
	if err := m.Lock(ctx); err != nil {
		log.Fatal(err)
	}
	for jobs == 0 {
		if err := some.Wait(ctx); err != nil {
			log.Fatal(err) // and the mutex is not locked
		}
	}
	jobs--
	fmt.Println("did a job")
	if err := m.Unlock(); err != nil {
		log.Fatal(err)
	}
	// Output: did a job
}

// Processes wait until the service is ready, and find it so when they come
// later.
func ExampleEvent() {
	ready, err := ipcsync.OpenEvent("com.example.ready", nil)
	if err != nil {
		log.Fatal(err)
	}
	defer ready.Close()
	go func() {
		if err := ready.Set(); err != nil {
			log.Fatal(err)
		}
	}()
	if err := ready.Wait(context.Background()); err != nil {
		log.Fatal(err)
	}
	fmt.Println("ready:", ready.IsSet())
	// Output: ready: true
}

//go:build linux && cgo

// Package pthread wraps the process-shared mutex of the C library for
// benchmarks.
package pthread

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

/*
#cgo LDFLAGS: -pthread
#include <errno.h>
#include <pthread.h>

static int make(pthread_mutex_t *m) {
	pthread_mutexattr_t a;
	int err = pthread_mutexattr_init(&a);
	if (err)
		return err;
	err = pthread_mutexattr_setpshared(&a, PTHREAD_PROCESS_SHARED);
	if (!err)
		err = pthread_mutexattr_setrobust(&a, PTHREAD_MUTEX_ROBUST);
	if (!err)
		err = pthread_mutex_init(m, &a);
	pthread_mutexattr_destroy(&a);
	return err;
}

static int lock(pthread_mutex_t *m) {
	int err = pthread_mutex_lock(m);
	return err == EOWNERDEAD ? pthread_mutex_consistent(m) : err;
}
*/
import "C"

// Mutex is a robust mutex at the start of a mapped file. A thread owns it, not
// a process.
type Mutex struct{ mem []byte }

// Open maps the mutex in a file. It initialises the mutex if the file is new.
// Two processes must not do that at the same time.
func Open(path string) (*Mutex, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	size := int(unsafe.Sizeof(C.pthread_mutex_t{}))
	isNew := info.Size() == 0
	if isNew {
		if err := f.Truncate(int64(size)); err != nil {
			return nil, err
		}
	} else if info.Size() != int64(size) {
		return nil, fmt.Errorf("%s has %d bytes, and a mutex has %d", path, info.Size(), size)
	}
	mem, err := unix.Mmap(int(f.Fd()), 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, os.NewSyscallError("mmap", err)
	}
	m := &Mutex{mem}
	if isNew {
		if err := result("init", C.make(m.c())); err != nil {
			return nil, errors.Join(err, m.Close())
		}
	}
	return m, nil
}

// c returns the mutex for C.
func (m *Mutex) c() *C.pthread_mutex_t {
	return (*C.pthread_mutex_t)(unsafe.Pointer(unsafe.SliceData(m.mem)))
}

// Lock locks the mutex, even after its owner has died. It ties the goroutine to
// its thread until Unlock.
func (m *Mutex) Lock() error {
	runtime.LockOSThread()
	err := result("lock", C.lock(m.c()))
	if err != nil {
		runtime.UnlockOSThread()
	}
	return err
}

// Unlock must be called by the goroutine that called Lock.
func (m *Mutex) Unlock() error {
	err := result("unlock", C.pthread_mutex_unlock(m.c()))
	if err == nil {
		runtime.UnlockOSThread()
	}
	return err
}

// Close unmaps the mutex, which this handle must not hold. The file stays.
func (m *Mutex) Close() error { return unix.Munmap(m.mem) }

func result(what string, err C.int) error {
	if err == 0 {
		return nil
	}
	return os.NewSyscallError("pthread_mutex_"+what, syscall.Errno(err))
}

//go:build linux && cgo && sharedseg_boost

// Package boost has the message queue of Boost.Interprocess, to be measured against. It needs Boost's headers, and so
// a build tag of its own.
package boost

import (
	"errors"
	"unsafe"
)

/*
#cgo CXXFLAGS: -O2 -std=c++17
#cgo LDFLAGS: -lrt -pthread
#include <stdlib.h>

void *boost_mq_create(const char *name, size_t messages, size_t size);
void *boost_mq_open(const char *name);
int boost_mq_send(void *q, const void *message, size_t size);
int boost_mq_receive(void *q, void *message, size_t size);
void boost_mq_close(void *q);
void boost_mq_remove(const char *name);
*/
import "C"

// Queue is a handle of a queue.
type Queue struct{ q unsafe.Pointer }

var errFailed = errors.New("boost: interprocess_exception")

// Create makes a queue of so many messages of a size.
func Create(name string, messages, size int) (*Queue, error) {
	n := C.CString(name)
	defer C.free(unsafe.Pointer(n))
	return handle(C.boost_mq_create(n, C.size_t(messages), C.size_t(size)))
}

// Open opens a queue.
func Open(name string) (*Queue, error) {
	n := C.CString(name)
	defer C.free(unsafe.Pointer(n))
	return handle(C.boost_mq_open(n))
}

func handle(q unsafe.Pointer) (*Queue, error) {
	if q == nil {
		return nil, errFailed
	}
	return &Queue{q}, nil
}

// Send waits while the queue is full.
func (q *Queue) Send(m []byte) error {
	return result(C.boost_mq_send(q.q, unsafe.Pointer(unsafe.SliceData(m)), C.size_t(len(m))))
}

// Receive waits while it is empty.
func (q *Queue) Receive(m []byte) error {
	return result(C.boost_mq_receive(q.q, unsafe.Pointer(unsafe.SliceData(m)), C.size_t(len(m))))
}

// Close unmaps it.
func (q *Queue) Close() error {
	C.boost_mq_close(q.q)
	return nil
}

// Remove takes the name away.
func Remove(name string) {
	n := C.CString(name)
	defer C.free(unsafe.Pointer(n))
	C.boost_mq_remove(n)
}

func result(ok C.int) error {
	if ok == 0 {
		return errFailed
	}
	return nil
}

//go:build cgo

// Package boost wraps the message queue of Boost.Interprocess for benchmarks.
package boost

import (
	"errors"
	"fmt"
	"unsafe"
)

/*
#cgo CXXFLAGS: -O2
#cgo LDFLAGS: -pthread
#include <stdlib.h>
#include "queue_linux.h"
*/
import "C"

// Queue is a message_queue. Its lock is not robust: if a process dies while it
// holds the lock, all others wait forever.
type Queue struct {
	q       unsafe.Pointer
	created string   // the queue's name, if this handle created it
	n       C.size_t // an argument and result of Receive
	text    [200]C.char
}

// Open opens the queue with that name, or creates one with room for depth
// messages of size bytes.
func Open(name string, depth, size int) (*Queue, error) {
	n := C.CString(name)
	defer C.free(unsafe.Pointer(n))
	q, created := new(Queue), C.int(0)
	q.q = C.queue_open(n, C.size_t(depth), C.size_t(size), &created, &q.text[0], C.size_t(len(q.text)))
	if q.q == nil {
		return nil, q.failed("open", name)
	}
	if created != 0 {
		q.created = name
	}
	return q, nil
}

// Send waits while the queue is full.
func (q *Queue) Send(m []byte) error {
	if C.queue_send(q.q, unsafe.Pointer(unsafe.SliceData(m)), C.size_t(len(m)), &q.text[0], C.size_t(len(q.text))) == 0 {
		return q.failed("send", "")
	}
	return nil
}

// Receive waits for a message that fills m. m must have the maximum size of a
// message.
func (q *Queue) Receive(m []byte) error {
	q.n = C.size_t(len(m))
	if C.queue_receive(q.q, unsafe.Pointer(unsafe.SliceData(m)), &q.n, &q.text[0], C.size_t(len(q.text))) == 0 {
		return q.failed("receive", "")
	}
	if int(q.n) != len(m) {
		return fmt.Errorf("boost: received %d of %d bytes", q.n, len(m))
	}
	return nil
}

// Close also removes the queue, if this handle created it.
func (q *Queue) Close() error {
	C.queue_close(q.q)
	if q.created == "" {
		return nil
	}
	n := C.CString(q.created)
	defer C.free(unsafe.Pointer(n))
	if C.queue_remove(n) == 0 {
		return errors.New("boost: the queue was already removed")
	}
	return nil
}

func (q *Queue) failed(op, name string) error {
	return fmt.Errorf("boost: %s %s: %s", op, name, C.GoString(&q.text[0]))
}

//go:build unix && !aix

package mapping

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"time"

	"github.com/sharedseg/sharedseg/internal/layout"
	"github.com/sharedseg/sharedseg/internal/step"
	"github.com/sharedseg/sharedseg/internal/wait"
	"golang.org/x/sys/unix"
)

// Handles wait for the registry byte in a queue.
//
// Byte-range locks have no queue: the kernel gives a byte to whichever process
// asks while it is free. A stream of handles that open and close could keep a
// waiter out for ever. So a waiter that has tried a few times takes a ticket: a
// lock on a byte of its own, higher than the tickets of all others, as in
// Lamport's bakery (1974). It tries the registry once it has the lowest ticket.
// A handle without a ticket does not try the registry while there is any
// ticket. So while a handle waits with its ticket, each other handle has at
// most one turn.
//
// The kernel drops the ticket of a process that dies. Two handles that choose
// at the same time may choose the same ticket, and then have the same turn.
// Therefore tickets are shared locks, the only ones that a file opened
// read-only can have. The tries without a ticket are for speed: a handle that
// competes with few others does not have to take a ticket and then sleep until
// its turn.
//
// A process that is stopped while it waits does not take its turn. It is passed
// over after overdue, as only fairness depends on the order.
//
// The protocol is described in docs/format.md, "To take the registry lock", and
// modelled in docs/models/turns.pml.

const (
	firstLook = 10 * time.Microsecond  // the first pause between tries; it is doubled
	lastLook  = time.Millisecond       // the longest pause; a handle that gets here takes a ticket
	perTurn   = 100 * time.Microsecond // the pause in the queue for each lower ticket
	overdue   = 20 * time.Millisecond  // how long the registry may be free before a ticket is passed over
)

// LockRegistry locks the registry byte: shared if the file is open read-only,
// else exclusively. The holder needs it for microseconds or, if it reserves
// memory, for as long as the file grows. If the holder does neither, its
// process is stopped, and LockRegistry returns an error wrapping
// os.ErrDeadlineExceeded at the limit. Only time in which this process runs
// counts towards the limit. With a limit of 0 it tries once.
func (o *Object) LockRegistry(limit time.Duration) error {
	budget := wait.NewBudget(limit)
	return o.lockRegistry(&budget)
}

func (o *Object) lockRegistry(budget *wait.Budget) error {
	for pause := firstLook; pause < lastLook; pause *= 2 {
		waited, err := o.taken(layout.QueueByte, layout.Tickets)
		if err != nil {
			return err
		}
		if !waited {
			if ok, err := o.tryRegistry(); ok || err != nil {
				return err
			}
		}
		if !budget.Sleep(pause) {
			return o.busy(budget)
		}
	}
	ticket, err := o.takeTicket()
	if err != nil {
		return err
	}
	defer o.set(unix.F_UNLCK, layout.QueueByte+ticket)
	step.At(step.RegistryQueued)
	return o.awaitTurn(ticket, budget)
}

// takeTicket takes a ticket that is higher than all others and returns it.
func (o *Object) takeTicket() (int64, error) {
	// The ticket lowest is taken, or 0. None is taken from ticket up.
	lowest, ticket := int64(0), int64(layout.Tickets)
	for step := int64(1); lowest+1 < ticket; {
		middle := lowest + (ticket-lowest)/2
		if step > 0 { // most queues are short
			middle = min(middle, lowest+step)
			step *= 2
		}
		at, taken, err := o.first(layout.QueueByte+middle, layout.Tickets-middle)
		if err != nil {
			return 0, err
		}
		if taken {
			lowest = at - layout.QueueByte
		} else {
			ticket, step = middle, 0
		}
	}
	ticket = min(ticket, layout.Tickets-1)
	ok, err := o.set(unix.F_RDLCK, layout.QueueByte+ticket)
	if err == nil && !ok {
		err = fmt.Errorf("%s: a ticket for the registry is held exclusively, which no correct peer does: %w", o.path, layout.ErrCorrupt)
	}
	return ticket, err
}

// awaitTurn locks the registry byte once the ticket is the lowest.
func (o *Object) awaitTurn(ticket int64, budget *wait.Budget) error {
	var passed int64 // tickets up to this one are passed over
	var idle time.Duration
	look := firstLook
	grown, err := o.grown()
	if err != nil {
		return err
	}
	for {
		lower, pause := false, look
		if passed+1 < ticket {
			var at int64
			if at, lower, err = o.first(layout.QueueByte+passed+1, ticket-passed-1); err != nil {
				return err
			}
			if lower {
				before := at - layout.QueueByte
				pause = min(time.Duration(ticket-before)*perTurn, lastLook)
				busy, err := o.taken(layout.RegistryByte, 1)
				if err != nil {
					return err
				}
				if idle += pause; busy {
					idle = 0
				}
				if idle > overdue {
					passed, idle = before, 0
					continue
				}
			}
		}
		if !lower {
			if ok, err := o.tryRegistry(); ok || err != nil {
				return err
			}
			look = min(2*look, lastLook)
		}
		if budget.Sleep(pause) {
			continue
		}
		now, err := o.grown()
		if err != nil {
			return err
		}
		if now == grown {
			return o.busy(budget)
		}
		grown = now
		budget.Renew()
	}
}

// tryRegistry locks the registry byte if it is free, and reports whether it
// did.
func (o *Object) tryRegistry() (bool, error) {
	kind := int16(unix.F_WRLCK)
	if o.readOnly {
		kind = unix.F_RDLCK
	}
	return o.set(kind, layout.RegistryByte)
}

// grown returns values that change while another process reserves memory for
// the file.
func (o *Object) grown() ([2]int64, error) {
	st, err := fstat(o.fd)
	return [2]int64{st.size, st.held}, err
}

func (o *Object) busy(budget *wait.Budget) error {
	return fmt.Errorf("another process has been opening or closing %s for %v; if it is stopped, continue or end it: %w",
		o.path, budget.Limit(), os.ErrDeadlineExceeded)
}

// TryEnter opens the object at p, as Enter does, but does not wait. busy
// reports that another handle is opening or closing it.
func TryEnter(p *Place) (o *Object, busy bool, err error) {
	if o, err = Open(p, false); err != nil {
		return nil, false, err
	}
	step.At(step.FileOpened)
	free, err := o.set(unix.F_WRLCK, layout.RegistryByte)
	if err == nil && free {
		step.At(step.RegistryLocked)
		var current bool
		if current, err = o.Current(); current {
			return o, false, nil
		}
	}
	o.Close()
	return nil, err == nil, err
}

// UnlockRegistry unlocks the registry byte.
func (o *Object) UnlockRegistry() {
	step.At(step.RegistryUnlocking)
	o.set(unix.F_UNLCK, layout.RegistryByte)
	step.At(step.RegistryUnlocked)
}

// Hold locks the byte of a member slot, and reports whether it was free.
func (o *Object) Hold(slot int) (bool, error) {
	return o.set(unix.F_WRLCK, layout.MemberByte+int64(slot))
}

// Drop unlocks the byte of a member slot.
func (o *Object) Drop(slot int) { o.set(unix.F_UNLCK, layout.MemberByte+int64(slot)) }

// HoldReader takes a share of the readers' byte, and of another byte by which
// the reader is counted. A file that is open read-only can only have shared
// locks, and the system names only one of those that share a byte. So each
// reader has another byte, chosen at random. Two readers that choose the same
// one count as one.
func (o *Object) HoldReader() error {
	ok, err := o.set(unix.F_RDLCK, layout.ReaderByte)
	if err == nil && !ok {
		err = fmt.Errorf("%s: the readers' lock byte is held exclusively, which no correct peer does: %w", o.path, layout.ErrCorrupt)
	}
	if err != nil {
		return err
	}
	place := layout.ReaderPlace + rand.Int64N(layout.ReaderPlaces)
	if ok, err = o.set(unix.F_RDLCK, place); ok {
		o.reader = place
	}
	return err
}

// DropReader undoes HoldReader.
func (o *Object) DropReader() {
	if o.reader != 0 {
		o.set(unix.F_UNLCK, o.reader)
		o.reader = 0
	}
	o.set(unix.F_UNLCK, layout.ReaderByte)
}

// Held reports whether another Object holds the byte of a member slot.
func (o *Object) Held(slot int) (bool, error) {
	return o.taken(layout.MemberByte+int64(slot), 1)
}

// Holders returns the member slots that other Objects hold, in ascending order.
// It takes two system calls for each holder, and one if there is none.
func (o *Object) Holders() (slots []int, err error) {
	_, err = o.held(layout.MemberByte, layout.Members, func(first, n int64) bool {
		for at := first; at < first+n; at++ {
			slots = append(slots, int(at-layout.MemberByte))
		}
		return true
	})
	return slots, err
}

// maxReaders is the number at which Readers stops counting.
const maxReaders = 10000

// Readers returns the number of other Objects that hold the readers' byte, at
// most maxReaders. Readers of other programs need not hold a byte by which they
// are counted.
func (o *Object) Readers() (n int, err error) {
	if any, err := o.taken(layout.ReaderByte, 1); err != nil || !any {
		return 0, err
	}
	_, err = o.held(layout.ReaderPlace, layout.ReaderPlaces, func(int64, int64) bool { n++; return n < maxReaders })
	return max(n, 1), err
}

// held calls f for each range of the n bytes that other Objects hold, in
// ascending order, until f returns false. If several locks match, the system
// may name any one first (Linux sorts them by owner), so held asks again on
// both sides of the answer.
func (o *Object) held(at, n int64, f func(first, n int64) bool) (more bool, err error) {
	for end := at + n; at < end; {
		first, count, err := o.locked(at, end-at)
		if err != nil {
			return false, o.unanswered(err)
		}
		if count == 0 {
			return true, nil
		}
		if more, err := o.held(at, first-at, f); err != nil || !more {
			return false, err
		}
		if !f(first, count) {
			return false, nil
		}
		at = first + count
	}
	return true, nil
}

// AnyHeld reports whether another Object holds any member slot or the readers'
// byte.
func (o *Object) AnyHeld() (bool, error) {
	return o.taken(layout.ReaderByte, 1+layout.Members)
}

// set locks or unlocks a byte for the Object. It returns false if another
// Object's lock prevents that.
func (o *Object) set(kind int16, at int64) (bool, error) {
	ok, err := o.lock(kind, at)
	if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EACCES) {
		return false, nil
	}
	if err != nil {
		err = fmt.Errorf("lock %s: %w", o.path, err)
	}
	return ok, err
}

// taken reports whether another Object holds any of n bytes.
func (o *Object) taken(at, n int64) (bool, error) {
	_, found, err := o.first(at, n)
	return found, err
}

// first returns one of n bytes that another Object holds, if there is one. It
// need not be the lowest.
func (o *Object) first(at, n int64) (first int64, found bool, err error) {
	first, count, err := o.locked(at, n)
	if err != nil {
		err = o.unanswered(err)
	}
	return first, count > 0, err
}

func (o *Object) unanswered(err error) error {
	return fmt.Errorf("query the locks of %s: %w", o.path, err)
}

// setLock asks the kernel for a lock of one byte, by F_SETLK or F_OFD_SETLK.
func setLock(fd, cmd int, kind int16, at int64) error {
	lock := unix.Flock_t{Type: kind, Start: at, Len: 1}
	return again(func() error { return unix.FcntlFlock(uintptr(fd), cmd, &lock) })
}

// getLock asks the kernel whether any of n bytes is locked by another owner, by
// F_GETLK or F_OFD_GETLK. It returns the range of these bytes that one such
// lock covers. count is 0 if none is locked.
func getLock(fd, cmd int, at, n int64) (first, count int64, err error) {
	lock := unix.Flock_t{Type: unix.F_WRLCK, Start: at, Len: n}
	err = again(func() error { return unix.FcntlFlock(uintptr(fd), cmd, &lock) })
	if err != nil || lock.Type == unix.F_UNLCK {
		return 0, 0, err
	}
	first, end := max(at, lock.Start), at+n
	if lock.Len > 0 { // else the lock has no end
		end = min(end, lock.Start+lock.Len)
	}
	if first >= end { // the kernel answered another question
		return at, n, nil
	}
	return first, end - first, nil
}

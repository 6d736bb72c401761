package kernel

import (
	"errors"
	"fmt"
	"io/fs"
	"runtime"
	"strconv"
	"sync"

	"golang.org/x/sys/windows"
)

// A holder is alive if it owns a named mutex, or has the named event open that
// is the mutex's companion.
//
// The kernel releases a mutex when its owner ends, however it ends, and wakes
// those that wait for it. But a mutex is owned by a thread, and when a process
// is being terminated, one of its threads may be gone while another still runs.
// Handles are closed after the last thread has ended, so the event exists until
// then.
//
// The event alone is not enough: a process that checks whether an event exists
// has it open for a moment, and so makes it exist for the next process that
// checks. Therefore a process checks only while it owns the mutex.
//
// One thread of the process, the keeper, owns the mutexes of all parts that are
// held. It runs only while something is held.
var keeper struct {
	sync.Mutex
	held map[string]holding // by name
	todo chan func()        // work for the keeper's thread; nil if it does not run
}

type holding struct{ mutex, event windows.Handle }

// MemberPart returns the part whose mutex is held by the holder of a member
// slot.
func MemberPart(slot int) string { return "member" + strconv.Itoa(slot) }

// eventOf returns the part of the event that is a mutex's companion.
func eventOf(part string) string { return part + ".alive" }

// Hold acquires the mutex of a part and reports whether it was free. The part
// is then held until Drop, or until the process ends.
func (f *Family) Hold(part string) (free bool, err error) {
	keeper.Lock()
	defer keeper.Unlock()
	name := f.base + "!" + part
	if _, ours := keeper.held[name]; ours {
		return false, nil // the keeper's thread could acquire it again
	}
	h, err := f.Mutex(part)
	if err != nil {
		return false, err
	}
	var event windows.Handle
	keep(func() { free, event, err = f.take(h, part) })
	if !free {
		windows.CloseHandle(h)
	} else if keeper.held == nil {
		keeper.held = map[string]holding{name: {h, event}}
	} else {
		keeper.held[name] = holding{h, event}
	}
	rest()
	return free, err
}

// take makes the calling thread the owner of a part's mutex if it is free, and
// opens its companion.
func (f *Family) take(h windows.Handle, part string) (free bool, event windows.Handle, err error) {
	acquired, err := TryAcquire(h)
	if !acquired {
		return false, 0, err
	}
	dying, err := f.HasEvent(eventOf(part))
	if err == nil && !dying {
		if event, err = f.Show(eventOf(part)); err == nil {
			return true, event, nil
		}
	}
	windows.ReleaseMutex(h)
	return false, 0, err
}

// Drop releases the mutex of a part. It does nothing if this process does not
// hold the part.
func (f *Family) Drop(part string) {
	keeper.Lock()
	defer keeper.Unlock()
	name := f.base + "!" + part
	if h, ok := keeper.held[name]; ok {
		delete(keeper.held, name)
		windows.CloseHandle(h.event)
		keep(func() { windows.ReleaseMutex(h.mutex) })
		windows.CloseHandle(h.mutex)
		rest()
	}
}

// Held reports whether a process holds the mutex of a part. It may report true
// for a part that is free while another process asks the same.
func (f *Family) Held(part string) (bool, error) {
	h, err := f.OpenMutex(part)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("open the mutex %s!%s: %w", f.base, part, err)
	}
	defer windows.CloseHandle(h)
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	acquired, err := TryAcquire(h)
	if !acquired {
		return true, err
	}
	return f.Release(h, part)
}

// Release releases the mutex of a part that the calling thread owns without
// holding the part. It reports whether the part's last holder is still ending.
func (f *Family) Release(h windows.Handle, part string) (dying bool, err error) {
	dying, err = f.HasEvent(eventOf(part))
	windows.ReleaseMutex(h)
	return dying, err
}

// TryAcquire makes the calling thread the owner of a mutex if the mutex is free
// or its owner has ended. It reports whether it did.
func TryAcquire(h windows.Handle) (bool, error) {
	e, err := windows.WaitForSingleObject(h, 0)
	return e == windows.WAIT_OBJECT_0 || e == windows.WAIT_ABANDONED, err
}

// keep runs f on the keeper's thread. The caller has locked the keeper.
func keep(f func()) {
	if keeper.todo == nil {
		todo := make(chan func())
		keeper.todo = todo
		go func() {
			runtime.LockOSThread() // never unlocked, so the thread ends with the goroutine
			for f := range todo {
				f()
			}
		}()
	}
	done := make(chan bool)
	keeper.todo <- func() { f(); close(done) }
	<-done
}

// rest ends the keeper's thread if nothing is held. The caller has locked the
// keeper.
func rest() {
	if len(keeper.held) == 0 {
		close(keeper.todo)
		keeper.todo = nil
	}
}

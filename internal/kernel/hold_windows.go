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

// To be alive is to own a named mutex, or to have a named event open that is
// the mutex's companion.
//
// The kernel lets go of a mutex when its owner ends, however that is, and tells
// those who wait for it. But it is owned by a thread, and of a process that is
// being ended one thread may be gone while another still runs. Handles are
// closed after the last thread, so that is when the event goes. It would not do
// alone: each process that looks whether an event exists has it open for a
// moment, and so keeps it for the next one that looks. They look while they own
// the mutex, one at a time.
//
// One thread of the process, the keeper, owns all mutexes for as long as they
// are held. It lives while something is held.
var keeper struct {
	sync.Mutex
	held map[string]holding // by name
	todo chan func()        // for the keeper's thread; nil if there is none
}

type holding struct{ mutex, event windows.Handle }

// MemberPart is the mutex that whoever has a member slot holds.
func MemberPart(slot int) string { return "member" + strconv.Itoa(slot) }

// eventOf is the part of a mutex's companion.
func eventOf(part string) string { return part + ".alive" }

// Hold takes the mutex of a part, and reports whether it was free. It is held
// until Drop, or the end of the process.
func (f *Family) Hold(part string) (free bool, err error) {
	keeper.Lock()
	defer keeper.Unlock()
	name := f.base + "!" + part
	if _, ours := keeper.held[name]; ours {
		return false, nil // the keeper could take it again
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

// take makes the calling thread the owner of a part's mutex, and its companion
// exist, if it was free.
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

// Drop lets go of the mutex of a part, which was held.
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

// Held reports whether somebody holds the mutex of a part. It errs on the side
// of true while another process asks the same of a mutex that nobody holds.
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

// Release lets go of the mutex of a part that the calling thread came to own
// without holding it, and reports whether its last holder is not quite gone
// yet.
func (f *Family) Release(h windows.Handle, part string) (dying bool, err error) {
	dying, err = f.HasEvent(eventOf(part))
	windows.ReleaseMutex(h)
	return dying, err
}

// TryAcquire makes the calling thread the owner of a mutex, if it is free or
// its owner ended.
func TryAcquire(h windows.Handle) (bool, error) {
	e, err := windows.WaitForSingleObject(h, 0)
	return e == windows.WAIT_OBJECT_0 || e == windows.WAIT_ABANDONED, err
}

// keep runs f on the keeper's thread. The keeper is locked.
func keep(f func()) {
	if keeper.todo == nil {
		todo := make(chan func())
		keeper.todo = todo
		go func() {
			runtime.LockOSThread() // for good: the thread ends with the goroutine
			for f := range todo {
				f()
			}
		}()
	}
	done := make(chan bool)
	keeper.todo <- func() { f(); close(done) }
	<-done
}

// rest ends the keeper's thread if nothing is held.
func rest() {
	if len(keeper.held) == 0 {
		close(keeper.todo)
		keeper.todo = nil
	}
}

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

// To be alive is to own a named mutex: the kernel lets go of it when its owner ends, however that is, and tells those
// who wait for it. An event that merely exists would not do as well: each process that looks whether it exists has
// it open for a moment, and so keeps it for the next one that looks.
//
// A kernel mutex belongs to a thread, so one thread of the process, the keeper, owns them all for as long as they
// are held. It lives while something is held.
var keeper struct {
	sync.Mutex
	held map[string]windows.Handle // by name
	todo chan func()               // for the keeper's thread; nil if there is none
}

// MemberPart is the mutex that whoever has a member slot holds.
func MemberPart(slot int) string { return "member" + strconv.Itoa(slot) }

// Hold takes the mutex of a part, and reports whether it was free. It is held until Drop, or the end of the process.
func (f *Family) Hold(part string) (free bool, err error) {
	keeper.Lock()
	defer keeper.Unlock()
	name := f.base + "!" + part
	if _, ours := keeper.held[name]; ours {
		return false, nil
	}
	h, err := f.Mutex(part)
	if err != nil {
		return false, err
	}
	keep(func() { free, err = TryAcquire(h) })
	if !free {
		windows.CloseHandle(h)
	} else if keeper.held == nil {
		keeper.held = map[string]windows.Handle{name: h}
	} else {
		keeper.held[name] = h
	}
	rest()
	return free, err
}

// Drop lets go of the mutex of a part, which was held.
func (f *Family) Drop(part string) {
	keeper.Lock()
	defer keeper.Unlock()
	name := f.base + "!" + part
	if h, ok := keeper.held[name]; ok {
		delete(keeper.held, name)
		keep(func() { windows.ReleaseMutex(h) })
		windows.CloseHandle(h)
		rest()
	}
}

// Held reports whether somebody holds the mutex of a part. It errs on the side of true while another process asks
// the same of a mutex that nobody holds.
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
	free, err := TryAcquire(h)
	if free {
		windows.ReleaseMutex(h)
	}
	return !free, err
}

// TryAcquire makes the calling thread the owner of a mutex, if it is free or its owner ended.
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

//go:build unix && !aix

package mapping

import (
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/sharedseg/sharedseg/internal/layout"
	"github.com/sharedseg/sharedseg/internal/step"
	"golang.org/x/sys/unix"
)

// LockRegistry takes the registry byte: shared if the file is open read-only, else exclusively. A holder needs
// it for microseconds; one that is stopped meanwhile makes LockRegistry fail at the limit.
func (o *Object) LockRegistry(limit time.Duration) error {
	kind := int16(unix.F_WRLCK)
	if o.readOnly {
		kind = unix.F_RDLCK
	}
	deadline := time.Now().Add(limit)
	for pause := 10 * time.Microsecond; ; pause = min(2*pause, time.Millisecond) {
		ok, err := o.set(kind, layout.RegistryByte)
		if ok || err != nil {
			return err
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("another process has been opening or closing %s for %v; if it is stopped, continue or end it: %w",
				o.path, limit, os.ErrDeadlineExceeded)
		}
		time.Sleep(pause)
	}
}

// TryEnter opens the object that the name leads to, as Enter does, but does not wait: busy says that somebody opens or
// closes it.
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

// UnlockRegistry lets the registry byte go.
func (o *Object) UnlockRegistry() {
	step.At(step.RegistryUnlocking)
	o.set(unix.F_UNLCK, layout.RegistryByte)
	step.At(step.RegistryUnlocked)
}

// Hold takes the byte of a member slot, and reports whether it was free.
func (o *Object) Hold(slot int) (bool, error) {
	return o.set(unix.F_WRLCK, layout.MemberByte+int64(slot))
}

// Drop lets the byte of a member slot go.
func (o *Object) Drop(slot int) { o.set(unix.F_UNLCK, layout.MemberByte+int64(slot)) }

// HoldReader takes a share of the readers' byte.
func (o *Object) HoldReader() error {
	ok, err := o.set(unix.F_RDLCK, layout.ReaderByte)
	if err == nil && !ok {
		err = fmt.Errorf("%s: the readers' lock byte is held exclusively, which no correct peer does: %w", o.path, layout.ErrCorrupt)
	}
	return err
}

// DropReader lets the share of the readers' byte go.
func (o *Object) DropReader() { o.set(unix.F_UNLCK, layout.ReaderByte) }

// Held reports whether another Object holds the byte of a member slot.
func (o *Object) Held(slot int) (bool, error) {
	return o.taken(layout.MemberByte+int64(slot), 1)
}

// Holders returns the member slots that other Objects hold, in ascending order.
// It costs two questions for each holder, and one if there is none.
func (o *Object) Holders() ([]int, error) {
	slots, err := o.holders(nil, layout.MemberByte, layout.Members)
	if err != nil {
		err = o.unanswered(err)
	}
	return slots, err
}

// holders adds the holders of n bytes to slots. Which of several locks the
// system names first is up to it: Linux sorts them by owner. So it is asked
// again on both sides of its answer.
func (o *Object) holders(slots []int, at, n int64) ([]int, error) {
	for end := at + n; at < end; {
		first, count, err := o.locked(at, end-at)
		if err != nil || count == 0 {
			return slots, err
		}
		if slots, err = o.holders(slots, at, first-at); err != nil {
			return slots, err
		}
		for at = first; at < first+count; at++ {
			slots = append(slots, int(at-layout.MemberByte))
		}
	}
	return slots, nil
}

// ReaderHeld reports whether another Object holds the readers' byte.
func (o *Object) ReaderHeld() (bool, error) {
	return o.taken(layout.ReaderByte, 1)
}

// AnyHeld reports whether another Object holds any slot or the readers' byte.
func (o *Object) AnyHeld() (bool, error) {
	return o.taken(layout.ReaderByte, 1+layout.Members)
}

// set locks or unlocks a byte for the Object, and reports false if another holds it so that this cannot be.
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
	_, count, err := o.locked(at, n)
	if err != nil {
		err = o.unanswered(err)
	}
	return count > 0, err
}

func (o *Object) unanswered(err error) error {
	return fmt.Errorf("ask for the locks of %s: %w", o.path, err)
}

// setLock asks the kernel for a lock of one byte, by F_SETLK or F_OFD_SETLK.
func setLock(fd, cmd int, kind int16, at int64) error {
	lock := unix.Flock_t{Type: kind, Start: at, Len: 1}
	_, err := again(func() (int, error) { return 0, unix.FcntlFlock(uintptr(fd), cmd, &lock) })
	return err
}

// getLock asks the kernel for a lock that somebody else has on any of n bytes, by F_GETLK or F_OFD_GETLK. It returns
// those of the n bytes that the lock covers: count is 0 if there is none.
func getLock(fd, cmd int, at, n int64) (first, count int64, err error) {
	lock := unix.Flock_t{Type: unix.F_WRLCK, Start: at, Len: n}
	_, err = again(func() (int, error) { return 0, unix.FcntlFlock(uintptr(fd), cmd, &lock) })
	if err != nil || lock.Type == unix.F_UNLCK {
		return 0, 0, err
	}
	first, end := max(at, lock.Start), at+n
	if lock.Len > 0 { // else it has no end
		end = min(end, lock.Start+lock.Len)
	}
	if first >= end { // the answer is to another question
		return at, n, nil
	}
	return first, end - first, nil
}

//go:build linux && !sharedseg_portable

package mapping

import (
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/sharedseg/sharedseg/internal/layout"
	"golang.org/x/sys/unix"
)

// Open file description locks (fcntl(2), F_OFD_SETLK) belong to the open file, conflict between two open files
// of one process, and go with the last descriptor, however its process ends. No process ID is involved.

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

// UnlockRegistry lets the registry byte go.
func (o *Object) UnlockRegistry() { o.set(unix.F_UNLCK, layout.RegistryByte) }

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

// ReaderHeld reports whether another Object holds the readers' byte.
func (o *Object) ReaderHeld() (bool, error) {
	return o.taken(layout.ReaderByte, 1)
}

// AnyHeld reports whether another Object holds any slot or the readers' byte.
func (o *Object) AnyHeld() (bool, error) {
	return o.taken(layout.ReaderByte, 1+layout.Members)
}

func (o *Object) set(kind int16, at int64) (bool, error) {
	lock := unix.Flock_t{Type: kind, Start: at, Len: 1}
	_, err := again(func() (int, error) { return 0, unix.FcntlFlock(uintptr(o.fd), unix.F_OFD_SETLK, &lock) })
	if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EACCES) {
		return false, nil
	}
	if err != nil {
		err = fmt.Errorf("lock %s: %w", o.path, err)
	}
	return err == nil, err
}

func (o *Object) taken(at, n int64) (bool, error) {
	lock := unix.Flock_t{Type: unix.F_WRLCK, Start: at, Len: n}
	if err := unix.FcntlFlock(uintptr(o.fd), unix.F_OFD_GETLK, &lock); err != nil {
		return false, fmt.Errorf("ask for the locks of %s: %w", o.path, err)
	}
	return lock.Type != unix.F_UNLCK, nil
}

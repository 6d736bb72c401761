//go:build unix && !aix && (!linux || sharedseg_portable)

package mapping

import (
	"errors"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// POSIX record locks (fcntl(2), F_SETLK) belong to the process. They do not
// conflict between two open files of one process, and they are dropped as soon
// as the process closes any descriptor of the file, even one that never locked
// anything.
//
// So the Objects of one process that have the same file open share its
// descriptors. None of these is closed before the last Object is. A table
// records which Object holds which lock. In the kernel the process holds what
// any of its Objects holds. Other processes see these locks, and the kernel
// drops them when the process ends, however it ends.
//
// That breaks if something else in the process opens and closes the file, for
// example to copy it. Nothing here can prevent that.

// files are the files that this process has open. filesMu guards all of them.
// It is held during system calls, so that a call's answer is still true when
// the table is updated.
var (
	filesMu sync.Mutex
	files   = map[inode]*file{}
)

// file is a file that Objects of this process have open.
type file struct {
	id          inode
	users       int
	descriptors []descriptor
	locks       map[int64]map[*openFile]int16 // by byte, then by holder: F_RDLCK or F_WRLCK
}

type descriptor struct {
	fd     int
	access int // O_RDONLY or O_RDWR
}

// openFile is an Object's share of a file.
type openFile struct {
	fd   int // one of the file's descriptors
	file *file
}

// open opens the file at path. It uses a descriptor that the process already
// has if its access mode is the same. A descriptor for reading and writing is
// not used for a reader, whose mapping could then be made writable.
func (o *openFile) open(path string, flags int, mode uint32) error {
	filesMu.Lock()
	defer filesMu.Unlock()
	access := flags & unix.O_ACCMODE
	if st, err := lstat(path); err == nil && flags&unix.O_CREAT == 0 {
		if f := files[st.id]; f != nil {
			for _, d := range f.descriptors {
				if d.access == access {
					o.share(f, d.fd)
					return nil
				}
			}
		}
	}
	fd, err := openat(path, flags, mode)
	if err != nil {
		return err
	}
	st, err := fstat(fd)
	if err != nil {
		closeFile(fd)
		return err
	}
	f := files[st.id]
	if f == nil {
		f = &file{id: st.id, locks: map[int64]map[*openFile]int16{}}
		files[st.id] = f
	}
	f.descriptors = append(f.descriptors, descriptor{fd, access})
	o.share(f, fd)
	return nil
}

func (o *openFile) share(f *file, fd int) {
	f.users++
	o.fd, o.file = fd, f
}

func (o *openFile) lock(kind int16, at int64) (bool, error) {
	filesMu.Lock()
	defer filesMu.Unlock()
	f := o.file
	if f == nil {
		return false, os.ErrClosed
	}
	if kind == unix.F_UNLCK {
		err := f.unlock(o, at)
		return err == nil, err
	}
	for other, held := range f.locks[at] {
		if other != o && (held == unix.F_WRLCK || kind == unix.F_WRLCK) {
			return false, nil
		}
	}
	if err := setLock(o.fd, unix.F_SETLK, kind, at); err != nil {
		return false, err
	}
	if f.locks[at] == nil {
		f.locks[at] = map[*openFile]int16{}
	}
	f.locks[at][o] = kind
	return true, nil
}

// unlock unlocks a byte. It does so in the kernel only if no other Object of
// this process holds the byte.
func (f *file) unlock(o *openFile, at int64) error {
	if _, held := f.locks[at][o]; !held {
		return nil
	}
	delete(f.locks[at], o)
	if len(f.locks[at]) > 0 {
		return nil
	}
	delete(f.locks, at)
	return setLock(o.fd, unix.F_SETLK, unix.F_UNLCK, at)
}

func (o *openFile) locked(at, n int64) (first, count int64, err error) {
	filesMu.Lock()
	defer filesMu.Unlock()
	if o.file == nil {
		return 0, 0, os.ErrClosed
	}
	for b, holders := range o.file.locks {
		_, own := holders[o]
		if at <= b && b < at+n && (!own || len(holders) > 1) {
			return b, 1, nil
		}
	}
	return getLock(o.fd, unix.F_GETLK, at, n)
}

func (o *openFile) close() error {
	filesMu.Lock()
	defer filesMu.Unlock()
	f := o.file
	if f == nil {
		return os.ErrClosed
	}
	o.file = nil
	var errs []error
	for at := range f.locks {
		errs = append(errs, f.unlock(o, at))
	}
	if f.users--; f.users == 0 {
		delete(files, f.id)
		for _, d := range f.descriptors {
			errs = append(errs, closeFile(d.fd))
		}
	}
	return errors.Join(errs...)
}

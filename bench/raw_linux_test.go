package bench

import (
	"io"
	"os"
	"path/filepath"
	"unsafe"

	"golang.org/x/sys/unix"
)

// shmDir is where segments are.
const shmDir = "/dev/shm"

// shmFile is a file among the segments'. It goes when the first handle is closed.
type shmFile struct{ *os.File }

func openShm(name string) (shmFile, error) {
	f, err := os.OpenFile(filepath.Join(shmDir, name), os.O_RDWR|os.O_CREATE, 0o600)
	return shmFile{f}, err
}

// createShm creates a file of n bytes, allocated in full like a segment's, that begins with content.
func createShm(name string, n int, content []byte) (shmFile, error) {
	f, err := openShm(name)
	if err == nil {
		err = unix.Fallocate(int(f.Fd()), 0, 0, int64(n))
	}
	if err == nil {
		_, err = f.WriteAt(content, 0)
	}
	return f, err
}

func (f shmFile) Close() error {
	os.Remove(f.Name())
	return f.File.Close()
}

// shmMapping is the mapping of a file.
type shmMapping []byte

func mapShm(name string) (shmMapping, error) {
	f, err := os.OpenFile(filepath.Join(shmDir, name), os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	return unix.Mmap(int(f.Fd()), 0, int(info.Size()), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
}

func (m shmMapping) Close() error { return unix.Munmap(m) }

// at is the T at the start of mem.
func at[T any](mem []byte) *T { return (*T)(unsafe.Pointer(unsafe.SliceData(mem))) }

// rawOpenings is what OpenClose is measured against.
var rawOpenings = []opening{{
	name: "impl=mmap",
	hold: func(name string) (io.Closer, error) { return createShm(name, os.Getpagesize(), nil) },
	open: func(name string) (io.Closer, error) { return mapShm(name) },
}}

// rawReaders is what Readers is measured against: a quote that nobody writes to.
var rawReaders = map[string]readerKind{
	"impl=assign/size=64B": {
		serve: func(name string, q quote) (io.Closer, error) {
			content := unsafe.Slice((*byte)(unsafe.Pointer(&q)), unsafe.Sizeof(q))
			return createShm(name, len(content), content)
		},
		open: func(name string) (func(*quote, int) error, error) {
			mem, err := mapShm(name)
			if err != nil {
				return nil, err
			}
			src := at[quote](mem)
			return func(q *quote, n int) error {
				for range n {
					*q = *src
				}
				return nil
			}, nil
		},
	},
}

// fileLocks are locks that the kernel keeps for a file. All are released with the last descriptor.
var fileLocks = map[string]lockOpener{
	"flock": fileLockOpener(
		func(fd int) error { return unix.Flock(fd, unix.LOCK_EX) },
		func(fd int) error { return unix.Flock(fd, unix.LOCK_UN) }),
	"ofd": fileLockOpener(
		func(fd int) error { return setOFD(fd, unix.F_WRLCK) },
		func(fd int) error { return setOFD(fd, unix.F_UNLCK) }),
}

func setOFD(fd int, what int16) error {
	return unix.FcntlFlock(uintptr(fd), unix.F_OFD_SETLKW, &unix.Flock_t{Type: what, Whence: io.SeekStart, Len: 1})
}

// fileLock is one descriptor of a file.
type fileLock struct {
	shmFile
	fd               int
	acquire, release func(fd int) error
}

func fileLockOpener(acquire, release func(fd int) error) lockOpener {
	return func(name string) (lock, error) {
		f, err := openShm(name)
		if err != nil {
			return nil, err
		}
		return &fileLock{f, int(f.Fd()), acquire, release}, nil
	}
}

// Lock starts again when a signal ends the wait, as those of the Go scheduler do.
func (l *fileLock) Lock() error {
	for {
		if err := l.acquire(l.fd); err != unix.EINTR {
			return err
		}
	}
}

func (l *fileLock) Unlock() error { return l.release(l.fd) }

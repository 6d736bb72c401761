package bench

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"time"
	"unsafe"

	"github.com/sharedseg/sharedseg/bench/internal/harness"
	"github.com/sharedseg/sharedseg/segment"
	"golang.org/x/sys/unix"
)

// shmDir is the directory of segments.
const shmDir = "/dev/shm"

// shmFile is a file in that directory. It is removed when the first handle is
// closed.
type shmFile struct{ *os.File }

func openShm(name string) (shmFile, error) {
	f, err := os.OpenFile(filepath.Join(shmDir, name), os.O_RDWR|os.O_CREATE, 0o600)
	return shmFile{f}, err
}

// createShm creates a file of n bytes that begins with content. Like a
// segment's, it is allocated in full.
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

// at returns the T at the start of mem.
func at[T any](mem []byte) *T { return (*T)(unsafe.Pointer(unsafe.SliceData(mem))) }

// rawOpenings are the mechanisms that OpenClose is compared with.
var rawOpenings = []opening{{
	name: "impl=mmap",
	hold: func(name string) (io.Closer, error) { return createShm(name, os.Getpagesize(), nil) },
	open: func(name string) (io.Closer, error) { return mapShm(name) },
}}

// rawReaders are the mechanisms that Readers is compared with: a quote that no
// process writes to.
var rawReaders = map[string]readerKind{
	"impl=assign/size=64B": {
		serve: func(name string, q quote) (io.Closer, error) {
			content := unsafe.Slice((*byte)(unsafe.Pointer(&q)), unsafe.Sizeof(q))
			return createShm(name, len(content), content)
		},
		open: func(name string) (*quoteReader, error) {
			mem, err := mapShm(name)
			if err != nil {
				return nil, err
			}
			src := at[quote](mem)
			return &quoteReader{mem, func(q *quote, n int) error {
				for range n {
					*q = *src
				}
				return nil
			}}, nil
		},
	},
}

// rawWords returns the mechanisms that FanOut is compared with: a mapping
// without protection, and one that is read under a shared flock and written
// under an exclusive one.
func rawWords[T words]() map[string]func(name string) (sharedWords[T], error) {
	return map[string]func(string) (sharedWords[T], error){
		unprotected: func(name string) (sharedWords[T], error) {
			m, err := mapWords[T](name)
			store := func(v *T) error {
				*m.words = *v
				return nil
			}
			load := func(v *T) error {
				*v = *m.words
				return nil
			}
			return sharedWords[T]{m, store, load}, err
		},
		"flock": func(name string) (sharedWords[T], error) {
			m, err := mapWords[T](name)
			locked := func(how int, dst, src *T) error {
				if err := flock(m.fd, how); err != nil {
					return err
				}
				*dst = *src
				return flock(m.fd, unix.LOCK_UN)
			}
			store := func(v *T) error { return locked(unix.LOCK_EX, m.words, v) }
			load := func(v *T) error { return locked(unix.LOCK_SH, v, m.words) }
			return sharedWords[T]{m, store, load}, err
		},
	}
}

// rawFollows are the mechanisms that Follow is compared with: a stream to each
// follower. The names of the sockets are not in the file system.
var rawFollows = map[string]followKind{"impl=unix/size=64B": {
	hold: func(name string) (io.Closer, error) { return io.NopCloser(nil), nil },
	follow: func(name string, i int) (lines, error) {
		l, err := net.Listen("unix", streamName(name, i))
		if err != nil {
			return lines{}, err
		}
		return lines{l, func(yield func(segment.Version[line], error) bool) {
			conn, err := l.Accept()
			if err != nil {
				yield(segment.Version[line]{}, err)
				return
			}
			defer conn.Close()
			var next segment.Version[line]
			in, mem := bufio.NewReaderSize(conn, 64<<10), unsafe.Slice((*byte)(unsafe.Pointer(&next.Value)), unsafe.Sizeof(next.Value))
			for err == nil {
				next.Number++
				if _, err = io.ReadFull(in, mem); errors.Is(err, io.EOF) || !yield(next, err) {
					return
				}
			}
		}}, nil
	},
	write: func(name string, followers int) (sharedWords[line], error) {
		all := make(conns, followers)
		for i := range all {
			conn, err := net.Dial("unix", streamName(name, i))
			if err != nil {
				return sharedWords[line]{}, err
			}
			all[i] = conn
		}
		return sharedWords[line]{Closer: all, store: func(v *line) error {
			for _, conn := range all {
				if _, err := conn.Write(unsafe.Slice((*byte)(unsafe.Pointer(v)), unsafe.Sizeof(*v))); err != nil {
					return err
				}
			}
			return nil
		}}, nil
	},
}}

func streamName(name string, i int) string { return fmt.Sprintf("@%s.%d", name, i) }

// conns are the connections of a writer to its followers.
type conns []net.Conn

func (s conns) Close() (err error) {
	for _, conn := range s {
		err = errors.Join(err, conn.Close())
	}
	return err
}

// mappedWords is a T in a mapping.
type mappedWords[T any] struct {
	shmFile
	fd    int
	mem   shmMapping
	words *T
}

func mapWords[T any](name string) (*mappedWords[T], error) {
	f, err := createShm(name, int(unsafe.Sizeof(*new(T))), nil)
	if err != nil {
		return nil, err
	}
	mem, err := mapShm(name)
	if err != nil {
		f.Close()
		return nil, err
	}
	return &mappedWords[T]{f, int(f.Fd()), mem, at[T](mem)}, nil
}

func (m *mappedWords[T]) Close() error { return errors.Join(m.mem.Close(), m.shmFile.Close()) }

// fileLocks are locks that the kernel keeps for a file. The kernel releases
// them with the last descriptor.
var fileLocks = harness.Locks{
	"flock": fileLockOpener(
		func(fd int) error { return flock(fd, unix.LOCK_EX) },
		func(fd int) error { return flock(fd, unix.LOCK_UN) }),
	"ofd": fileLockOpener(
		func(fd int) error { return setOFD(fd, unix.F_WRLCK) },
		func(fd int) error { return setOFD(fd, unix.F_UNLCK) }),
}

func flock(fd, how int) error {
	return uninterrupted(func() error { return unix.Flock(fd, how) })
}

func setOFD(fd int, what int16) error {
	lock := unix.Flock_t{Type: what, Whence: io.SeekStart, Len: 1}
	return uninterrupted(func() error { return unix.FcntlFlock(uintptr(fd), unix.F_OFD_SETLKW, &lock) })
}

// uninterrupted repeats a call that was interrupted by a signal, such as those
// of the Go scheduler.
func uninterrupted(call func() error) error {
	for {
		if err := call(); err != unix.EINTR {
			return err
		}
	}
}

// fileLock is one descriptor of a file.
type fileLock struct {
	shmFile
	fd               int
	acquire, release func(fd int) error
}

func fileLockOpener(acquire, release func(fd int) error) harness.LockOpener {
	return func(name string) (harness.Lock, error) {
		f, err := openShm(name)
		if err != nil {
			return nil, err
		}
		return &fileLock{f, int(f.Fd()), acquire, release}, nil
	}
}

func (l *fileLock) Lock() error { return l.acquire(l.fd) }

func (l *fileLock) Unlock() error { return l.release(l.fd) }

// usageOf reads the resource usage of a process from outside, at no cost for
// that process.
func usageOf(pid int) (u usage) {
	threads, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", pid))
	u.threads = len(threads)
	for _, path := range threads {
		var onCPU time.Duration
		if text, err := os.ReadFile(path); err == nil {
			fmt.Sscan(string(text), (*int64)(&onCPU))
		}
		u.cpu += onCPU
	}
	return u
}

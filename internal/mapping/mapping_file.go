//go:build linux && !sharedseg_portable

package mapping

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/sharedseg/sharedseg/internal/kernel"
	"github.com/sharedseg/sharedseg/internal/layout"
	"golang.org/x/sys/unix"
)

const defaultDir = "/dev/shm"

// Object is an open file. Its methods may be called concurrently, but for Close.
type Object struct {
	fd       int
	path     string
	dev, ino uint64
	readOnly bool
	created  bool
}

// Path is the file of a place. It is absolute, as the current directory may change before the object is closed.
func Path(p *Place) string {
	dir := p.Dir
	if dir == "" {
		dir = defaultDir
	}
	path := filepath.Join(dir, p.Name)
	if abs, err := filepath.Abs(path); err == nil {
		return abs
	}
	return path
}

// Names lists the regular files of a directory that could be objects; dir as in Place.
func Names(dir string) ([]string, error) {
	if dir == "" {
		dir = defaultDir
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, noDir(dir, err)
	}
	var names []string
	for _, e := range entries {
		if e.Type().IsRegular() && CheckName(e.Name()) == nil {
			names = append(names, e.Name())
		}
	}
	return names, nil
}

// Enter opens the object that the name leads to, creates it if that is wanted, and takes its registry lock. Between
// the opening and the lock the name may come to lead elsewhere; then Enter starts again.
func Enter(p *Place, create, readOnly bool, limit time.Duration) (*Object, error) {
	refusals := 10
	for deadline := time.Now().Add(limit); ; {
		o, err := Open(p, readOnly)
		if create && errors.Is(err, fs.ErrNotExist) {
			o, err = Create(p)
		}
		var current bool
		if err == nil {
			if err = o.LockRegistry(limit); err == nil {
				current, err = o.Current()
			}
			if current {
				return o, nil
			}
			o.Close()
		}
		switch {
		case err == nil || create && errors.Is(err, fs.ErrExist):
		case errors.Is(err, fs.ErrPermission) && create && p.Mode&^DefaultMode != 0 && refusals > 0:
			// Another user, who creates it now, may be about to give back what the umask took from its mode.
			refusals--
			time.Sleep(time.Millisecond)
		default:
			return nil, err
		}
		if time.Now().After(deadline) {
			return nil, errors.New("the name has kept changing what it leads to for too long")
		}
	}
}

// Open opens an existing object. It never creates: O_CREAT on another user's file in a sticky directory is
// refused by fs.protected_regular, even if the file's mode permits the access.
func Open(p *Place, readOnly bool) (*Object, error) {
	flags := unix.O_RDWR
	if readOnly {
		flags = unix.O_RDONLY
	}
	path := Path(p)
	// O_NONBLOCK: a FIFO planted in the name's place must not block us.
	fd, err := openat(path, flags|unix.O_NONBLOCK, 0)
	switch {
	case errors.Is(err, unix.ELOOP):
		return nil, fmt.Errorf("%w: %s is a symbolic link; remove it, or name the file itself", layout.ErrIncompatible, path)
	case errors.Is(err, unix.EISDIR):
		return nil, fmt.Errorf("%w: %s is a directory", layout.ErrIncompatible, path)
	case errors.Is(err, unix.ENXIO):
		return nil, notRegular(path)
	case errors.Is(err, unix.ENOENT):
		return nil, noDir(filepath.Dir(path), err)
	case errors.Is(err, unix.EROFS):
		return nil, fmt.Errorf("%w: %w", fs.ErrPermission, err)
	case err != nil:
		return nil, err
	}
	o := &Object{fd: fd, path: path, readOnly: readOnly}
	if err := o.identify(p); err != nil {
		unix.Close(fd)
		return nil, err
	}
	return o, nil
}

// Create creates an empty object.
func Create(p *Place) (*Object, error) {
	path := Path(p)
	mode := p.mode()
	fd, err := openat(path, unix.O_RDWR|unix.O_CREAT|unix.O_EXCL, uint32(mode))
	if err != nil {
		if errors.Is(err, unix.ENOENT) {
			err = noDir(filepath.Dir(path), err)
		}
		return nil, full(err)
	}
	o := &Object{fd: fd, path: path, created: true}
	err = unix.Fchmod(fd, uint32(mode)) // whatever the umask
	if err == nil {
		err = o.identify(p)
	}
	if err != nil {
		unix.Close(fd)
		return nil, err
	}
	return o, nil
}

func openat(path string, flags int, mode uint32) (int, error) {
	return again(func() (int, error) {
		return unix.Open(path, flags|unix.O_NOFOLLOW|unix.O_CLOEXEC, mode)
	})
}

// identify remembers which file this is, and refuses what is not a plain file of a user that p trusts.
func (o *Object) identify(p *Place) error {
	var st unix.Stat_t
	if err := unix.Fstat(o.fd, &st); err != nil {
		return err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return notRegular(o.path)
	}
	if uid := os.Geteuid(); int(st.Uid) != uid && p.Mode&0o066 == 0 {
		return fmt.Errorf("%w: %s belongs to user %d, this process is user %d; "+
			"to share it on purpose set Options.Mode to the mode that the owner gave it, such as 0660",
			fs.ErrPermission, o.path, st.Uid, uid)
	}
	o.dev, o.ino = uint64(st.Dev), st.Ino
	return nil
}

func notRegular(path string) error {
	return fmt.Errorf("%w: %s is not a regular file", layout.ErrIncompatible, path)
}

func noDir(dir string, err error) error {
	if _, e := os.Stat(dir); errors.Is(e, fs.ErrNotExist) {
		return fmt.Errorf("directory %s does not exist: create it, or set Options.Dir to another: %w", dir, fs.ErrNotExist)
	}
	return err
}

// full turns the errors of a full place into ErrNoSpace.
func full(err error) error {
	for _, no := range []unix.Errno{unix.ENOSPC, unix.EDQUOT, unix.EFBIG} {
		if errors.Is(err, no) {
			return fmt.Errorf("%w: free some or set Options.Dir to another place: %w", ErrNoSpace, err)
		}
	}
	return err
}

// Created reports whether the object was made by Create.
func (o *Object) Created() bool { return o.created }

// ReadOnly reports whether the object is open for reading only.
func (o *Object) ReadOnly() bool { return o.readOnly }

// Current reports whether the path still leads to this file.
func (o *Object) Current() (bool, error) {
	var st unix.Stat_t
	err := unix.Lstat(o.path, &st)
	if errors.Is(err, unix.ENOENT) {
		return false, nil
	}
	return err == nil && uint64(st.Dev) == o.dev && st.Ino == o.ino, err
}

// Info returns the file's size and mode.
func (o *Object) Info() (Info, error) {
	var st unix.Stat_t
	if err := unix.Fstat(o.fd, &st); err != nil {
		return Info{}, err
	}
	return Info{Size: st.Size, Mode: fs.FileMode(st.Mode & 0o777), ID: o.dev<<48 ^ o.ino}, nil
}

// ReadAt reads as io.ReaderAt does, but fewer bytes than asked for are no error.
func (o *Object) ReadAt(b []byte, off int64) (int, error) {
	n, err := again(func() (int, error) { return unix.Pread(o.fd, b, off) })
	return max(n, 0), err
}

// Reset makes the file empty, writes mark and reserves size bytes, all zero but the mark; so there is no moment
// at which it is longer than nothing and has no mark. All its memory is taken now: a sparse file in a full place
// would kill its users with SIGBUS later. The caller holds the registry and nobody is attached.
func (o *Object) Reset(p *Place, mark []byte, size int64) error {
	info, err := o.Info()
	if err != nil {
		return err
	}
	if mode := p.mode(); info.Mode != mode {
		if err := unix.Fchmod(o.fd, uint32(mode)); err != nil {
			return fmt.Errorf("set mode %v of %s: %w", mode, o.path, err)
		}
	}
	if err := unix.Ftruncate(o.fd, 0); err != nil {
		return err
	}
	if err := o.write(mark, 0); err != nil {
		return err
	}
	return o.Reserve(int64(len(mark)), size)
}

// Reserve makes the file to bytes long, if it is shorter, and takes memory for what lies behind from.
func (o *Object) Reserve(from, to int64) error {
	for at := from; at < to; {
		// A signal undoes a whole call on some kernels, so that a long one might never end.
		n := min(to-at, 16<<20)
		_, err := again(func() (int, error) { return 0, unix.Fallocate(o.fd, 0, at, n) })
		if errors.Is(err, unix.EOPNOTSUPP) {
			return o.fill(at, to)
		}
		if err != nil {
			return full(err)
		}
		at += n
	}
	return nil
}

// fill reserves what lies between from and to by writing zeros.
func (o *Object) fill(from, to int64) error {
	zeros := make([]byte, min(to-from, 1<<20))
	for from < to {
		n := min(to-from, int64(len(zeros)))
		if err := o.write(zeros[:n], from); err != nil {
			return err
		}
		from += n
	}
	return nil
}

func (o *Object) write(b []byte, off int64) error {
	for len(b) > 0 {
		n, err := again(func() (int, error) { return unix.Pwrite(o.fd, b, off) })
		if err != nil {
			return full(err)
		}
		if n == 0 {
			return io.ErrShortWrite
		}
		b, off = b[n:], off+int64(n)
	}
	return nil
}

// Lasting says that an object outlives those who have it open, until it is unlinked.
const Lasting = true

// Family returns nothing: files need no kernel objects beside them.
func (o *Object) Family() *kernel.Family { return nil }

// Unlink takes the name away. The caller knows that it is Current.
func (o *Object) Unlink() error { return unix.Unlink(o.path) }

// Close closes the file, which drops its locks. Mappings stay.
func (o *Object) Close() error { return unix.Close(o.fd) }

// again repeats a system call that a signal interrupts; the Go runtime sends itself signals to preempt.
func again(call func() (int, error)) (int, error) {
	for {
		n, err := call()
		if !errors.Is(err, unix.EINTR) {
			return n, err
		}
	}
}

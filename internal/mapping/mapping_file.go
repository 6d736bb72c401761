//go:build unix && !aix

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
	"github.com/sharedseg/sharedseg/internal/step"
	"github.com/sharedseg/sharedseg/internal/wait"
	"golang.org/x/sys/unix"
)

// Object is an open file. Its methods except Close may be called concurrently.
type Object struct {
	openFile
	reader   int64 // the byte by which it is counted as a reader; 0 if it is not a reader
	path     string
	id       inode
	readOnly bool
	created  bool
}

// Path returns the path of a place's file. It is absolute, as the current
// directory may change before the object is closed.
func Path(p *Place) string {
	path := filepath.Join(p.dir(), p.Name)
	if abs, err := filepath.Abs(path); err == nil {
		return abs
	}
	return path
}

func (p *Place) dir() string {
	if p.Dir == "" {
		return defaultDir()
	}
	return p.Dir
}

// Names returns the names of the regular files in the place's directory that
// could be objects.
func Names(p *Place) ([]string, error) {
	if err := p.checkDir(); err != nil {
		return nil, err
	}
	if err := p.vetDir(); errors.Is(err, fs.ErrNotExist) {
		return nil, nil // Create makes the directory
	} else if err != nil {
		return nil, err
	}
	entries, err := os.ReadDir(p.dir())
	if err != nil {
		return nil, advise(p.dir(), err)
	}
	var names []string
	for _, e := range entries {
		if e.Type().IsRegular() && CheckName(e.Name()) == nil {
			names = append(names, e.Name())
		}
	}
	return names, nil
}

// Enter opens the object at p, or creates it if create is set and it does not
// exist. It then locks the object's registry. If the name refers to another
// file by the time the registry is locked, Enter starts again.
func Enter(p *Place, create, readOnly bool, limit time.Duration) (*Object, error) {
	refusals := 10
	for budget := wait.NewBudget(limit); ; {
		o, err := Open(p, readOnly)
		if create && errors.Is(err, fs.ErrNotExist) {
			o, err = Create(p)
		}
		var current bool
		if err == nil {
			step.At(step.FileOpened)
			if err = o.lockRegistry(&budget); err == nil {
				step.At(step.RegistryLocked)
				current, err = o.Current()
			}
			if current {
				return o, nil
			}
			if err != nil {
				o.abandon()
			}
			o.Close()
		}
		switch {
		case err == nil || create && errors.Is(err, fs.ErrExist):
		case errors.Is(err, fs.ErrPermission) && create && p.Mode&^DefaultMode != 0 && refusals > 0:
			// Another user may just be creating the file, and be about to
			// restore the mode bits that the umask has removed.
			refusals--
			time.Sleep(time.Millisecond)
		default:
			return nil, err
		}
		if !budget.Sleep(10 * time.Microsecond) {
			return nil, fmt.Errorf("%s kept referring to different files for %v: %w", Path(p), limit, os.ErrDeadlineExceeded)
		}
	}
}

// Open opens an existing object. It never creates one: in a sticky directory,
// fs.protected_regular makes the kernel refuse O_CREAT for another user's file,
// even if the file's mode permits the access.
func Open(p *Place, readOnly bool) (*Object, error) {
	flags := unix.O_RDWR
	if readOnly {
		flags = unix.O_RDONLY
	}
	if err := p.vetDir(); err != nil {
		return nil, err
	}
	o := &Object{path: Path(p), readOnly: readOnly}
	// O_NONBLOCK, as a FIFO that was planted under the name must not block the
	// call.
	if err := o.open(o.path, flags|unix.O_NONBLOCK, 0); err != nil {
		return nil, refusal(o.path, err)
	}
	if err := o.identify(p); err != nil {
		o.Close()
		return nil, err
	}
	return o, nil
}

// refusal returns an error that says why a path could not be opened. The
// systems' own errors differ, for example about symbolic links.
func refusal(path string, err error) error {
	st, e := lstat(path)
	switch {
	case e == nil && st.kind == unix.S_IFLNK:
		return fmt.Errorf("%w: %s is a symbolic link; remove it, or name the file itself", layout.ErrIncompatible, path)
	case e == nil && st.kind == unix.S_IFDIR:
		return fmt.Errorf("%w: %s is a directory", layout.ErrIncompatible, path)
	case e == nil && st.kind != unix.S_IFREG:
		return notRegular(path)
	case e == nil && errors.Is(err, unix.EACCES):
		return fmt.Errorf("%s belongs to user %d and has mode %v, this process is user %d: have its owner change that; "+
			"OpenReader needs no more than read permission: %w", path, st.uid, st.mode, os.Geteuid(), err)
	}
	return advise(filepath.Dir(path), err)
}

// advise adds advice to a system's error about a file in dir.
func advise(dir string, err error) error {
	switch {
	case errors.Is(err, unix.ENOENT):
		return noDir(dir, err)
	case errors.Is(err, unix.ENAMETOOLONG):
		return fmt.Errorf("%w: the path %.60q… is too long: set Options.Dir to another: %w", fs.ErrInvalid, dir, err)
	case errors.Is(err, unix.ENOTDIR):
		return fmt.Errorf("%w: %s is not a directory: set Options.Dir to another: %w", fs.ErrInvalid, dir, err)
	case errors.Is(err, unix.EACCES):
		return fmt.Errorf("user %d may not use %s: change its permissions, or set Options.Dir to another: %w", os.Geteuid(), dir, err)
	case errors.Is(err, unix.EROFS):
		return fmt.Errorf("%w: nothing can be written in %s: set Options.Dir to another; OpenReader can read what exists: %w",
			fs.ErrPermission, dir, err)
	case errors.Is(err, unix.EMFILE):
		return fmt.Errorf("each handle needs a file descriptor: close some, or raise RLIMIT_NOFILE (ulimit -n): %w", err)
	case errors.Is(err, unix.ENFILE):
		return fmt.Errorf("each handle needs a file descriptor: close some, or raise the system's limit (sysctl fs.file-max): %w", err)
	}
	return full(err)
}

func (p *Place) mode() fs.FileMode {
	if p.Mode == 0 {
		return DefaultMode
	}
	return p.Mode
}

// Create creates an empty object.
func Create(p *Place) (*Object, error) {
	o := &Object{path: Path(p), created: true}
	if err := p.makeDir(); err != nil {
		return nil, advise(filepath.Dir(o.path), err)
	}
	mode := uint32(p.mode())
	err := o.open(o.path, unix.O_RDWR|unix.O_CREAT|unix.O_EXCL, mode)
	if err != nil {
		return nil, advise(filepath.Dir(o.path), err)
	}
	step.At(step.FileCreated)
	st, err := fstat(o.fd)
	if err == nil && st.mode != p.mode() { // the umask may have removed bits
		err = o.chmod(mode)
	}
	step.At(step.FileModeSet)
	if err == nil {
		err = o.identify(p)
	}
	if err != nil {
		o.abandon()
		o.Close()
		return nil, err
	}
	return o, nil
}

// abandon removes the file if this Object has created it and no other has used
// it since.
func (o *Object) abandon() {
	if !o.created {
		return
	}
	// If the file system has no locks, no other handle can use the file either.
	if free, err := o.set(unix.F_WRLCK, layout.RegistryByte); err == nil && !free {
		return
	}
	st, err := fstat(o.fd)
	if err != nil || st.size != 0 {
		return
	}
	o.id = st.id
	if current, _ := o.Current(); current {
		o.Unlink()
	}
}

func openat(path string, flags int, mode uint32) (fd int, err error) {
	err = again(func() (err error) {
		fd, err = unix.Open(path, flags|unix.O_NOFOLLOW|unix.O_CLOEXEC, mode)
		return err
	})
	return fd, err
}

func (o *Object) chmod(mode uint32) error {
	if err := again(func() error { return unix.Fchmod(o.fd, mode) }); err != nil {
		return fmt.Errorf("set mode %v of %s: %w", fs.FileMode(mode), o.path, err)
	}
	return nil
}

// identify records which file the object is. It refuses anything but a regular
// file with one name, of a user that p trusts.
func (o *Object) identify(p *Place) error {
	st, err := fstat(o.fd)
	if err != nil {
		return err
	}
	if st.kind != unix.S_IFREG {
		return notRegular(o.path)
	}
	if st.links > 1 {
		return fmt.Errorf("%w: %s is one of several names of its file, which another user may have created: remove it",
			layout.ErrIncompatible, o.path)
	}
	if uid := os.Geteuid(); st.uid != uid && p.Mode&0o066 == 0 && !(p.Others && uid == 0) {
		return fmt.Errorf("%w: %s belongs to user %d, this process is user %d; "+
			"to share it on purpose set Options.Mode to the mode that the owner gave it, such as 0660",
			fs.ErrPermission, o.path, st.uid, uid)
	}
	o.id = st.id
	return nil
}

// status is what the system knows about a file, in the same types on all
// systems.
type status struct {
	id   inode
	kind uint32 // S_IFREG …
	mode fs.FileMode
	uid  int
	// links is the number of names.
	links uint64
	size  int64
	held  int64 // bytes of memory or disk allocated
}

// inode distinguishes a file from all others that exist at the same time.
type inode struct{ dev, ino uint64 }

func fstat(fd int) (status, error) {
	var st unix.Stat_t
	err := again(func() error { return unix.Fstat(fd, &st) })
	return statusOf(&st), err
}

func lstat(path string) (status, error) {
	var st unix.Stat_t
	err := again(func() error { return unix.Lstat(path, &st) })
	return statusOf(&st), err
}

func statusOf(st *unix.Stat_t) status {
	return status{
		id:    inode{uint64(st.Dev), st.Ino},
		kind:  uint32(st.Mode) & unix.S_IFMT,
		mode:  fs.FileMode(st.Mode & 0o777),
		uid:   int(st.Uid),
		links: uint64(st.Nlink),
		size:  st.Size,
		held:  int64(st.Blocks) * 512,
	}
}

func notRegular(path string) error {
	return fmt.Errorf("%w: %s is not a regular file", layout.ErrIncompatible, path)
}

func noDir(dir string, err error) error {
	if _, e := os.Stat(dir); errors.Is(e, fs.ErrNotExist) {
		return fmt.Errorf("directory %s does not exist: create it, or set Options.Dir to another: %w", dir, fs.ErrNotExist)
	}
	return ErrAbsent
}

// full wraps the errors of a full place in ErrNoSpace.
func full(err error) error {
	for _, no := range []unix.Errno{unix.ENOSPC, unix.EDQUOT} {
		if errors.Is(err, no) {
			return fmt.Errorf("%w: free some or set Options.Dir to another place: %w", ErrNoSpace, err)
		}
	}
	if errors.Is(err, unix.EFBIG) {
		return fmt.Errorf("%w: take a smaller Options.Capacity, or raise RLIMIT_FSIZE (ulimit -f): %w", ErrNoSpace, err)
	}
	return err
}

// Created reports whether Create created the object.
func (o *Object) Created() bool { return o.created }

// ReadOnly reports whether the object is open for reading only.
func (o *Object) ReadOnly() bool { return o.readOnly }

// Current reports whether the path still refers to this file.
func (o *Object) Current() (bool, error) {
	st, err := lstat(o.path)
	if errors.Is(err, unix.ENOENT) {
		return false, nil
	}
	return err == nil && st.id == o.id, err
}

// Info returns the file's size, mode, owner and identity.
func (o *Object) Info() (Info, error) {
	st, err := fstat(o.fd)
	if err != nil {
		return Info{}, err
	}
	return Info{Size: st.size, Held: st.held, Mode: st.mode, UID: st.uid, ID: st.id.dev<<48 ^ st.id.ino}, nil
}

// Reset writes mark over the content, truncates the file to the mark's length
// and reserves size bytes, which are zero except for the mark. The caller must
// hold the registry, and no handle may be attached.
//
// So at every moment a file that is not empty has a mark, and either the old
// content or the mark says that an owner died. All memory is reserved now, as a
// sparse file in a full place would later kill its users with SIGBUS.
func (o *Object) Reset(p *Place, mark []byte, size int64) error {
	info, err := o.Info()
	if err != nil {
		return err
	}
	if mode := p.mode(); info.Mode != mode {
		if err := o.chmod(uint32(mode)); err != nil {
			return err
		}
	}
	if err := o.write(mark, 0); err != nil {
		return o.explain(err)
	}
	step.At(step.FileMarked)
	if err := again(func() error { return unix.Ftruncate(o.fd, int64(len(mark))) }); err != nil {
		return err
	}
	step.At(step.FileCut)
	err = o.Reserve(int64(len(mark)), size)
	step.At(step.FileReserved)
	return err
}

// fill reserves the bytes from from to to by writing zeros.
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
		var n int
		err := again(func() (err error) { n, err = unix.Pwrite(o.fd, b, off); return err })
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

// Lasting reports whether objects at the place outlive their handles until they
// are unlinked.
func (p *Place) Lasting() bool { return true }

// Family returns nil: files need no kernel objects.
func (o *Object) Family() *kernel.Family { return nil }

// Unlink removes the name. The caller must have checked that the object is
// Current.
func (o *Object) Unlink() error {
	step.At(step.Unlinking)
	err := again(func() error { return unix.Unlink(o.path) })
	step.At(step.Unlinked)
	return err
}

// Close closes the file, which drops its locks. Mappings stay.
func (o *Object) Close() error { return o.close() }

// again repeats a system call until no signal interrupts it. The Go runtime
// sets SA_RESTART for all signals, but that has no effect on some calls and on
// some file systems: those in user space can return EINTR from any call. The
// runtime sends itself signals to preempt goroutines. Every system call of this
// package is made through again, except that of closeFile.
func again(call func() error) error {
	for {
		if err := call(); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

// closeFile closes a descriptor. If a signal interrupts the call, the
// descriptor is released anyway. A second call would close whatever another
// goroutine has opened meanwhile.
func closeFile(fd int) error {
	if err := unix.Close(fd); !errors.Is(err, unix.EINTR) {
		return err
	}
	return nil
}

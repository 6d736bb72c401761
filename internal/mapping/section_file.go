//go:build windows

package mapping

import (
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/sharedseg/sharedseg/internal/kernel"
	"github.com/sharedseg/sharedseg/internal/layout"
	"github.com/sharedseg/sharedseg/internal/wait"
	"golang.org/x/sys/windows"
)

// file is the file behind a section if the Place has a directory. While it is
// open, no process can rename, remove or truncate it, as it is not shared for
// that.
type file struct {
	place *Place
	path  string
	sa    *windows.SecurityAttributes
	h     windows.Handle // InvalidHandle: not open
}

// newFile returns a file that is not open yet. The names of its kernel objects
// are made of the identity of its directory and its name, so that all paths to
// the file lead to the same objects: two families for one file would give its
// lock two owners. The objects belong to all sessions, as the file does. The
// '!' keeps their names apart from those of page-file sections.
func newFile(p *Place) (store, *kernel.Family, error) {
	if strings.HasSuffix(p.Name, ".") || !filepath.IsLocal(p.Name) {
		return nil, nil, fmt.Errorf("%w: Windows cannot have a file named %q: it is a device's name, or ends in dots, which Windows drops",
			fs.ErrInvalid, p.Name)
	}
	id := fnv.New128a()
	if err := identifyDir(id, p.Dir); err != nil {
		return nil, nil, err
	}
	io.WriteString(id, strings.ToLower(p.Name))
	family, err := kernel.NewFamily(fmt.Sprintf(`Global\!%x`, id.Sum(nil)), p.SecurityDescriptor)
	if err != nil {
		return nil, nil, err
	}
	return &file{place: p, path: Path(p), sa: family.Attributes(), h: windows.InvalidHandle}, family, nil
}

// identifyDir writes the identity of a directory of this machine, a
// FILE_ID_INFO. It is the same for all paths to the directory.
func identifyDir(w io.Writer, dir string) error {
	name, err := windows.UTF16PtrFromString(dir)
	if err != nil {
		return err
	}
	h, err := windows.CreateFile(name, 0, windows.FILE_SHARE_READ|windows.FILE_SHARE_WRITE|windows.FILE_SHARE_DELETE,
		nil, windows.OPEN_EXISTING, windows.FILE_FLAG_BACKUP_SEMANTICS, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("directory %s does not exist: create it, or set Options.Dir to another: %w", dir, fs.ErrNotExist)
	}
	if errors.Is(err, windows.ERROR_INVALID_NAME) || errors.Is(err, windows.ERROR_FILENAME_EXCED_RANGE) {
		return fmt.Errorf("%w: Windows cannot have a directory named %.60q: set Options.Dir to another: %w", fs.ErrInvalid, dir, err)
	}
	if err != nil {
		return &fs.PathError{Op: "open", Path: dir, Err: err}
	}
	defer windows.CloseHandle(h)
	var path [4 * windows.MAX_LONG_PATH]uint16
	n, err := windows.GetFinalPathNameByHandle(h, &path[0], uint32(len(path)), 0)
	if err != nil {
		return &fs.PathError{Op: "identify", Path: dir, Err: err}
	}
	if strings.HasPrefix(windows.UTF16ToString(path[:n]), `\\?\UNC\`) {
		return fmt.Errorf("%w: %s is on another machine, whose locks this one does not see", errors.ErrUnsupported, dir)
	}
	var id [24]byte // the volume's serial number and the file's ID
	if err := windows.GetFileInformationByHandleEx(h, windows.FileIdInfo, &id[0], uint32(len(id))); err != nil {
		return &fs.PathError{Op: "identify", Path: dir, Err: err}
	}
	_, err = w.Write(id[:])
	return err
}

func (f *file) open(readOnly bool) (windows.Handle, int64, error) {
	if err := f.openFile(readOnly, windows.OPEN_EXISTING); err != nil {
		return 0, 0, err
	}
	info, err := f.info()
	if err != nil {
		return 0, 0, err
	}
	size := int64(info.FileSizeHigh)<<32 | int64(info.FileSizeLow)
	if size == 0 {
		return 0, 0, nil
	}
	h, err := f.section(readOnly)
	if errors.Is(err, windows.ERROR_FILE_INVALID) {
		return 0, 0, nil // it was truncated to nothing meanwhile
	}
	return h, size, err
}

func (f *file) create() error { return f.openFile(false, windows.CREATE_NEW) }

func (f *file) openFile(readOnly bool, how uint32) error {
	name, err := windows.UTF16PtrFromString(f.path)
	if err != nil {
		return err
	}
	access := uint32(windows.GENERIC_READ)
	if !readOnly {
		access |= windows.GENERIC_WRITE
	}
	f.h, err = windows.CreateFile(name, access, windows.FILE_SHARE_READ|windows.FILE_SHARE_WRITE, f.sa, how,
		windows.FILE_ATTRIBUTE_NORMAL|windows.FILE_FLAG_OPEN_REPARSE_POINT, 0)
	if err != nil {
		if i, e := os.Lstat(f.path); e == nil && !i.Mode().IsRegular() {
			return fmt.Errorf("%w: %s is not a regular file", layout.ErrIncompatible, f.path)
		}
		if errors.Is(err, fs.ErrNotExist) { // newFile found the directory
			return ErrAbsent
		}
		return full(err)
	}
	err = f.check()
	if err != nil {
		f.close()
	}
	return err
}

// check refuses anything but a regular file with one name, of a user that the
// place trusts.
func (f *file) check() error {
	info, err := f.info()
	if err != nil {
		return err
	}
	const link = windows.FILE_ATTRIBUTE_REPARSE_POINT | windows.FILE_ATTRIBUTE_DIRECTORY
	if kind, err := windows.GetFileType(f.h); err != nil || kind != windows.FILE_TYPE_DISK || info.FileAttributes&link != 0 {
		return fmt.Errorf("%w: %s is not a regular file", layout.ErrIncompatible, f.path)
	}
	if info.NumberOfLinks > 1 {
		return fmt.Errorf("%w: %s has %d names, so it is not known which processes have it open", layout.ErrIncompatible, f.path, info.NumberOfLinks)
	}
	return identify(f.place, f.h, windows.SE_FILE_OBJECT)
}

func (f *file) info() (*windows.ByHandleFileInformation, error) {
	var info windows.ByHandleFileInformation
	return &info, windows.GetFileInformationByHandle(f.h, &info)
}

func (f *file) section(readOnly bool) (windows.Handle, error) {
	protection := uint32(windows.PAGE_READWRITE)
	if readOnly {
		protection = windows.PAGE_READONLY
	}
	h, err := windows.CreateFileMapping(f.h, f.sa, protection, 0, 0, nil)
	if h == 0 {
		return 0, full(fmt.Errorf("map %s: %w", f.path, err))
	}
	return h, nil
}

// reset writes the mark over the content, truncates the file to the mark's
// length and makes it size bytes long. So at every moment a file that is not
// empty has a mark, and either the old content or the mark says that an owner
// died. The system reserves the space now.
func (f *file) reset(mark []byte, size int64) (windows.Handle, error) {
	if _, err := windows.Seek(f.h, 0, 0); err != nil {
		return 0, err
	}
	var n uint32
	if err := windows.WriteFile(f.h, mark, &n, nil); err != nil {
		return 0, full(err)
	}
	if err := f.cut(int64(len(mark))); err != nil {
		return 0, err
	}
	h, _, err := f.reserve(size)
	return h, err
}

// cut truncates the file. It waits until processes that are ending have
// released their mappings of it.
func (f *file) cut(size int64) error {
	for budget := wait.NewBudget(5 * time.Second); ; {
		err := f.resize(size)
		if !errors.Is(err, windows.ERROR_USER_MAPPED_FILE) {
			return err
		}
		if !budget.Sleep(time.Millisecond) {
			return fmt.Errorf("a program still maps %s, whose users are gone; end it: %w: %w", f.path, os.ErrDeadlineExceeded, err)
		}
	}
}

func (f *file) resize(size int64) error {
	if _, err := windows.Seek(f.h, size, 0); err != nil {
		return err
	}
	return windows.SetEndOfFile(f.h)
}

func (f *file) reserve(size int64) (windows.Handle, int64, error) {
	if err := f.resize(size); err != nil {
		return 0, 0, full(err)
	}
	h, err := f.section(false)
	return h, size, err
}

// unlink removes the file. It closes the handle first, as that does not permit
// it. Another process may have the file open for a moment to look at it.
func (f *file) unlink() error {
	f.close()
	for budget := wait.NewBudget(100 * time.Millisecond); ; {
		err := os.Remove(f.path)
		if errors.Is(err, windows.ERROR_SHARING_VIOLATION) && budget.Sleep(time.Millisecond) {
			continue
		}
		if errors.Is(err, windows.ERROR_SHARING_VIOLATION) {
			err = fmt.Errorf("%w: Windows does not remove a file that a process has open: %w", errors.ErrUnsupported, err)
		}
		return err
	}
}

func (f *file) canFail() bool { return true }

func (f *file) close() error {
	if f.h == windows.InvalidHandle {
		return nil
	}
	h := f.h
	f.h = windows.InvalidHandle
	return windows.CloseHandle(h)
}

// fileNames returns the names of the regular files in a directory that could be
// objects.
func fileNames(dir string) ([]string, error) {
	entries, err := os.ReadDir(filepath.Clean(dir))
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		if e.Type().IsRegular() && CheckName(e.Name()) == nil {
			names = append(names, e.Name())
		}
	}
	return names, nil
}

//go:build windows

package mapping

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"github.com/sharedseg/sharedseg/internal/kernel"
	"github.com/sharedseg/sharedseg/internal/layout"
	"github.com/sharedseg/sharedseg/internal/wait"
	"golang.org/x/sys/windows"
)

// pageFile is a named section of the page file. The system frees its memory and
// its name with its last handle.
type pageFile struct {
	place  *Place
	family *kernel.Family
}

func newPageFile(p *Place) (store, *kernel.Family, error) {
	family, err := kernel.NewFamily(Path(p), p.SecurityDescriptor)
	return &pageFile{p, family}, family, err
}

func (s *pageFile) open(readOnly bool) (windows.Handle, int64, error) {
	access := uint32(windows.FILE_MAP_READ | windows.READ_CONTROL)
	if !readOnly {
		access |= windows.FILE_MAP_WRITE
	}
	h, err := openFileMapping(access, s.family.Base())
	if errors.Is(err, windows.ERROR_INVALID_HANDLE) {
		return 0, 0, s.otherKind()
	}
	if errors.Is(err, fs.ErrNotExist) {
		return 0, 0, ErrAbsent
	}
	if err != nil {
		return 0, 0, err
	}
	size, err := sectionSize(h)
	if err == nil {
		err = identify(s.place, h, windows.SE_KERNEL_OBJECT)
	}
	if err != nil {
		windows.CloseHandle(h)
		return 0, 0, err
	}
	return h, size, nil
}

func (s *pageFile) otherKind() error {
	return fmt.Errorf("%w: %s is an object of another kind", layout.ErrIncompatible, s.family.Base())
}

func (s *pageFile) create() error { return nil }

// reset creates the section. An existing section to which no handle is attached
// belongs to processes that are ending, so reset waits for its end. The memory
// is committed now, so a full page file is not an error later.
func (s *pageFile) reset(mark []byte, size int64) (windows.Handle, error) {
	if err := s.awaitEnd(); err != nil {
		return 0, err
	}
	h, existed, err := s.section(size)
	if err != nil {
		return 0, err
	}
	if existed {
		err = fmt.Errorf("%w: another program has just created %s", layout.ErrIncompatible, s.family.Base())
	} else {
		err = write(h, mark)
	}
	if err != nil {
		windows.CloseHandle(h)
		return 0, err
	}
	return h, nil
}

// awaitEnd waits until no process has the section open.
func (s *pageFile) awaitEnd() error {
	budget := wait.NewBudget(5 * time.Second)
	for pause := 100 * time.Microsecond; ; pause = min(2*pause, 10*time.Millisecond) {
		h, err := openFileMapping(windows.FILE_MAP_READ, s.family.Base())
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		windows.CloseHandle(h)
		if !budget.Sleep(pause) {
			return fmt.Errorf("a program still has %s open, whose users are gone; end it: %w",
				s.family.Base(), os.ErrDeadlineExceeded)
		}
	}
}

// reserve creates the section. A section that a program without the registry
// has created meanwhile will do as well.
func (s *pageFile) reserve(size int64) (windows.Handle, int64, error) {
	h, existed, err := s.section(size)
	if err != nil {
		return 0, 0, err
	}
	has, err := sectionSize(h)
	if err == nil && existed {
		err = identify(s.place, h, windows.SE_KERNEL_OBJECT)
	}
	if err == nil && has < size {
		err = fmt.Errorf("%w: it has %d bytes, but %d are wanted", layout.ErrIncompatible, has, size)
	}
	if err != nil {
		windows.CloseHandle(h)
		return 0, 0, err
	}
	return h, has, nil
}

// section creates the section, or opens an existing one.
func (s *pageFile) section(size int64) (h windows.Handle, existed bool, err error) {
	name, err := windows.UTF16PtrFromString(s.family.Base())
	if err != nil {
		return 0, false, err
	}
	h, err = windows.CreateFileMapping(windows.InvalidHandle, s.family.Attributes(), windows.PAGE_READWRITE,
		uint32(size>>32), uint32(size), name)
	switch {
	case h != 0:
		return h, errors.Is(err, windows.ERROR_ALREADY_EXISTS), nil
	case errors.Is(err, windows.ERROR_INVALID_HANDLE):
		err = s.otherKind()
	case errors.Is(err, fs.ErrPermission) && s.place.Global:
		err = fmt.Errorf("create %s, which requires the privilege SeCreateGlobalPrivilege: %w", s.family.Base(), err)
	default:
		err = full(fmt.Errorf("create %s with %d bytes: %w", s.family.Base(), size, err))
	}
	return 0, false, err
}

// unlink fails: Windows cannot remove the name while any process has the
// section open.
func (s *pageFile) unlink() error {
	return fmt.Errorf("%w: Windows removes this name only when its last handle is closed", errors.ErrUnsupported)
}

func (s *pageFile) canFail() bool { return false }

func (s *pageFile) close() error { return nil }

package kernel

import (
	"errors"
	"fmt"
	"io/fs"
	"sync"
	"unsafe"

	"golang.org/x/sys/windows"
)

// Family is the named kernel objects of one mapping. An object's name is the
// section's name, a '!' and the name of a part. No section's name has a '!', so
// no two objects have the same name. The methods of a Family may be called
// concurrently.
type Family struct {
	base string // the section's name, with its namespace
	sa   *windows.SecurityAttributes
}

// NewFamily returns the family of a section, given the section's name with its
// namespace. All objects are created with the security descriptor sddl. If sddl
// is empty, only the user of this process has access. NewFamily returns an
// error wrapping fs.ErrInvalid if sddl cannot be parsed.
func NewFamily(base, sddl string) (*Family, error) {
	if sddl == "" {
		var err error
		if sddl, err = ownerOnly(); err != nil {
			return nil, err
		}
	}
	sd, err := windows.SecurityDescriptorFromString(sddl)
	if err != nil {
		return nil, fmt.Errorf("%w: security descriptor %q: %w", fs.ErrInvalid, sddl, err)
	}
	if sd, err = withoutOtherOwner(sd); err != nil {
		return nil, fmt.Errorf("security descriptor %q: %w", sddl, err)
	}
	sa := &windows.SecurityAttributes{SecurityDescriptor: sd}
	sa.Length = uint32(unsafe.Sizeof(*sa))
	return &Family{base, sa}, nil
}

// ownerOnly returns the security descriptor that makes the user of this process
// the owner and gives access to nobody else.
var ownerOnly = sync.OnceValues(func() (string, error) {
	user, err := User()
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("O:%[1]sD:P(A;;GA;;;%[1]s)", user), nil
})

// withoutOtherOwner removes from a security descriptor an owner that this
// process may not assign to new objects. So all users of a segment can give the
// same descriptor, with its first creator as the owner.
func withoutOtherOwner(sd *windows.SECURITY_DESCRIPTOR) (*windows.SECURITY_DESCRIPTOR, error) {
	owner, _, err := sd.Owner()
	if err != nil || owner == nil {
		return sd, err
	}
	if mine, err := Owns(owner); mine || err != nil {
		return sd, err
	}
	absolute, err := sd.ToAbsolute()
	if err != nil {
		return nil, err
	}
	return absolute, absolute.SetOwner(nil, false)
}

// User returns the user of this process.
var User = sync.OnceValues(func() (*windows.SID, error) {
	u, err := windows.GetCurrentProcessToken().GetTokenUser()
	if err != nil {
		return nil, fmt.Errorf("get the user of this process: %w", err)
	}
	return u.User.Sid, nil
})

// Owns reports whether the owner of an object is the user of this process, or
// the owner that the system assigns to new objects of this process. The two
// differ for an administrator. Under Wine, objects without a security
// descriptor have no owner: nil counts as the user.
func Owns(owner *windows.SID) (bool, error) {
	user, err := User()
	if err != nil || owner == nil || user.Equals(owner) {
		return err == nil, err
	}
	var buf [256]byte
	var n uint32
	err = windows.GetTokenInformation(windows.GetCurrentProcessToken(), windows.TokenOwner, &buf[0], uint32(len(buf)), &n)
	if err != nil {
		return false, fmt.Errorf("get the owner of new objects: %w", err)
	}
	return (*(**windows.SID)(unsafe.Pointer(&buf[0]))).Equals(owner), nil
}

// Base returns the name of the section.
func (f *Family) Base() string { return f.base }

// Attributes returns the attributes with which every object of the family is
// created. Handles with these attributes are not inherited.
func (f *Family) Attributes() *windows.SecurityAttributes { return f.sa }

// name returns the name of a part's object for a system call.
func (f *Family) name(part string) *uint16 {
	p, err := windows.UTF16PtrFromString(f.base + "!" + part)
	if err != nil {
		panic(err) // impossible: a NUL in a checked name
	}
	return p
}

// Event opens the event of a part, and creates it if it does not exist. A
// manual event stays set once it is set. Another event is reset by the wait
// that it ends. existed reports whether the event existed before.
func (f *Family) Event(part string, manual bool) (h windows.Handle, existed bool, err error) {
	var flags uint32
	if manual {
		flags = windows.CREATE_EVENT_MANUAL_RESET
	}
	h, err = windows.CreateEventEx(f.sa, f.name(part), flags, windows.SYNCHRONIZE|windows.EVENT_MODIFY_STATE)
	return f.made("event", part, h, err)
}

// Show opens the event of a part, so that it exists until the returned handle
// is closed. The handle has only the right to wait for the event.
func (f *Family) Show(part string) (windows.Handle, error) {
	h, err := windows.CreateEventEx(f.sa, f.name(part), windows.CREATE_EVENT_MANUAL_RESET, windows.SYNCHRONIZE)
	h, _, err = f.made("event", part, h, err)
	return h, err
}

// HasEvent reports whether some process has the event of a part open.
func (f *Family) HasEvent(part string) (bool, error) {
	h, err := windows.OpenEvent(windows.SYNCHRONIZE, false, f.name(part))
	return f.has("event", part, h, err)
}

// Set sets the event of a part if some process has it open.
func (f *Family) Set(part string) {
	h, err := windows.OpenEvent(windows.EVENT_MODIFY_STATE, false, f.name(part))
	if err == nil {
		windows.SetEvent(h)
		windows.CloseHandle(h)
	}
}

// Mutex opens the mutex of a part, and creates it if it does not exist.
func (f *Family) Mutex(part string) (windows.Handle, error) {
	h, err := windows.CreateMutexEx(f.sa, f.name(part), 0, windows.SYNCHRONIZE)
	h, _, err = f.made("mutex", part, h, err)
	return h, err
}

// OpenMutex opens the mutex of a part. It returns an error matching
// fs.ErrNotExist if no process has the mutex open.
func (f *Family) OpenMutex(part string) (windows.Handle, error) {
	return windows.OpenMutex(windows.SYNCHRONIZE, false, f.name(part))
}

func (f *Family) made(kind, part string, h windows.Handle, err error) (windows.Handle, bool, error) {
	if h != 0 {
		return h, errors.Is(err, windows.ERROR_ALREADY_EXISTS), nil
	}
	if errors.Is(err, windows.ERROR_INVALID_HANDLE) {
		err = fmt.Errorf("the name belongs to an object of another kind: %w", err)
	}
	return 0, false, fmt.Errorf("create the %s %s!%s: %w", kind, f.base, part, err)
}

func (f *Family) has(kind, part string, h windows.Handle, err error) (bool, error) {
	if err == nil {
		windows.CloseHandle(h)
		return true, nil
	}
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return false, fmt.Errorf("open the %s %s!%s: %w", kind, f.base, part, err)
}

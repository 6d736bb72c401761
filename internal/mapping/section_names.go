//go:build windows

package mapping

import (
	"fmt"
	"slices"
	"sync"
	"unsafe"

	"golang.org/x/sys/windows"
)

// Functions that x/sys/windows does not have. NtOpenDirectoryObject and
// NtQueryDirectoryObject are documented for user programs (winternl.h). Names
// cannot be listed in any other way.
var (
	kernel32             = windows.NewLazySystemDLL("kernel32.dll")
	ntdll                = windows.NewLazySystemDLL("ntdll.dll")
	procOpenFileMapping  = kernel32.NewProc("OpenFileMappingW")
	procNtOpenDirectory  = ntdll.NewProc("NtOpenDirectoryObject")
	procNtQueryDirectory = ntdll.NewProc("NtQueryDirectoryObject")
)

const (
	statusSuccess       = windows.NTStatus(0)
	statusMoreEntries   = windows.NTStatus(0x105)
	statusNoMoreEntries = windows.NTStatus(0x8000001A)
	directoryQuery      = 1
)

func openFileMapping(access uint32, name string) (windows.Handle, error) {
	p, err := windows.UTF16PtrFromString(name)
	if err != nil {
		return 0, err
	}
	h, _, err := procOpenFileMapping.Call(uintptr(access), 0, uintptr(unsafe.Pointer(p)))
	if h == 0 {
		return 0, err
	}
	return windows.Handle(h), nil
}

// Names returns the names of the sections in a namespace, or of the files in a
// directory, that could be objects.
func Names(p *Place) ([]string, error) {
	if err := p.checkDir(); err != nil {
		return nil, err
	}
	if p.Dir != "" {
		return fileNames(p.Dir)
	}
	dir := directory(p.Global)
	all, err := sections(dir)
	if err != nil {
		return nil, fmt.Errorf("list %s: %w", dir, err)
	}
	all = slices.DeleteFunc(all, func(name string) bool { return CheckName(name) != nil })
	slices.Sort(all)
	return all, nil
}

// directory returns the object directory that has the names of Local\ or
// Global\.
func directory(global bool) string {
	const root = `\BaseNamedObjects`
	if global || session() == 0 {
		return root
	}
	return fmt.Sprintf(`\Sessions\%d`+root, session())
}

// session returns the number of this process's session. In session 0, that of
// the services, Local\ is the same as Global\.
var session = sync.OnceValue(func() (id uint32) {
	if err := windows.ProcessIdToSessionId(windows.GetCurrentProcessId(), &id); err != nil {
		panic(err) // impossible: each process has a session
	}
	return id
})

// objectEntry is an OBJECT_DIRECTORY_INFORMATION.
type objectEntry struct {
	name, kind windows.NTUnicodeString
}

// sections returns the names of the sections in a directory of the object
// manager.
func sections(dir string) ([]string, error) {
	path, err := windows.NewNTUnicodeString(dir)
	if err != nil {
		return nil, err
	}
	attributes := windows.OBJECT_ATTRIBUTES{ObjectName: path}
	attributes.Length = uint32(unsafe.Sizeof(attributes))
	var h windows.Handle
	status, _, _ := procNtOpenDirectory.Call(uintptr(unsafe.Pointer(&h)), directoryQuery, uintptr(unsafe.Pointer(&attributes)))
	if windows.NTStatus(status) != statusSuccess {
		return nil, windows.NTStatus(status).Errno()
	}
	defer windows.CloseHandle(h)

	var names []string
	// room for one entry and the strings that follow it; it has no pointers for
	// the garbage collector
	buf := make([]uint64, 8<<10)
	entry := (*objectEntry)(unsafe.Pointer(&buf[0]))
	for at := uint32(0); ; {
		const one = 1 // Wine does not support several at a time
		status, _, _ := procNtQueryDirectory.Call(uintptr(h), uintptr(unsafe.Pointer(&buf[0])), uintptr(8*len(buf)),
			one, 0, uintptr(unsafe.Pointer(&at)), 0)
		switch s := windows.NTStatus(status); s {
		case statusSuccess, statusMoreEntries:
		case statusNoMoreEntries:
			return names, nil
		default:
			return nil, s.Errno()
		}
		if entry.kind.String() == "Section" {
			names = append(names, entry.name.String())
		}
	}
}

//go:build unix && !aix

package layout

import (
	"runtime/debug"
	"testing"

	"golang.org/x/sys/unix"
)

// The functions that return addresses of words do not touch the memory, which
// may have vanished: they are called outside of member.Use.
func TestAddresses(t *testing.T) {
	g := &Geometry{Kind: KindSegment, Slots: 2, Capacity: 64}
	if err := g.Place(unix.Getpagesize()); err != nil {
		t.Fatal(err)
	}
	mem, err := unix.Mmap(-1, 0, int(g.Size()), unix.PROT_NONE, unix.MAP_PRIVATE|unix.MAP_ANON)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Munmap(mem)
	for what, address := range map[string]func() any{
		"NewWords":    func() any { return NewWords(mem) },
		"NewWaitPage": func() any { return NewWaitPage(mem, g) },
		"Mutex":       func() any { return NewWords(mem).Mutex() },
		"Rotor":       func() any { return NewWords(mem).Rotor() },
		"Generation":  func() any { return NewWords(mem).Generation(1) },
		"HolderPID":   func() any { return NewWords(mem).HolderPID(1) },
		"Versions":    func() any { return NewWords(mem).Versions() },
		"End":         func() any { return NewWords(mem).End() },
		"Counter":     func() any { return NewWords(mem).Counter(1) },
		"WatchFlag":   func() any { return NewWaitPage(mem, g).WatchFlag() },
		"Event":       func() any { return NewWaitPage(mem, g).Event(1) },
		"Word":        func() any { return NewWaitPage(mem, g).Word(1) },
		"Row":         func() any { return NewWaitPage(mem, g).Row(1) },
		"Slot":        func() any { s := NewSlots(mem, g); return s.Slot(1) },
		"Space":       func() any { s := NewSlots(mem, g); return s.Space(s.Slot(1)) },
	} {
		t.Run(what, func(t *testing.T) {
			debug.SetPanicOnFault(true)
			defer func() {
				if r := recover(); r != nil {
					t.Error(r)
				}
			}()
			if address() == nil {
				t.Error("nil")
			}
		})
	}
}

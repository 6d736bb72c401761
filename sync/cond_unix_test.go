//go:build unix && !aix

package ipcsync_test

import (
	"encoding/binary"
	"os"
	"testing"

	"github.com/sharedseg/sharedseg"
	"github.com/sharedseg/sharedseg/internal/layout"
	"github.com/sharedseg/sharedseg/internal/proctest"
)

// A Wait that was released and has locked the mutex succeeds, even if a peer is
// stopped while it changes the Cond. Wait leaves the rest to be done when the
// peer goes on. Its context is not done, so it must not say so.
func TestCondStoppedPeer(t *testing.T) {
	name := proctest.Name(t)
	p, peer := testPlace(t, name, nil), testPlace(t, name, nil)
	info, err := sharedseg.Stat(name+".cond", nil)
	must(t, err)
	file, err := os.OpenFile(info.Path, os.O_RDWR, 0)
	must(t, err)
	defer file.Close()
	word := func(at int) uint32 {
		var b [4]byte
		_, err := file.ReadAt(b[:], int64(at))
		must(t, err)
		return binary.NativeEndian.Uint32(b[:])
	}
	setMutex := func(v uint32) {
		_, err := file.WriteAt(binary.NativeEndian.AppendUint32(nil, v), layout.MutexOff)
		must(t, err)
	}

	got := make(chan error, 1)
	go func() { got <- p.waits(patient(t)) }()
	proctest.Eventually(t, "the goroutine waits", func() bool {
		info, err := sharedseg.Stat(name+".cond", nil)
		must(t, err)
		return info.Waiting == 1
	})
	must(t, peer.m.Lock(patient(t)))
	must(t, peer.Signal())
	proctest.Parked(t, ".(*Mutex).compete(") // the released Wait, which locks the mutex
	// From now on the second handle, which took slot 1, holds the Cond's
	// internal mutex.
	generation, _ := layout.MemberWords(1)
	setMutex(uint32(layout.NewIdent(1, word(generation))))
	must(t, peer.m.Unlock())
	if err := proctest.Receive(t, got); err != nil {
		t.Errorf("Wait = %v", err)
	}
	setMutex(0)
	proctest.Eventually(t, "nothing waits", func() bool {
		info, err := sharedseg.Stat(name+".cond", nil)
		must(t, err)
		return info.Waiting == 0
	})
	// The Signal was used up.
	go func() { got <- p.waits(patient(t)) }()
	proctest.Eventually(t, "the goroutine waits again", func() bool {
		info, err := sharedseg.Stat(name+".cond", nil)
		must(t, err)
		return info.Waiting == 1
	})
	if len(got) != 0 {
		t.Error("a Wait without a Signal returned:", <-got)
	}
	must(t, peer.Signal())
	must(t, proctest.Receive(t, got))
}

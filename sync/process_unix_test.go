//go:build unix

package ipcsync_test

import (
	"context"
	"syscall"
	"testing"
	"time"

	"github.com/sharedseg/sharedseg/internal/proctest"
	"github.com/sharedseg/sharedseg/sync"
)

// A stopped owner is alive. The lock is not taken from it, contexts end the
// waits for it, and it still holds the lock when it is continued.
func TestStoppedOwner(t *testing.T) {
	name := proctest.Name(t)
	m := open(t, name, &ipcsync.Options{Repair: func() error { t.Error("Repair runs"); return nil }})
	p := proctest.Start(t, "owner", name)
	p.Expect("locked")
	p.Signal(syscall.SIGSTOP)
	want(t, m.Lock(during(t, 100*time.Millisecond)), context.DeadlineExceeded)
	if locked, err := m.TryLock(); locked || err != nil {
		t.Errorf("TryLock = %v, %v", locked, err)
	}
	got := make(chan error)
	go func() { got <- m.Lock(patient(t)) }()
	p.Signal(syscall.SIGCONT)
	p.Say("unlock")
	must(t, proctest.Receive(t, got))
	must(t, m.Unlock())
	p.Wait()
}

//go:build !sharedseg_portable

package segment_test

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"github.com/sharedseg/sharedseg"
	"github.com/sharedseg/sharedseg/codec"
	"github.com/sharedseg/sharedseg/internal/proctest"
	"github.com/sharedseg/sharedseg/segment"
	"golang.org/x/sys/unix"
)

func init() { roles["forker"] = forker }

// forker DIR holds the segment "x" in DIR within an Update, and forks as a C
// program can: the child does not execute a program, and outlives it.
func forker(args []string) error {
	s, err := segment.Open("x", codec.String(), &segment.Options{Dir: args[0]})
	if err != nil {
		return err
	}
	return s.Update(func(*string) error {
		child, err := fork()
		if err != nil {
			return err
		}
		fmt.Println(child)
		proctest.Await()
		return nil
	})
}

// fork forks a child that closes its descriptors and sleeps for two minutes,
// unless it is killed. It can do no more, because it has only one thread of the
// Go runtime.
//
//go:norace
//go:nosplit
func fork() (child int, err error) {
	pid, _, errno := syscall.RawSyscall6(syscall.SYS_CLONE, uintptr(syscall.SIGCHLD), 0, 0, 0, 0, 0)
	if pid == 0 && errno == 0 {
		limit := syscall.Timespec{Sec: 120}
		syscall.RawSyscall(unix.SYS_CLOSE_RANGE, 0, 1<<31, 0)
		syscall.RawSyscall6(unix.SYS_PPOLL, 0, 0, uintptr(unsafe.Pointer(&limit)), 0, 0, 0)
		for {
			syscall.RawSyscall(syscall.SYS_EXIT_GROUP, 0, 0, 0)
		}
	}
	if errno != 0 {
		return 0, errno
	}
	return int(pid), nil
}

// A forked child that executes no program shares the locks of the handles that
// were open at the fork for as long as it lives. Closing its descriptors does
// not help, because its mappings hold the locks, too. docs/reliability.md and
// the README of the DLL document that.
func TestForkedChild(t *testing.T) {
	o := &segment.Options{Dir: proctest.TempDir(t)}
	s := open(t, "x", codec.String(), o)
	p := proctest.Start(t, "forker", o.Dir)
	child, err := strconv.Atoi(p.Line())
	must(t, err)
	t.Cleanup(func() { syscall.Kill(child, syscall.SIGKILL) })
	p.Kill()

	soon := during(t, 200*time.Millisecond)
	err = s.StoreContext(soon, "no")
	want(t, err, context.DeadlineExceeded)
	if err == nil || !strings.HasSuffix(err.Error(), fmt.Sprintf("held by process %d (a hint)", p.Pid())) {
		t.Errorf("%v, want an error that names the parent as the holder", err)
	}
	if _, err := s.Load(); err != nil {
		t.Error(err)
	}
	if info, err := sharedseg.Stat("x", o.Place()); err != nil || info.Writers != 2 {
		t.Errorf("Stat = %+v, %v", info, err)
	}

	must(t, syscall.Kill(child, syscall.SIGKILL))
	ctx := patient(t)
	if err := s.StoreContext(ctx, "taken over"); err != nil {
		t.Error(err)
	}
}

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

// forker holds the segment "x" in DIR, within an Update, and forks as a C
// program may: the child executes no program, and outlives it.
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

// fork makes a child that closes its descriptors and sleeps for two minutes, if
// nobody kills it. It can do no more, as it has one thread of the Go runtime's.
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

// A child that was forked and executes no program shares the locks of the
// handles that were open then, for as long as it lives: in vain it closes its
// descriptors, as its mappings have them too. docs/reliability.md and the
// README of the DLL say so.
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
		t.Errorf("%v, want: held by the parent", err)
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

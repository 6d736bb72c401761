package proctest

import (
	"os/exec"
	"syscall"
	"testing"
)

// StartIn starts a role in namespaces of its own, as CLONE_NEWPID and the like
// say. The test is skipped where that is not permitted.
func StartIn(t testing.TB, namespaces uintptr, role string, args ...string) *Proc {
	t.Helper()
	cmd := Command(role, args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: namespaces}
	p, err := tryCmd(t, cmd)
	if err != nil {
		t.Skip("this user, or this container, may not make namespaces: ", err)
	}
	return p
}

// StartAhead starts a role whose monotonic clock is ahead by some seconds. The
// test is skipped where that is not permitted.
func StartAhead(t testing.TB, seconds string, role string, args ...string) *Proc {
	t.Helper()
	// A process enters a time namespace with its first child only, so it takes
	// a program that makes one.
	ahead := []string{"--time", "--monotonic", seconds, "--fork", "--kill-child"}
	if out, err := exec.Command("unshare", append(ahead, "true")...).CombinedOutput(); err != nil {
		t.Skipf("unshare(1) is not there or may not make a time namespace: %v: %s", err, out)
	}
	cmd := Command(role, args...)
	wrapped := exec.Command("unshare", append(ahead, cmd.Args...)...)
	wrapped.Env, wrapped.Stderr = cmd.Env, cmd.Stderr
	return StartCmd(t, wrapped)
}

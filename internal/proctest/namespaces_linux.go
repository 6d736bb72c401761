package proctest

import (
	"os/exec"
	"syscall"
	"testing"
)

// StartIn starts a role in new namespaces. namespaces is a combination of flags
// such as CLONE_NEWPID. The test is skipped if that is not permitted.
func StartIn(t testing.TB, namespaces uintptr, role string, args ...string) *Proc {
	t.Helper()
	cmd := Command(role, args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: namespaces}
	p, err := tryCmd(t, cmd)
	if err != nil {
		t.Skip("this user, or this container, may not create namespaces: ", err)
	}
	return p
}

// StartAhead starts a role whose monotonic clock is ahead by some seconds. The
// test is skipped if that is not permitted.
func StartAhead(t testing.TB, seconds string, role string, args ...string) *Proc {
	t.Helper()
	// A process does not enter a new time namespace itself, only its children
	// do. So another program must start the role.
	ahead := []string{"--time", "--monotonic", seconds, "--fork", "--kill-child"}
	if out, err := exec.Command("unshare", append(ahead, "true")...).CombinedOutput(); err != nil {
		t.Skipf("unshare(1) is missing or may not create a time namespace: %v: %s", err, out)
	}
	cmd := Command(role, args...)
	wrapped := exec.Command("unshare", append(ahead, cmd.Args...)...)
	wrapped.Env, wrapped.Stderr = cmd.Env, cmd.Stderr
	return StartCmd(t, wrapped)
}

//go:build unix

package proctest

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
)

// Nobody is the user ID, and the group ID, of AsNobody.
const Nobody = 65534

// AsNobody makes a Command run as a user that owns nothing, unless the test
// gives it something. The program that runs is a copy that this user may
// execute. The test is skipped if this user is not root, and under an emulator,
// which the other user could not start.
func AsNobody(t testing.TB, cmd *exec.Cmd) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root can become another user")
	}
	if Emulated() {
		t.Skip("another user would have to start the emulator")
	}
	dir := TempDir(t)
	program := filepath.Join(dir, "program")
	self, err := os.ReadFile(cmd.Path)
	if err == nil {
		err = os.WriteFile(program, self, 0o755)
	}
	// Whatever the umask.
	if err := errors.Join(err, os.Chmod(program, 0o755), os.Chmod(dir, 0o755)); err != nil {
		t.Fatal(err)
	}
	cmd.Path = program
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: Nobody, Gid: Nobody}}
}

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

// Nobody is the user ID and the group ID that AsNobody sets.
const Nobody = 65534

// AsNobody makes each Command run as a user that owns nothing except what the
// test gives it. The program is a copy that this user may execute. The test is
// skipped if this process does not run as root, and under an emulator, which
// the other user could not start.
func AsNobody(t testing.TB, cmds ...*exec.Cmd) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root can become another user")
	}
	if Emulated() {
		t.Skip("another user would have to start the emulator")
	}
	dir := TempDir(t)
	program := filepath.Join(dir, "program")
	self, err := os.ReadFile(cmds[0].Path)
	if err == nil {
		err = os.WriteFile(program, self, 0o755)
	}
	// Set the modes explicitly, because of the umask.
	Must(t, errors.Join(err, os.Chmod(program, 0o755), os.Chmod(dir, 0o755)))
	for _, cmd := range cmds {
		cmd.Path = program
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: Nobody, Gid: Nobody}}
	}
}

package peers

import (
	"maps"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"

	"github.com/sharedseg/sharedseg/internal/proctest"
)

func TestMain(m *testing.M) {
	roles := locks.Roles()
	maps.Copy(roles, queues.Roles())
	maps.Copy(roles, echoes.Roles())
	proctest.Main(m, roles)
}

// shmDir is the directory of files: one in memory, if the platform has it.
var shmDir = func() string {
	if runtime.GOOS == "linux" {
		return "/dev/shm"
	}
	return os.TempDir()
}()

// TestOnce runs each operation once. Each benchmark checks its results at its
// end.
func TestOnce(t *testing.T) {
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), exe, "-test.run=^$", "-test.bench=.", "-test.benchtime=1x", "-test.short")
	// Otherwise each process with the race detector would sleep for a second
	// when it exits.
	cmd.Env = append(os.Environ(), "GORACE="+os.Getenv("GORACE")+" atexit_sleep_ms=0")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	names := []string{
		"Load/impl=mmap-go", "Store/impl=mmap-go", "Lock/impl=gofrs-flock", "OpenClose/impl=mmap-go",
		"Takeover/impl=gofrs-flock", "Queue/impl=nats", "RoundTrip/impl=nats",
	}
	if runtime.GOOS != "windows" {
		names = append(names, "RoundTrip/impl=grpc")
	}
	for _, name := range names {
		if !strings.Contains(string(out), "\nBenchmark"+name) {
			t.Errorf("no result of %s in\n%s", name, out)
		}
	}
}

package proctest

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"
)

// stock is what a process has of the things that a library can leak.
type stock struct {
	goroutines int
	fds        map[string]bool
}

func takeStock() stock {
	return stock{runtime.NumGoroutine(), openFiles()}
}

// left says what there is that was not there before: descriptors, goroutines, mappings and files of segments. What
// the garbage collector frees it is given time to.
func (s stock) left() string {
	var left []string
	for range 50 {
		if left = s.compare(); left == nil {
			return ""
		}
		runtime.GC()
		time.Sleep(20 * time.Millisecond)
	}
	return strings.Join(left, "\n")
}

func (s stock) compare() (left []string) {
	if n := runtime.NumGoroutine(); n > s.goroutines {
		buf := make([]byte, 1<<20)
		left = append(left, fmt.Sprintf("%d goroutines:\n%s", n-s.goroutines, buf[:runtime.Stack(buf, true)]))
	}
	for fd := range openFiles() {
		if !s.fds[fd] && !strings.Contains(fd, "anon_inode:") {
			left = append(left, "descriptor "+fd)
		}
	}
	lines, _ := Mappings(NamePrefix())
	for _, line := range lines {
		left = append(left, "mapping "+line)
	}
	for _, dir := range []string{"/dev/shm", filepath.Join(os.TempDir(), fmt.Sprintf("sharedseg-%d", os.Geteuid()))} {
		files, _ := filepath.Glob(filepath.Join(dir, NamePrefix()+"*"))
		for _, f := range files {
			left = append(left, "file "+f)
		}
	}
	return left
}

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

func openFiles() map[string]bool {
	fds := map[string]bool{}
	entries, _ := os.ReadDir("/proc/self/fd")
	for _, e := range entries {
		if target, err := os.Readlink("/proc/self/fd/" + e.Name()); err == nil && !strings.HasSuffix(target, "/fd") {
			fds[e.Name()+" -> "+target] = true
		}
	}
	return fds
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
	maps, _ := os.ReadFile("/proc/self/maps")
	for line := range strings.Lines(string(maps)) {
		if strings.Contains(line, NamePrefix()) {
			left = append(left, "mapping "+line)
		}
	}
	files, _ := filepath.Glob("/dev/shm/" + NamePrefix() + "*")
	for _, f := range files {
		left = append(left, "file "+f)
	}
	return left
}

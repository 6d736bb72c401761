package proctest

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"
)

// stock is what a process has of the resources that a library can leak.
type stock struct {
	goroutines int
	fds        map[string]bool
	files      map[string]bool
}

// takeStock takes stock before the tests run. An earlier process with the same
// ID may have left files when it was killed.
func takeStock() stock {
	return stock{runtime.NumGoroutine(), openFiles(), segmentFiles()}
}

// segmentFiles returns the files of segments that were named by Name, in this
// process or in an earlier one with the same ID.
func segmentFiles() map[string]bool {
	files := map[string]bool{}
	for _, dir := range []string{"/dev/shm", filepath.Join(os.TempDir(), fmt.Sprintf("sharedseg-%d", os.Geteuid()))} {
		paths, _ := filepath.Glob(filepath.Join(dir, NamePrefix()+".*")) // with the dot, because one process ID can be a prefix of another
		for _, path := range paths {
			files[path] = true
		}
	}
	return files
}

// left describes the descriptors, goroutines, mappings and files of segments
// that exist now and did not when stock was taken. It gives the garbage
// collector half of Patience to free them.
func (s stock) left() string {
	for start := time.Now(); ; time.Sleep(20 * time.Millisecond) {
		left := s.compare()
		if left == nil || time.Since(start) > Patience/2 {
			return strings.Join(left, "\n")
		}
		runtime.GC()
	}
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
	for f := range segmentFiles() {
		if !s.files[f] {
			left = append(left, "file "+f)
		}
	}
	return left
}

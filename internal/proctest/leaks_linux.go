package proctest

import (
	"os"
	"strings"
)

// openFiles returns the open descriptors and the paths of their files.
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

// Descriptors returns a line for each open descriptor of a file whose path
// contains part.
func Descriptors(part string) (lines []string) {
	for line := range openFiles() {
		if strings.Contains(line, part) {
			lines = append(lines, line)
		}
	}
	return lines
}

// Mappings returns a line for each mapping of a file whose path contains part.
// known is false if this system does not tell.
func Mappings(part string) (lines []string, known bool) {
	maps, err := os.ReadFile("/proc/self/maps")
	for line := range strings.Lines(string(maps)) {
		if strings.Contains(line, part) {
			lines = append(lines, line)
		}
	}
	return lines, err == nil
}

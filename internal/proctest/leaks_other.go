//go:build !linux

package proctest

// openFiles are not known here.
func openFiles() map[string]bool { return nil }

// Mappings returns a line for each mapping of a file whose path has that part. It is not known on all systems.
func Mappings(part string) (lines []string, known bool) { return nil, false }

//go:build !linux

package proctest

// openFiles are not known here.
func openFiles() map[string]bool { return nil }

// Descriptors returns a line for each open descriptor of a file whose path has
// that part. They are not known here.
func Descriptors(part string) (lines []string) { return nil }

// Mappings returns a line for each mapping of a file whose path has that part.
// It is not known on all systems.
func Mappings(part string) (lines []string, known bool) { return nil, false }

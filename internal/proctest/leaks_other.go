//go:build !linux

package proctest

// openFiles returns nothing: only Linux tells.
func openFiles() map[string]bool { return nil }

// Descriptors returns a line for each open descriptor of a file whose path
// contains part. Only Linux tells.
func Descriptors(part string) (lines []string) { return nil }

// Mappings returns a line for each mapping of a file whose path contains part.
// known is false if this system does not tell.
func Mappings(part string) (lines []string, known bool) { return nil, false }

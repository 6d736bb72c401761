//go:build unix && !aix

package member

import (
	"os"
	"testing"

	"github.com/sharedseg/sharedseg/internal/mapping"
	"github.com/sharedseg/sharedseg/internal/proctest"
)

// TestOnFileLoss checks that a handle that leaves does not mind a file that is
// truncated, but reports memory that is gone although the file has its length,
// as after a failure of the storage.
func TestOnFileLoss(t *testing.T) {
	s := in(proctest.TempDir(t))
	m := join(t, s)
	path, size := mapping.Path(&s.Place), m.Geometry.Size()
	touch := func(mem []byte) {
		must(t, os.Truncate(path, 0))
		mem[0] = 1
	}
	want(t, m.onFile(func(mem []byte) {
		defer func() { must(t, os.Truncate(path, size)) }()
		touch(mem)
	}), mapping.ErrNoSpace)
	must(t, m.onFile(touch))
	must(t, os.Truncate(path, size))
}

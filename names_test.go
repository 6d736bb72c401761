package sharedseg

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/sharedseg/sharedseg/internal/mapping"
	"github.com/sharedseg/sharedseg/internal/proctest"
)

// TestEach checks that the errors of several names are joined as a list with
// one Error for each.
func TestEach(t *testing.T) {
	dir := proctest.TempDir(t)
	for _, name := range []string{"a", "b", "c", "d"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(name), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	removed, err := each(&Place{Dir: dir}, "sweep", func(p *mapping.Place) (bool, error) {
		if p.Name == "a" || p.Name == "c" {
			return false, fs.ErrPermission
		}
		return p.Name == "b", nil
	})
	if len(removed) != 1 || removed[0] != "b" {
		t.Errorf("removed %q", removed)
	}
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok || len(joined.Unwrap()) != 2 {
		t.Fatalf("%#v", err)
	}
	for i, name := range []string{"a", "c"} {
		e, ok := joined.Unwrap()[i].(*Error)
		if !ok || e.Name != name || !errors.Is(e, fs.ErrPermission) {
			t.Errorf("error %d is %v", i, joined.Unwrap()[i])
		}
	}
}

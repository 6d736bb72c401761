package mapping

import (
	"errors"
	"io/fs"
	"strings"
	"testing"

	"github.com/sharedseg/sharedseg/internal/proctest"
)

// roles are the functions that tests run in processes of their own.
var roles = map[string]func([]string) error{}

func TestMain(m *testing.M) { proctest.Main(m, roles) }

var must, want = proctest.Must, proctest.Want

// is fails the test unless ask returns want and no error.
func is(t *testing.T, what string, ask func() (bool, error), want bool) {
	t.Helper()
	if got, err := ask(); got != want || err != nil {
		t.Errorf("%s = %v, %v, want %v", what, got, err, want)
	}
}

func TestCheck(t *testing.T) {
	for _, c := range []struct {
		name string
		mode fs.FileMode
		ok   bool
	}{
		{"a", 0, true},
		{"A-z_0.9", 0o600, true},
		{strings.Repeat("x", MaxName), 0o666, true},
		{"x..", 0o640, true},
		{"", 0, false},
		{strings.Repeat("x", MaxName+1), 0, false},
		{".", 0, false},
		{"..", 0, false},
		{".x", 0, false},
		{"a/b", 0, false},
		{`a\b`, 0, false},
		{"a b", 0, false},
		{"a\x00", 0, false},
		{"ä", 0, false},
		{"a", 0o700, false},
		{"a", 0o444, false},
		{"a", 0o060, false},
		{"a", 0o600 | fs.ModeSetuid, false},
	} {
		err := (&Place{Name: c.name, Mode: c.mode}).Check()
		if (err == nil) != c.ok || err != nil && !errors.Is(err, fs.ErrInvalid) {
			t.Errorf("name %q, mode %v: %v", c.name, c.mode, err)
		}
	}
}

package mapping

import (
	"errors"
	"io/fs"
	"strings"
	"testing"
)

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

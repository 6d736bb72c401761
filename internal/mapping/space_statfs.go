//go:build darwin || dragonfly || freebsd

package mapping

import (
	"math"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// rooms is the file system of the file. How much memory there is, these systems
// do not tell in one way.
func (o *Object) rooms(int64) ([]room, error) {
	var st unix.Statfs_t
	if err := again(func() error { return unix.Fstatfs(o.fd, &st) }); err != nil || st.Blocks == 0 {
		return nil, nil
	}
	// Some count down to less than 0 what only the superuser may have.
	free, unit := max(int64(st.Bavail), 0), int64(st.Bsize)
	if unit <= 0 || free > math.MaxInt64/unit {
		return nil, nil
	}
	return []room{{
		free: free * unit, said: "is free in " + filepath.Dir(o.path),
		advice: "ask for less (Options.Capacity, Slots), free some there, or set Options.Dir to another place",
	}}, nil
}

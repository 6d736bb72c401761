//go:build darwin || dragonfly || freebsd

package mapping

import (
	"math"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// rooms returns the file system of the file. These systems have no common way
// to ask how much memory is free.
func (o *Object) rooms(int64) ([]room, error) {
	var st unix.Statfs_t
	if err := again(func() error { return unix.Fstatfs(o.fd, &st) }); err != nil || st.Blocks == 0 {
		return nil, nil
	}
	// On some systems it is negative when only the superuser may use more.
	free, unit := max(int64(st.Bavail), 0), int64(st.Bsize)
	if unit <= 0 || free > math.MaxInt64/unit {
		return nil, nil
	}
	return []room{{
		free: free * unit, said: "is free in " + filepath.Dir(o.path),
		advice: "ask for less (Options.Capacity, Slots), free some there, or set Options.Dir to another place",
	}}, nil
}

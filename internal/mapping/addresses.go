//go:build unix && !aix && !openbsd

package mapping

import (
	"strconv"

	"golang.org/x/sys/unix"
)

// AddressesLimited reports whether a process may run out of addresses.
func AddressesLimited() bool {
	var limit unix.Rlimit
	err := again(func() error { return unix.Getrlimit(unix.RLIMIT_AS, &limit) })
	return strconv.IntSize == 32 || err == nil && uint64(limit.Cur) < 1<<62 // RLIM_INFINITY is larger on every system
}

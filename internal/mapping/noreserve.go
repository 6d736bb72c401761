//go:build unix && !aix && !freebsd

package mapping

import "golang.org/x/sys/unix"

// noReserve keeps the system from reserving memory for a mapping most of which
// is never used.
const noReserve = unix.MAP_NORESERVE

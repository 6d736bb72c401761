//go:build unix && !aix && !freebsd

package mapping

import "golang.org/x/sys/unix"

// noReserve keeps a mapping that will hardly be touched from being counted as
// if all of it were.
const noReserve = unix.MAP_NORESERVE

package mapping

import "strconv"

// AddressesLimited reports whether a process may run out of addresses. OpenBSD
// has no RLIMIT_AS.
func AddressesLimited() bool { return strconv.IntSize == 32 }

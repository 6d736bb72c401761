package mapping

import "strconv"

// addressesLimited reports whether a process may run out of addresses. There is no RLIMIT_AS.
func addressesLimited() bool { return strconv.IntSize == 32 }

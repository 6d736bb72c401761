package mapping

import "golang.org/x/sys/unix"

// Populate makes all of mem's pages present, as far as the system can (Linux 5.14), so that the first use of them
// does not fault on each.
func Populate(mem []byte) { unix.Madvise(mem, unix.MADV_POPULATE_READ) }

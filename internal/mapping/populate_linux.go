package mapping

import "golang.org/x/sys/unix"

// Populate makes all of the view's pages present, as far as the system can
// (Linux 5.14), so that the first use of them does not fault on each.
func (v *View) Populate() {
	again(func() error { return unix.Madvise(v.Mem, unix.MADV_POPULATE_READ) })
}

package mapping

import "golang.org/x/sys/unix"

// Populate makes all pages of the view present if the system can (Linux 5.14),
// so that the first accesses do not fault on each page.
func (v *View) Populate() {
	again(func() error { return unix.Madvise(v.Mem, unix.MADV_POPULATE_READ) })
}

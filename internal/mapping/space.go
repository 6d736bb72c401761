//go:build unix && !aix

package mapping

import (
	"fmt"
	"strconv"

	"golang.org/x/sys/unix"
)

// Memory is reserved as a whole before it is used. A request that does not fit
// is refused before any memory is taken. By the time the system would refuse
// it, other processes could get no memory either, and some of them would have
// been killed.

// reserveStep is how many bytes are reserved before free memory is checked
// again, as other processes take memory at the same time.
const reserveStep = 256 << 20

// room is a source of memory, and how much of it is free.
type room struct {
	free   int64
	kept   int64 // the part of free that is kept for others
	said   string
	advice string
}

// Reserve makes the file to bytes long if it is shorter, and reserves memory
// from its length from up to to: all or nothing. It returns an error wrapping
// ErrNoSpace if the memory does not fit.
func (o *Object) Reserve(from, to int64) error {
	before, err := fstat(o.fd)
	if err != nil {
		return err
	}
	for at := from; at < to && err == nil; at += reserveStep {
		if err = o.fits(to - at); err == nil {
			err = o.reserve(at, min(to, at+reserveStep))
		}
	}
	if err == nil {
		return nil
	}
	// If the length is not between the two, another process has changed it.
	if now, e := fstat(o.fd); e == nil && before.size < now.size && now.size < to {
		again(func() error { return unix.Ftruncate(o.fd, before.size) })
	}
	return err
}

// ReserveHoles reserves memory for the holes in the first n bytes, if info says
// that there are any. A file has holes if it was copied as a sparse file, or
// created by a program that reserves nothing. In a full place, its users would
// fault on the holes later. The content is kept.
func (o *Object) ReserveHoles(n int64, info Info) error {
	if o.readOnly || info.Held >= info.Size {
		return nil
	}
	if err := o.fits(max(n-info.Held, 0)); err != nil {
		return err
	}
	return o.reserveHoles(n)
}

// fits returns an error wrapping ErrNoSpace if n more bytes of the file do not
// fit. The error has the figures of the source with the least room.
func (o *Object) fits(n int64) error {
	rooms, err := o.rooms(n)
	if err != nil {
		return err
	}
	return fit(n, rooms)
}

func fit(n int64, rooms []room) error {
	var least *room
	for i := range rooms {
		r := &rooms[i]
		if n > r.free-r.kept && (least == nil || r.free-r.kept < least.free-least.kept) {
			least = r
		}
	}
	if least == nil {
		return nil
	}
	kept := ""
	if least.kept > 0 {
		kept = ", of which " + sizeText(least.kept) + " is kept for others"
	}
	return fmt.Errorf("%w: it needs %s; %s %s%s: %s: %w",
		ErrNoSpace, sizeText(n), sizeText(least.free), least.said, kept, least.advice, unix.ENOSPC)
}

// sizeText formats a number of bytes for people: "512 bytes", "22.9 GiB".
func sizeText(n int64) string {
	if n < 1<<10 {
		return strconv.FormatInt(n, 10) + " bytes"
	}
	v, unit := float64(n)/(1<<10), 0
	for ; v >= 1<<10 && unit < 5; unit++ {
		v /= 1 << 10
	}
	return strconv.FormatFloat(v, 'f', 1, 64) + " " + "KMGTPE"[unit:unit+1] + "iB"
}

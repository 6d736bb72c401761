//go:build unix && !aix

package mapping

import (
	"fmt"
	"strconv"

	"golang.org/x/sys/unix"
)

// Memory is taken whole, before it is used. What would not fit is refused
// before any of it is taken: by the time that the system refuses, all others
// have none left either, and some of them have been killed.

// reserveStep is how many bytes are taken before the question whether the rest
// fits is asked again, as others take memory at the same time.
const reserveStep = 256 << 20

// room is where memory comes from, and how much of it there is.
type room struct {
	free   int64
	kept   int64 // of that, for others
	said   string
	advice string
}

// Reserve makes the file to bytes long, if it is shorter, and takes memory for
// what lies between from, its length, and that: all of it or none. An error is
// ErrNoSpace if it does not fit.
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
	// A length that is not between the two is somebody else's doing.
	if now, e := fstat(o.fd); e == nil && before.size < now.size && now.size < to {
		again(func() error { return unix.Ftruncate(o.fd, before.size) })
	}
	return err
}

// ReserveHoles takes memory for what of the first n bytes has none, if info
// says that there are such: of a file that was copied as a sparse one, or made
// by a program that reserves nothing. In a full place its users would meet the
// holes when it is too late. A value that is there stays.
func (o *Object) ReserveHoles(n int64, info Info) error {
	if o.readOnly || info.Held >= info.Size {
		return nil
	}
	if err := o.fits(max(n-info.Held, 0)); err != nil {
		return err
	}
	return o.reserveHoles(n)
}

// fits returns ErrNoSpace, with the figures of where there is the least, if
// there is no room for n bytes more of the file.
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

// sizeText is a number of bytes for people: "512 bytes", "22.9 GiB".
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

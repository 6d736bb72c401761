//go:build (!unix && !windows) || aix

package mapping

import (
	"errors"
	"fmt"
	"iter"
	"os"
	"runtime"
	"time"

	"github.com/sharedseg/sharedseg/internal/fault"
	"github.com/sharedseg/sharedseg/internal/kernel"
)

var errNone = fmt.Errorf("shared memory on %s/%s: %w", runtime.GOOS, runtime.GOARCH, errors.ErrUnsupported)

// Object is never created on this platform: Open and Enter return an error
// wrapping errors.ErrUnsupported.
type Object struct{}

func Path(p *Place) string                                      { return p.Name }
func Names(p *Place) ([]string, error)                          { return nil, errNone }
func Open(p *Place, readOnly bool) (*Object, error)             { return nil, errNone }
func Create(p *Place) (*Object, error)                          { return nil, errNone }
func AddressesLimited() bool                                    { return false }
func PageSize() int                                             { return os.Getpagesize() }
func (v *View) Retire() error                                   { return errNone }
func (v *View) Unprotect(off, n int) error                      { return errNone }
func (v *View) Unmap() error                                    { return errNone }
func (o *Object) Current() (bool, error)                        { return false, errNone }
func (o *Object) Info() (Info, error)                           { return Info{}, errNone }
func (o *Object) ReadAt(b []byte, off int64) (int, error)       { return 0, errNone }
func (o *Object) Created() bool                                 { return false }
func (o *Object) Reset(p *Place, mark []byte, size int64) error { return errNone }
func (o *Object) Reserve(from, to int64) error                  { return errNone }
func (o *Object) ReserveHoles(n int64, info Info) error         { return errNone }
func (o *Object) Map(n int, writable bool) (*View, error)       { return nil, errNone }
func (o *Object) Unlink() error                                 { return errNone }
func (o *Object) Close() error                                  { return errNone }
func (o *Object) LockRegistry(limit time.Duration) error        { return errNone }
func (o *Object) UnlockRegistry()                               {}
func (o *Object) Hold(slot int) (bool, error)                   { return false, errNone }
func (o *Object) Drop(slot int)                                 {}
func (o *Object) HoldReader() error                             { return errNone }
func (o *Object) DropReader()                                   {}
func (o *Object) Held(slot int) (bool, error)                   { return false, errNone }
func (o *Object) Holders() ([]int, error)                       { return nil, errNone }
func (o *Object) AnyHeld() (bool, error)                        { return false, errNone }
func (o *Object) Readers() (int, error)                         { return 0, errNone }
func (o *Object) ReadOnly() bool                                { return false }
func (p *Place) Lasting() bool                                  { return false }
func (o *Object) Family() *kernel.Family                        { return nil }

func Leavings(p *Place, n int, deadline time.Time) iter.Seq[string] {
	return func(func(string) bool) {}
}

func TryEnter(p *Place) (o *Object, busy bool, err error) { return nil, false, errNone }

func Enter(p *Place, create, readOnly bool, limit time.Duration) (*Object, error) {
	return nil, errNone
}

type View struct {
	*fault.Region
	Mem []byte
}

const Revocable = true

package member

import (
	"errors"
	"fmt"

	"github.com/sharedseg/sharedseg/internal/fault"
	"github.com/sharedseg/sharedseg/internal/layout"
	"github.com/sharedseg/sharedseg/internal/mapping"
)

// Bare is an attachment to a mapping without a header.
type Bare struct {
	*mapping.View
	obj     *mapping.Object
	persist bool
	lasting bool // whether objects at the place are lasting
	created bool // this handle created the mapping, and removes its name unless others are attached
	began   bool // the mapping had no size before
}

var errNotBare = fmt.Errorf("%w: it is a segment or lock, with a header, not a bare mapping", layout.ErrIncompatible)

// JoinBare attaches to an object with arbitrary content, or creates one of size
// zero bytes. An existing object must have at least size bytes. An empty file
// belongs to another program, which may be about to give it a size, so a handle
// that fills it does not remove it.
func JoinBare(p *mapping.Place, size int, persist bool) (*Bare, error) {
	obj, err := enter(p, true, false)
	if err != nil {
		return nil, err
	}
	b := &Bare{obj: obj, persist: persist, lasting: p.Lasting(), created: obj.Created()}
	err = b.join(p, size)
	if err != nil && b.began {
		obj.Unlink()
	}
	obj.UnlockRegistry()
	if err != nil {
		obj.Close()
		return nil, err
	}
	if b.created {
		sweepBehind(p)
	}
	return b, nil
}

func (b *Bare) join(p *mapping.Place, size int) error {
	if b.persist && !p.Lasting() {
		return errPersist
	}
	info, err := b.obj.Info()
	if err != nil {
		return err
	}
	if marked, err := isMarked(b.obj); err != nil {
		return err
	} else if marked {
		return errNotBare
	}
	if info.Size == 0 {
		b.began = b.created
		if err := b.obj.Reserve(0, int64(size)); err != nil {
			return err
		}
	} else if info.Size < int64(size) {
		return fmt.Errorf("%w: it has %d bytes, but %d are wanted", layout.ErrIncompatible, info.Size, size)
	} else if p.Mode != 0 && info.Mode != 0 && info.Mode != p.Mode {
		return fmt.Errorf("%w: its mode is %v, not %v as requested", layout.ErrIncompatible, info.Mode, p.Mode)
	} else if err := b.obj.ReserveHoles(int64(size), info); err != nil {
		return err
	}
	if err := b.obj.HoldReader(); err != nil {
		return err
	}
	if b.View, err = b.obj.Map(size, true); err != nil {
		b.obj.DropReader() // with the registry held, as leaving handles check whether others are attached
	}
	return err
}

// Use runs f, which accesses the memory, and returns its error. If some of the
// memory has vanished it returns an error matching ErrCorrupt or ErrNoSpace,
// see Member.Loss. Every access to the memory must be within Use. Use must not
// be called once Leave has begun.
func (b *Bare) Use(f func(mem []byte) error) error {
	err := b.Guard(func() error { return f(b.Mem) })
	if errors.Is(err, fault.ErrLost) {
		return loss(b.obj, len(b.Mem))
	}
	return err
}

// Leave detaches. If this handle created a mapping that does not persist, and
// no other Bare is attached, Leave removes the name. A handle that only
// attached never does: the mapping may belong to a program that holds no lock.
// No call may use Mem any more.
func (b *Bare) Leave() error {
	err := b.Unmap()
	if b.created && !b.persist && b.lasting {
		if e := b.obj.LockRegistry(registryLimit); e != nil {
			err = errors.Join(err, fmt.Errorf("closed, but its name could not be removed: %w", e))
		} else {
			b.obj.DropReader()
			err = errors.Join(err, unlinkIfAlone(b.obj))
			b.obj.UnlockRegistry()
		}
	}
	return errors.Join(err, b.obj.Close())
}

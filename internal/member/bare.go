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
	lasting bool // as the place is
	created bool // by this handle: then it takes the name away, unless others are attached
	began   bool // nobody gave it a size before
}

var errNotBare = fmt.Errorf("%w: it is a segment or lock, with a header, not a bare mapping", layout.ErrIncompatible)

// JoinBare attaches to an object of any content, or creates one of size zero
// bytes. An existing one must be at least that long. An empty file that was
// there is another's, who may be about to give it a size.
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
		return fmt.Errorf("%w: it has %d bytes, asked for are %d", layout.ErrIncompatible, info.Size, size)
	} else if p.Mode != 0 && info.Mode != 0 && info.Mode != p.Mode {
		return fmt.Errorf("%w: its mode is %v, asked for is %v", layout.ErrIncompatible, info.Mode, p.Mode)
	} else if err := b.obj.ReserveHoles(int64(size), info); err != nil {
		return err
	}
	if err := b.obj.HoldReader(); err != nil {
		return err
	}
	if b.View, err = b.obj.Map(size, true); err != nil {
		b.obj.DropReader() // under the registry, for those who leave ask whether anybody is there
	}
	return err
}

// Use is the door through which every call enters that touches the memory. It
// runs f, and returns its error, or ErrCorrupt or ErrNoSpace, as Member.Loss,
// if some of the memory vanished. No call may use it once Leave has begun.
func (b *Bare) Use(f func(mem []byte) error) error {
	err := b.Guard(func() error { return f(b.Mem) })
	if errors.Is(err, fault.ErrLost) {
		return loss(b.obj, len(b.Mem))
	}
	return err
}

// Leave detaches. If this handle created the mapping, which is not to persist,
// and no other Bare is attached, it takes the name away. One that only attached
// never does: the mapping may belong to a program that no lock tells of. No
// call may use Mem any more.
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

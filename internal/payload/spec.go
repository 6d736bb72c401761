package payload

import (
	"fmt"
	"io/fs"
	"math"
	"reflect"
	"strconv"

	"github.com/sharedseg/sharedseg"
	"github.com/sharedseg/sharedseg/codec"
	"github.com/sharedseg/sharedseg/internal/layout"
	"github.com/sharedseg/sharedseg/internal/mapping"
	"github.com/sharedseg/sharedseg/internal/member"
)

// DefaultCapacity is the capacity of a slot, in bytes, if neither the user nor
// the codec specifies it.
const DefaultCapacity = 4096

// Request is what the options of a handle ask for. A zero field accepts any
// value if the name exists.
type Request struct {
	Place        mapping.Place
	Kind         layout.Kind
	Capacity     int
	Slots        int
	SlotsName    string // of the field of the options
	FewestSlots  int
	DefaultSlots int
	Persist      bool
	LockReads    bool
}

// CheckCodec returns the reason why a codec cannot be used, or nil.
func CheckCodec[T any](c codec.Codec[T]) error {
	if c == nil {
		return fmt.Errorf("%w: the codec is nil", fs.ErrInvalid)
	}
	if checked, ok := c.(codec.Validator); ok {
		if err := checked.Validate(); err != nil {
			return err
		}
	}
	if c.ID() == "" {
		return fmt.Errorf("%w: the ID of the codec is empty, so it would match any other codec with an empty ID", fs.ErrInvalid)
	}
	if sized, ok := c.(codec.Sizer); ok && sized.Size() < 0 {
		return fmt.Errorf("%w: the codec reports a size of %d bytes", fs.ErrInvalid, sized.Size())
	}
	return nil
}

// Spec returns what a handle with a codec requires of an existing mapping, and
// makes of a new one.
func Spec[T any](c codec.Codec[T], r Request) (*member.Spec, error) {
	if err := CheckCodec(c); err != nil {
		return nil, err
	}
	if err := r.check(); err != nil {
		return nil, err
	}
	capacity := r.Capacity
	if sized, ok := c.(codec.Sizer); ok {
		if capacity != 0 && capacity < sized.Size() {
			return nil, fmt.Errorf("%w: Capacity is %d bytes, each value takes %d", sharedseg.ErrTooLarge, capacity, sized.Size())
		}
		capacity = max(capacity, sized.Size())
	} else if capacity == 0 {
		capacity = DefaultCapacity
	}
	slots := r.Slots
	if slots == 0 {
		slots = r.DefaultSlots
	}
	want := layout.Geometry{
		Kind: r.Kind, Persist: r.Persist, LockReads: r.LockReads, Slots: slots, Capacity: int64(capacity),
		CodecID: c.ID(), TypeName: reflect.TypeFor[T]().String(),
	}
	g := want
	if err := g.Place(mapping.PageSize()); err != nil {
		return nil, err
	}
	if g.Size() > math.MaxInt {
		return nil, fmt.Errorf("%w: %d slots of %d bytes are more than a %d-bit process can address",
			fs.ErrInvalid, slots, capacity, strconv.IntSize)
	}
	return &member.Spec{
		Place: r.Place,
		New: func(page int) (*layout.Geometry, error) {
			g := want
			return &g, g.Place(page)
		},
		Check: func(g *layout.Geometry) error {
			if err := r.agree(g, &want); err != nil {
				return err
			}
			if sized, ok := c.(codec.Sizer); ok && g.Capacity < int64(sized.Size()) {
				return fmt.Errorf("%w: its capacity is %d bytes, each value takes %d", sharedseg.ErrCorrupt, g.Capacity, sized.Size())
			}
			return nil
		},
	}, nil
}

func (r *Request) check() error {
	if r.Capacity < 0 {
		return fmt.Errorf("%w: Capacity is %d", fs.ErrInvalid, r.Capacity)
	}
	if r.Slots != 0 && r.Slots < r.FewestSlots || r.Slots > layout.MaxSlots {
		return fmt.Errorf("%w: %s is %d, want 0 or %d to %d", fs.ErrInvalid, r.SlotsName, r.Slots, r.FewestSlots, layout.MaxSlots)
	}
	return nil
}

// agree returns an error if the existing mapping g is not as requested.
func (r *Request) agree(g, want *layout.Geometry) error {
	if g.Kind != want.Kind {
		return fmt.Errorf("%w: it is %s, not %s", sharedseg.ErrIncompatible, g.Kind.Noun(), want.Kind.Noun())
	}
	if g.CodecID != want.CodecID {
		have, asked := differing(g.CodecID, want.CodecID)
		return fmt.Errorf("%w: it holds type %.500q as %s, want type %.500q as %s: "+
			"if the type has changed, open it as the old type and copy its content, or remove it with sharedseg.Remove",
			sharedseg.ErrIncompatible, g.TypeName, have, want.TypeName, asked)
	}
	for _, f := range []struct {
		what        string
		given, same bool
		have, asked any
	}{
		{"Capacity", r.Capacity != 0, g.Capacity == want.Capacity, g.Capacity, want.Capacity},
		{r.SlotsName, r.Slots != 0, g.Slots == want.Slots, g.Slots, want.Slots},
		{"LockReads", r.LockReads, g.LockReads == want.LockReads, g.LockReads, r.LockReads},
		{"Persist", r.Persist, g.Persist == want.Persist, g.Persist, want.Persist},
	} {
		if f.given && !f.same {
			return fmt.Errorf("%w: its %s is %v, want %v", sharedseg.ErrIncompatible, f.what, f.have, f.asked)
		}
	}
	return nil
}

// differing quotes two codec IDs. If they are long, it quotes the parts where
// they differ.
func differing(a, b string) (string, string) {
	const before, after = 60, 300
	same := 0
	for same < min(len(a), len(b)) && a[same] == b[same] {
		same++
	}
	quote := func(s string) string {
		if len(s) <= before+after {
			return strconv.Quote(s)
		}
		text := ""
		if from := same - before; from > 0 {
			text, s = "…", s[from:]
		}
		if len(s) <= before+after {
			return text + strconv.Quote(s)
		}
		return text + strconv.Quote(s[:before+after]) + "…"
	}
	return quote(a), quote(b)
}

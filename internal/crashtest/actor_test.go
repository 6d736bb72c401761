//go:build sharedseg_steps && linux

package crashtest

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync/atomic"

	"github.com/sharedseg/sharedseg/codec"
	"github.com/sharedseg/sharedseg/internal/proctest"
	"github.com/sharedseg/sharedseg/internal/step"
	"github.com/sharedseg/sharedseg/segment"
	"github.com/sharedseg/sharedseg/sync"
)

// A value shows whether it is whole and to which life of the segment it
// belongs. Each initialisation of a segment begins a new life.
type value struct {
	Life uint64 // 0 if nothing was stored
	N    uint64 // the version, if the segment is only changed by Update
	Fill [62]uint64
}

func newValue(life, n uint64) (v value) {
	v.Life, v.N = life, n
	for i := range v.Fill {
		v.Fill[i] = life*uint64(2*i+3) + n
	}
	return v
}

func (v *value) check() error {
	if whole := newValue(v.Life, v.N); *v != whole {
		return fmt.Errorf("torn: %+v", *v)
	}
	return nil
}

// halves is a codec that has a step in the middle of an encoding.
type halves struct{}

func (halves) ID() string { return "sharedseg-test/halves" }

func (halves) Append(b []byte, v value) ([]byte, error) {
	b = binary.LittleEndian.AppendUint64(b, v.Life)
	b = binary.LittleEndian.AppendUint64(b, v.N)
	for i, w := range v.Fill {
		if i == len(v.Fill)/2 {
			step.At(step.WriteHalf)
		}
		b = binary.LittleEndian.AppendUint64(b, w)
	}
	return b, nil
}

func (halves) Decode(b []byte, v *value) error {
	if len(b) != binary.Size(v) {
		return fmt.Errorf("%w: %d bytes", codec.ErrMalformed, len(b))
	}
	_, err := binary.Decode(b, binary.LittleEndian, v)
	return err
}

// flavour is a way to open a segment.
type flavour struct {
	codec   codec.Codec[value]
	options segment.Options
}

var (
	fixed   = &flavour{codec.Fixed[value](), segment.Options{}}
	encoded = &flavour{halves{}, segment.Options{}}
	locking = &flavour{codec.Fixed[value](), segment.Options{LockReads: true}}

	persistent = &flavour{codec.Fixed[value](), segment.Options{Persist: true}}
)

// patience returns a context that ends what would otherwise hang.
func patience() (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.Background(), proctest.Patience)
}

// An actor uses a segment and checks everything that it loads.
type actor struct {
	*flavour
	name, dir string
	counts    bool // the segment is changed only by Update, so the N of each value is its version
	skips     bool // the same, but versions are skipped, so N may be lower
	s         *segment.Segment[value]

	// the last value that the handle has loaded
	life, version, n uint64
}

func (a *actor) place() *segment.Options {
	o := a.options
	o.Dir = a.dir
	return &o
}

func (a *actor) open() (err error) {
	a.s, err = segment.Open(a.name, a.codec, a.place())
	a.life, a.version, a.n = 0, 0, 0
	return err
}

func (a *actor) close() error { return a.s.Close() }

// saw checks a value that was loaded.
func (a *actor) saw(v *value, version uint64) error {
	if err := v.check(); err != nil {
		return err
	}
	switch {
	case version < a.version:
		return fmt.Errorf("version %d after version %d", version, a.version)
	case version != 0 && version == a.version && v.N != a.n:
		return fmt.Errorf("version %d was %d, now it is %d", version, a.n, v.N)
	case a.skips && (v.N > version || v.N < a.n || v.N == a.n && version != a.version):
		return fmt.Errorf("version %d is update %d, version %d was update %d", version, v.N, a.version, a.n)
	case a.counts && !a.skips && v.N != version:
		return fmt.Errorf("version %d is update %d", version, v.N)
	case a.life != 0 && v.Life != a.life:
		return fmt.Errorf("life %#x became %#x: the segment was initialised while it was open", a.life, v.Life)
	}
	a.life, a.version, a.n = v.Life, version, v.N
	return nil
}

func (a *actor) load() error {
	var v value
	version, err := a.s.LoadInto(&v)
	if err != nil {
		return err
	}
	return a.saw(&v, version)
}

// update makes one update and records its version.
func (a *actor) update(ctx context.Context, during func()) error {
	var life, n uint64
	err := a.s.UpdateContext(ctx, func(v *value) error {
		if err := v.check(); err != nil {
			return err
		}
		during()
		if life, n = v.Life, v.N+1; life == 0 {
			life = rand.Uint64() | 1
		}
		*v = newValue(life, n)
		return nil
	})
	if err != nil || !a.counts {
		return err
	}
	if a.skips {
		return a.load()
	}
	v := newValue(life, n)
	return a.saw(&v, n)
}

// store stores a value, or updates the current one if only updates are allowed.
func (a *actor) store(ctx context.Context) error {
	if a.life == 0 {
		if err := a.load(); err != nil {
			return err
		}
	}
	if a.counts || a.life == 0 {
		return a.update(ctx, func() {})
	}
	if err := a.s.StoreContext(ctx, newValue(a.life, rand.Uint64())); err != nil {
		return err
	}
	return a.load()
}

// borrow borrows the current value and checks it.
func (a *actor) borrow(from interface {
	Borrow(ctx context.Context) (*segment.Borrowed[value], error)
}) (*segment.Borrowed[value], error) {
	ctx, cancel := patience()
	defer cancel()
	b, err := from.Borrow(ctx)
	if err != nil {
		return nil, err
	}
	return b, a.saw(b.Value(), b.Version())
}

// lend makes one update in place, and publishes or discards it.
func (a *actor) lend(publish bool) error {
	ctx, cancel := patience()
	defer cancel()
	l, err := a.s.Loan(ctx)
	if err != nil {
		return err
	}
	defer l.Discard()
	if err := a.load(); err != nil { // the lock keeps it from changing
		return err
	}
	life := a.life
	if life == 0 {
		life = rand.Uint64() | 1
	}
	*l.Value() = newValue(life, a.n+1)
	if !publish {
		return l.Discard()
	}
	version, err := l.Publish(len(l.Bytes()))
	if err != nil {
		return err
	}
	v := newValue(life, a.n+1)
	return a.saw(&v, version)
}

// beside does something through another handle of the same segment.
func (a *actor) beside(do func(b *actor) error) error {
	b := &actor{flavour: a.flavour, name: a.name, dir: a.dir, counts: a.counts, skips: a.skips}
	if err := b.open(); err != nil {
		return err
	}
	if b.s.Created() {
		return errors.New("created while it was open")
	}
	b.life, b.version, b.n = a.life, a.version, a.n
	return errors.Join(do(b), b.close())
}

// read loads through a reader.
func (a *actor) read(during func(r *segment.Reader[value]) error) error {
	r, err := segment.OpenReader(a.name, a.codec, a.place())
	if err != nil {
		return err
	}
	var v value
	version, err := r.LoadInto(&v)
	if err == nil {
		err = a.saw(&v, version)
	}
	if err == nil && during != nil {
		err = during(r)
	}
	return errors.Join(err, r.Close())
}

// pair is what a named mutex guards: two numbers that are equal except while
// one is being changed.
type pair struct{ A, B uint64 }

// A keeper uses a named mutex and the pair that it guards.
type keeper struct {
	mutex, in string // the mutex's name and directory

	m       *ipcsync.Mutex
	b       *segment.Bare[pair]
	repairs atomic.Int64
	last    uint64
}

func openKeeper(name, dir string) (*keeper, error) {
	k := &keeper{mutex: name, in: dir}
	var err error
	k.b, err = segment.OpenBare(name+".pair", 16, codec.Fixed[pair](), &segment.Options{Dir: dir})
	return k, err
}

// open opens the mutex.
func (k *keeper) open() (err error) {
	k.m, err = ipcsync.OpenMutex(k.mutex, &ipcsync.Options{Dir: k.in, Repair: k.repair})
	return err
}

func (k *keeper) repair() error {
	k.repairs.Add(1)
	p, err := k.b.Load()
	if err != nil {
		return err
	}
	if p.B != p.A && p.B != p.A-1 {
		return fmt.Errorf("beyond repair: %+v", p)
	}
	return k.b.Store(pair{p.A, p.A})
}

// increment increments the pair and unlocks the mutex. The caller holds the
// mutex.
func (k *keeper) increment() error {
	p, err := k.b.Load()
	if err != nil {
		return err
	}
	if p.A != p.B || p.A < k.last {
		return fmt.Errorf("the pair is %+v after %d", p, k.last)
	}
	k.last = p.A + 1
	return errors.Join(k.b.Store(pair{p.A + 1, p.B}), k.b.Store(pair{p.A + 1, p.B + 1}), k.m.Unlock())
}

func (k *keeper) lock(ctx context.Context) error {
	if err := k.m.Lock(ctx); err != nil {
		return err
	}
	return k.increment()
}

// inherit opens the mutex that a dead owner has left, increments the pair and
// closes the mutex. Then it opens the mutex again, and leaves mutex and pair
// like an owner that dies halfway.
func (k *keeper) inherit() error {
	if err := k.visitMutex(); err != nil {
		return err
	}
	ctx, cancel := patience()
	defer cancel()
	if err := k.open(); err != nil {
		return err
	}
	if err := k.m.Lock(ctx); err != nil {
		return err
	}
	p, err := k.b.Load()
	if err != nil || p.A != p.B {
		return fmt.Errorf("the pair is %+v, %w", p, err)
	}
	k.last = p.A + 1
	return errors.Join(k.b.Store(pair{p.A + 1, p.B}), k.m.Close())
}

// visitMutex opens the mutex, increments the pair, and closes the mutex.
func (k *keeper) visitMutex() error {
	ctx, cancel := patience()
	defer cancel()
	if err := k.open(); err != nil {
		return err
	}
	return errors.Join(k.lock(ctx), k.m.Close())
}

func (k *keeper) tryLock() error {
	locked, err := k.m.TryLock()
	if err != nil || !locked {
		return err
	}
	return k.increment()
}

//go:build sharedseg_steps && linux

package crashtest

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"math/bits"
	"math/rand/v2"
	"os"
	"path/filepath"
	"time"

	"github.com/sharedseg/sharedseg/codec"
	"github.com/sharedseg/sharedseg/internal/layout"
	"github.com/sharedseg/sharedseg/internal/step"
	"github.com/sharedseg/sharedseg/segment"
	ipcsync "github.com/sharedseg/sharedseg/sync"
	"golang.org/x/sys/unix"
)

// permits is the number of permits of the semaphore.
const permits = 3

// A locker uses an RWMutex with the pair that it guards, a Semaphore, a Mutex
// with a Cond on which goroutines wait until a number is odd, and an Event.
type locker struct {
	name, in string

	rw   *ipcsync.RWMutex
	sem  *ipcsync.Semaphore
	m    *ipcsync.Mutex
	cond *ipcsync.Cond
	set  *ipcsync.Event
	b, n *segment.Bare[pair] // guarded by rw and m
}

// parts are the suffixes of a locker's names.
var parts = []string{".rw", ".sem", ".m", ".cond", ".event", ".b", ".n"}

func openLocker(name, dir string) (l *locker, err error) {
	l = &locker{name: name, in: dir}
	o := &ipcsync.Options{Dir: dir}
	var errs [7]error
	l.b, errs[0] = segment.OpenBare(name+".b", 16, codec.Fixed[pair](), &segment.Options{Dir: dir})
	l.n, errs[1] = segment.OpenBare(name+".n", 16, codec.Fixed[pair](), &segment.Options{Dir: dir})
	l.rw, errs[2] = ipcsync.OpenRWMutex(name+".rw", &ipcsync.Options{Dir: dir, Repair: l.repair})
	l.sem, errs[3] = ipcsync.OpenSemaphore(name+".sem", permits, o)
	l.m, errs[4] = ipcsync.OpenMutex(name+".m", &ipcsync.Options{Dir: dir, Repair: func() error { return l.cond.Broadcast() }})
	l.cond, errs[5] = ipcsync.OpenCond(name+".cond", l.m, o)
	l.set, errs[6] = ipcsync.OpenEvent(name+".event", o)
	return l, errors.Join(errs[:]...)
}

func (l *locker) close() error {
	return errors.Join(l.set.Close(), l.cond.Close(), l.m.Close(), l.sem.Close(), l.rw.Close(), l.n.Close(), l.b.Close())
}

func (l *locker) repair() error {
	p, err := l.b.Load()
	if err != nil {
		return err
	}
	return l.b.Store(pair{p.A, p.A})
}

// read reads the pair.
func (l *locker) read(ctx context.Context, pause time.Duration) error {
	if err := l.rw.RLock(ctx); err != nil {
		return err
	}
	p, err := l.b.Load()
	if err == nil && p.A != p.B {
		err = fmt.Errorf("a reader sees %+v", p)
	}
	time.Sleep(pause)
	return errors.Join(err, l.rw.RUnlock())
}

// write increments the pair.
func (l *locker) write(ctx context.Context, pause time.Duration) error {
	if err := l.rw.Lock(ctx); err != nil {
		return err
	}
	p, err := l.b.Load()
	if err == nil && p.A != p.B {
		err = fmt.Errorf("a writer sees %+v", p)
	}
	time.Sleep(pause)
	return errors.Join(err, l.b.Store(pair{p.A + 1, p.B}), l.b.Store(pair{p.A + 1, p.B + 1}), l.rw.Unlock())
}

// acquire holds n permits for a while.
func (l *locker) acquire(ctx context.Context, n int64, pause time.Duration) error {
	if err := l.sem.Acquire(ctx, n); err != nil {
		return err
	}
	time.Sleep(pause)
	return l.sem.Release(n)
}

// give makes the number odd, if it is even, and signals.
func (l *locker) give(ctx context.Context) error {
	if err := l.m.Lock(ctx); err != nil {
		return err
	}
	n, err := l.n.Load()
	if err == nil && n.A%2 == 0 {
		err = l.n.Store(pair{A: n.A + 1})
	}
	return errors.Join(err, l.cond.Signal(), l.m.Unlock())
}

// take waits until the number is odd, and makes it even.
func (l *locker) take(ctx context.Context) error {
	if err := l.m.Lock(ctx); err != nil {
		return err
	}
	for {
		n, err := l.n.Load()
		if err != nil {
			return errors.Join(err, l.m.Unlock())
		}
		if n.A%2 == 1 {
			return errors.Join(l.n.Store(pair{A: n.A + 1}), l.m.Unlock())
		}
		if err := l.cond.Wait(ctx); err != nil {
			return err
		}
	}
}

// even makes the number even.
func (l *locker) even(ctx context.Context) error {
	if err := l.m.Lock(ctx); err != nil {
		return err
	}
	return errors.Join(l.n.Store(pair{}), l.m.Unlock())
}

// any does one of these, at random.
func (l *locker) any(ctx context.Context) error {
	switch rand.IntN(4) {
	case 0:
		return l.read(ctx, 0)
	case 1:
		return l.write(ctx, 0)
	case 2:
		return l.acquire(ctx, 1+rand.Int64N(permits), 0)
	}
	return l.set.Set()
}

// check checks everything after a victim has died or finished.
func (l *locker) check(ctx context.Context, alone bool) error {
	if err := errors.Join(l.write(ctx, 0), l.read(ctx, 0)); err != nil {
		return err
	}
	if err := l.sem.Acquire(ctx, permits); err != nil { // no permit is lost
		return err
	}
	other, err := openLocker(l.name, l.in)
	if err != nil {
		return err
	}
	acquired, err := other.sem.TryAcquire(1)
	if acquired {
		err = errors.New("a permit is there twice")
	}
	err = errors.Join(err, l.sem.Release(permits))
	if alone {
		err = errors.Join(err, l.set.Reset())
	}
	seen := make(chan error, 1)
	go func() { seen <- other.set.Wait(ctx) }()
	err = errors.Join(err, l.set.Set(), <-seen)

	// A Signal reaches a live waiter even if a dead one waited before it.
	err = errors.Join(err, l.even(ctx))
	waits := make(chan error, 1)
	go func() { waits <- other.take(ctx) }()
	time.Sleep(time.Millisecond)
	return errors.Join(err, l.give(ctx), <-waits, other.close())
}

// whileStopped runs while a victim is stopped. It checks that contexts end
// whatever waits for the victim.
func (l *locker) whileStopped() (err error) {
	for _, do := range []func(context.Context, *locker) error{reads, writes, acquires, takes, awaits} {
		ctx, cancel := context.WithTimeout(context.Background(), 3*time.Millisecond)
		if e := do(ctx, l); !errors.Is(e, context.DeadlineExceeded) {
			err = errors.Join(err, e)
		}
		cancel()
	}
	return err
}

// gone returns an error unless the last handles to close have freed all names.
func (l *locker) gone() error {
	for _, part := range parts {
		if _, err := os.Lstat(filepath.Join(l.in, l.name+part)); !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("%s still exists: %w", part, err)
		}
	}
	return nil
}

// patiently makes a victim's operation of a function that takes a context.
func patiently(do func(ctx context.Context, l *locker) error) func(v *player) error {
	return func(v *player) error {
		ctx, cancel := patience()
		defer cancel()
		return do(ctx, v.locker)
	}
}

// alongside repeats do with a second locker until its context ends.
func alongside(pause time.Duration, do func(ctx context.Context, l *locker) error) func(ctx context.Context, d *driver) error {
	return func(ctx context.Context, d *driver) error {
		l, err := openLocker(d.name, d.dir)
		if err != nil {
			return err
		}
		err = until(ctx, pause, func() error { return do(ctx, l) })
		return errors.Join(err, l.close())
	}
}

// dieAt repeatedly lets processes die at a step, while do runs.
func dieAt(at step.Step, do func(ctx context.Context, l *locker) error) func(ctx context.Context, d *driver) error {
	return func(ctx context.Context, d *driver) error {
		return until(ctx, 0, func() error {
			p := spawn(d.T)
			defer p.Kill()
			d.command(p, "kill", d.op, at, 1)
			for {
				select {
				case <-p.ended:
					return nil
				case <-ctx.Done():
					return nil
				case <-time.After(time.Millisecond):
					if do != nil {
						if err := do(ctx, d.locker); err != nil {
							return err
						}
					}
				}
			}
		})
	}
}

// leaveCounts leaves the count of a dead reader in the member slot that is
// claimed next.
func leaveCounts(ctx context.Context, d *driver) error {
	f, err := os.OpenFile(filepath.Join(d.dir, d.name+".rw"), os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	word := func(off int64, n int) []byte {
		b := make([]byte, n)
		_, e := f.ReadAt(b, off)
		err = errors.Join(err, e)
		return b
	}
	const waitPageOff, pageOff = 64, 72
	rows := int64(binary.NativeEndian.Uint64(word(waitPageOff, 8))) + int64(binary.NativeEndian.Uint32(word(pageOff, 4)))
	registry := func(kind int16) error {
		return unix.FcntlFlock(f.Fd(), unix.F_OFD_SETLK, &unix.Flock_t{Type: kind, Start: layout.RegistryByte, Len: 1})
	}
	return until(ctx, 50*time.Microsecond, func() error {
		// Without the registry, the slot may be claimed already, and its row
		// cleared.
		if errors.Is(registry(unix.F_WRLCK), unix.EAGAIN) {
			return nil
		}
		slot := binary.NativeEndian.Uint32(word(rotorOff, 4)) % layout.Members
		_, e := f.WriteAt(binary.NativeEndian.AppendUint64(nil, 1), rows+8*int64(bits.Reverse16(uint16(slot))>>6))
		return errors.Join(err, e, registry(unix.F_UNLCK))
	})
}

func opensRW(ctx context.Context, l *locker) error {
	rw, err := ipcsync.OpenRWMutex(l.name+".rw", &ipcsync.Options{Dir: l.in, Repair: l.repair})
	if err != nil {
		return err
	}
	return errors.Join(rw.RLock(ctx), rw.Close())
}

func reads(ctx context.Context, l *locker) error    { return l.read(ctx, 0) }
func writes(ctx context.Context, l *locker) error   { return l.write(ctx, 0) }
func acquires(ctx context.Context, l *locker) error { return l.acquire(ctx, 2, 0) }
func takes(ctx context.Context, l *locker) error    { return l.take(ctx) }
func gives(ctx context.Context, l *locker) error    { return l.give(ctx) }

func sets(_ context.Context, l *locker) error { return errors.Join(l.set.Set(), l.set.Reset()) }

func awaits(ctx context.Context, l *locker) error { return l.set.Wait(ctx) }

func init() {
	signalling := from(step.EventSignalling, step.EventSignalled)
	operations = append(operations, []*operation{
		{
			name: "read", scene: others, do: patiently(reads),
			steps: from(step.ReaderCounted, step.ReaderLeft),
		}, {
			name: "read beside a writer", scene: others, do: patiently(reads),
			beside: alongside(100*time.Microsecond, func(ctx context.Context, l *locker) error { return l.write(ctx, time.Millisecond) }),
			steps:  steps(queueing, []step.Step{step.ReaderCounted, step.ReaderEntered, step.ReaderLeaving, step.ReaderLeft}, signalling),
		}, {
			name: "read after a writer's death", scene: others, do: patiently(func(ctx context.Context, l *locker) error {
				return errors.Join(l.read(ctx, 0), l.write(ctx, 0)) // other processes die in the write
			}), beside: dieAt(step.LockDraining, nil),
			steps: steps(mending, []step.Step{step.ReadersDrained}),
		}, {
			name: "write", scene: others, do: patiently(writes),
			steps: steps(locked, []step.Step{step.LockDraining}, unlocking),
		}, {
			name: "write beside readers", scene: others, do: patiently(writes),
			beside: alongside(100*time.Microsecond, func(ctx context.Context, l *locker) error { return l.read(ctx, time.Millisecond) }),
			steps:  steps([]step.Step{step.LockDraining}, from(step.EventArmed, step.EventSignalled), []step.Step{step.ReadersDrained}, unlocking),
		}, {
			name: "open and close an RWMutex", scene: others, do: patiently(opensRW), beside: leaveCounts,
			steps: steps(claiming, []step.Step{step.RowCleared, step.RowClaimed, step.RowUsed, step.RowLeft}),
		}, {
			name: "acquire", scene: others, do: patiently(acquires),
			steps: steps(locked, from(step.PermitsTaking, step.PermitsTaken), from(step.PermitsReturning, step.PermitsReturned), unlocking),
		}, {
			name: "acquire what others have", scene: others, do: patiently(acquires),
			beside: alongside(100*time.Microsecond, func(ctx context.Context, l *locker) error { return l.acquire(ctx, permits, time.Millisecond) }),
			steps:  steps(from(step.WatchArmed, step.WatchAwake), []step.Step{step.PermitsCounted, step.PermitsTaken, step.PermitsReturned}),
		}, {
			name: "release what others want", scene: others, do: patiently(func(ctx context.Context, l *locker) error {
				return l.acquire(ctx, permits, time.Millisecond)
			}), beside: alongside(0, acquires),
			steps: steps([]step.Step{step.PermitsReturned, step.TellDisarmed}, waking),
		}, {
			name: "acquire what the dead have", scene: others, do: patiently(acquires), beside: dieAt(step.PermitsTaken, nil),
			steps: []step.Step{step.RowTakenBack, step.PermitsCounted},
		}, {
			name: "wait for a signal", scene: others, do: patiently(takes), beside: alongside(time.Millisecond, gives),
			steps: steps(from(step.CondEnlisted, step.CondDelisted), from(step.WatchArmed, step.WatchAwake)),
		}, {
			name: "signal", scene: others, do: patiently(gives), beside: alongside(0, takes),
			steps: steps([]step.Step{step.CondGranting, step.TellDisarmed}, waking, unlocking),
		}, {
			name: "wait beside the dead", scene: others, do: patiently(takes), beside: dieAt(step.CondGranted, gives),
			steps: []step.Step{step.CondInherited},
		}, {
			name: "set and reset", scene: others, do: patiently(sets), beside: alongside(0, awaits),
			steps: steps(from(step.EventChanging, step.EventChanged), waking),
		}, {
			name: "wait until it is set", scene: others, do: patiently(awaits),
			beside: alongside(time.Millisecond, sets),
			steps:  from(step.WatchArmed, step.WatchAwake),
		},
	}...)
}

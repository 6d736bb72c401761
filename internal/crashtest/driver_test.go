//go:build sharedseg_steps && linux

package crashtest

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sharedseg/sharedseg"
	"github.com/sharedseg/sharedseg/internal/layout"
	"github.com/sharedseg/sharedseg/internal/mapping"
	"github.com/sharedseg/sharedseg/internal/proctest"
	"github.com/sharedseg/sharedseg/internal/step"
	"github.com/sharedseg/sharedseg/segment"
	"github.com/sharedseg/sharedseg/sync"
	"golang.org/x/sys/unix"
)

// A victimProc is a victim's process as the driver sees it.
type victimProc struct {
	*proctest.Proc
	at    chan struct{} // it is about to be killed or stopped
	done  chan struct{} // it has finished
	ended chan struct{} // its output has ended
	acked atomic.Uint64 // the last version that it stored
}

func spawn(t *testing.T) *victimProc {
	p := &victimProc{
		Proc: proctest.Start(t, "victim"),
		at:   make(chan struct{}, 1), done: make(chan struct{}, 1), ended: make(chan struct{}),
	}
	go func() {
		defer close(p.ended)
		for lines := bufio.NewScanner(p.Output()); lines.Scan(); {
			switch line := lines.Text(); line {
			case "at":
				p.at <- struct{}{}
			case "done":
				p.done <- struct{}{}
			default:
				if n, err := strconv.ParseUint(line, 10, 64); err == nil {
					p.acked.Store(n)
				}
			}
		}
	}()
	return p
}

// await waits for an event of a victim. It fails if the victim ends first.
func (p *victimProc) await(c <-chan struct{}) error {
	select {
	case <-c:
		return nil
	case <-p.ended:
		select {
		case <-c:
			return nil
		default:
			return errors.New("the victim has ended")
		}
	case <-time.After(2 * proctest.Patience):
		return errors.New("the victim hangs")
	}
}

// stopped waits until the process is stopped.
func (p *victimProc) stopped() error {
	for begun := time.Now(); time.Since(begun) < proctest.Patience; time.Sleep(50 * time.Microsecond) {
		var info unix.Siginfo
		err := unix.Waitid(unix.P_PID, p.Pid(), &info, unix.WSTOPPED|unix.WNOHANG|unix.WNOWAIT, nil)
		if err != nil && !errors.Is(err, unix.EINTR) {
			return err
		}
		if err == nil && info.Signo != 0 {
			return nil
		}
	}
	return errors.New("the victim did not stop")
}

// A driver kills or stops a victim at each step of an operation, and checks the
// consequences.
type driver struct {
	*testing.T
	*player
	op        int
	operation *operation
	action    string
	name, dir string
	alone     bool // without peers
	next      *victimProc
	peers     []*proctest.Proc
	file      *os.File // in the scene steady
	seen      atomic.Uint64
	stale     []byte // the content of a segment that a dead process has left
}

func (d *driver) must(err error) {
	d.Helper()
	if err != nil {
		d.Fatal(err)
	}
}

// take returns a victim that has just been started, and starts the next one,
// which takes a while.
func (d *driver) take() *victimProc {
	p := d.next
	d.next = spawn(d.T)
	return p
}

// command tells a victim to begin.
func (d *driver) command(p *victimProc, action string, op int, at step.Step, nth int) {
	p.Say(fmt.Sprintf("%d %d %d %s %s %s", op, at, nth, action, d.name, d.dir))
}

func (d *driver) path() string { return filepath.Join(d.dir, d.name) }

// run does the given number of rounds at each step of an operation, beside the
// given number of peers. It returns the number of rounds.
func run(t *testing.T, op int, action string, peers, rounds int) (n int) {
	d := &driver{T: t, op: op, operation: operations[op], action: action, name: proctest.Name(t), dir: "/dev/shm", alone: peers == 0}
	if d.operation.scene == swept {
		d.dir = proctest.TempDir(t) // Sweep concerns the whole directory
	}
	var err error
	d.player, err = d.operation.enter(d.name, d.dir)
	d.must(err)
	watched := func() error { return nil }
	switch d.operation.scene {
	case steady:
		watched = d.watch(&d.seen)
		d.file, err = os.OpenFile(d.path(), os.O_RDWR, 0)
		d.must(err)
	case swept:
		d.must(d.actor.open())
		d.stale, err = os.ReadFile(d.path())
		d.must(errors.Join(err, d.actor.close()))
	case kept:
		d.must(live(d.player))
	case orphaned:
		d.must(d.inherit())
	}
	for range peers {
		d.peers = append(d.peers, proctest.Start(t, "peer", strconv.Itoa(op), d.name, d.dir))
	}
	for _, p := range d.peers {
		p.Expect("ready")
	}
	d.next = spawn(t)
	for _, at := range d.operation.steps {
		for round := range rounds {
			d.round(at, 1+round%3)
			n++
		}
	}
	for _, p := range d.peers {
		p.Wait()
	}
	d.must(watched())
	if d.operation.scene == orphaned {
		d.must(d.visitMutex())
	}
	d.must(d.operation.leave(d.player))
	switch d.operation.scene {
	case others:
		d.must(d.locker.gone())
	case steady:
		d.file.Close()
	case kept:
		d.must(sharedseg.Remove(d.name, d.place().Place()))
	}
	d.gone()
	return n
}

// round kills or stops a victim at the nth passage of a step.
func (d *driver) round(at step.Step, nth int) {
	defer func() {
		if d.Failed() {
			d.Errorf("at step %v, passage %d", at, nth)
		}
	}()
	repairs := int64(0)
	if d.keeper != nil {
		repairs = d.repairs.Load()
	}
	var generations []byte
	if d.alone && d.file != nil {
		generations = d.generations()
	}
	if d.operation.scene == queued {
		d.beforeQueue()
	}
	p := d.next
	if d.action == "kill" {
		p = d.take()
	}
	d.command(p, d.action, d.op, at, nth)
	ctx, cancel := context.WithCancel(d.Context())
	defer cancel()
	busy := make(chan error, 1)
	go func() {
		if beside := d.operation.beside; beside != nil {
			if err := beside(ctx, d); err != nil {
				p.Slay() // it may wait for something that will not come
				busy <- err
			}
		}
		close(busy)
	}()
	idle := sync.OnceValue(func() error {
		cancel()
		return <-busy
	})
	if err := p.await(p.at); err != nil {
		d.Fatal(errors.Join(idle(), err))
	}
	if d.action == "kill" {
		<-p.ended
		p.Kill()
		d.must(idle())
		d.awaitRelease()
	} else {
		d.must(p.stopped())
		if s := d.operation.scene; s == steady || s == mutual || s == queued {
			d.must(idle())
			d.pause(at)
		} else if s == others {
			// the operation beside may wait for the victim without a context
			d.must(d.locker.whileStopped())
		} else {
			time.Sleep(5 * time.Millisecond) // the registry may be locked
		}
		p.Signal(unix.SIGCONT)
		if d.operation.scene == others { // the victim may wait for the operation beside
			d.must(p.await(p.done))
		}
		d.must(idle())
		if d.operation.scene != others {
			d.must(p.await(p.done))
		}
	}
	d.after(p.acked.Load())
	if d.operation.scene == mutual && d.alone && d.operation.beside == nil {
		want := int64(0)
		if d.action == "kill" && d.operation.holds(at) {
			want = 1
		}
		if got := d.repairs.Load() - repairs; got != want {
			d.Fatalf("%d repairs, want %d", got, want)
		}
	}
	if generations != nil {
		d.succeed(generations)
	}
}

// awaitRelease waits until the dead hold nothing, if only they and the driver
// had the segment open.
func (d *driver) awaitRelease() {
	if s := d.operation.scene; !d.alone || s == mutual || s == others { // waiters for a lock wait for that anyway
		return
	}
	ours := 0
	if d.operation.scene == steady || d.operation.scene == queued {
		ours = 1
	}
	proctest.Gone(d, func() bool {
		info, err := sharedseg.Stat(d.name, &sharedseg.Place{Dir: d.dir})
		if !errors.Is(err, fs.ErrNotExist) {
			d.must(err)
		}
		return info.Writers <= ours && info.Readers == 0
	})
}

// pause runs while the victim is stopped. It checks that everything that needs
// the victim's lock waits until its context ends, and that nothing else waits.
func (d *driver) pause(at step.Step) {
	if d.operation.scene == queued {
		d.pauseQueue(at)
		return
	}
	holds := d.operation.holds(at)
	locking := func(do func(ctx context.Context) error) {
		d.Helper()
		ctx, cancel := patience()
		if holds {
			ctx, cancel = context.WithTimeout(context.Background(), 3*time.Millisecond)
		}
		defer cancel()
		if err := do(ctx); errors.Is(err, context.DeadlineExceeded) != holds || err != nil && !holds {
			d.Fatalf("the victim has the lock: %v; another handle's error: %v", holds, err)
		}
	}
	if d.operation.scene == mutual {
		locking(d.lock)
		if locked, err := d.m.TryLock(); err != nil || locked && holds {
			d.Fatalf("TryLock = %v, %v", locked, err)
		} else if locked {
			d.must(d.increment())
		}
		return
	}
	d.must(d.sealed())
	if at == step.RegistryQueued { // the ticket is passed over
		d.must(d.actor.beside(func(b *actor) error { return b.load() }))
	}
	if d.options.LockReads {
		locking(func(ctx context.Context) error { _, err := d.s.LoadContext(ctx); return err })
	} else {
		d.must(d.load())
	}
	for range 2 * segment.DefaultSlots { // a slot that the victim reads is overwritten meanwhile
		locking(func(ctx context.Context) error { return d.update(ctx, func() {}) })
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Millisecond)
	defer cancel()
	if _, err := d.s.Wait(ctx, d.s.Version()); err != nil && !errors.Is(err, context.DeadlineExceeded) {
		d.Fatal(err)
	}
}

// after runs when the victim is dead or has finished. acked is the last version
// that it reported as stored.
func (d *driver) after(acked uint64) {
	switch d.operation.scene {
	case queued:
		d.afterQueue(acked)
		return
	case brief:
		d.must(liveQueue(d.player))
		if d.alone {
			d.gone()
		}
		return
	case others:
		ctx, cancel := patience()
		defer cancel()
		d.must(d.locker.check(ctx, d.alone))
		return
	case mutual, orphaned:
		if d.operation.scene == mutual {
			d.must(d.locks())
		} else {
			d.must(d.inherit())
		}
		if d.keeper.last <= acked {
			d.Fatalf("%d increments, but number %d was reported", d.keeper.last, acked)
		}
		return
	case steady:
		d.must(d.sealed()) // before a Store repairs what is wrong
		d.must(d.load())
		if d.version < acked {
			d.Fatalf("version %d was stored, the current one is %d", acked, d.version)
		}
		d.must(sees(&d.seen, d.version))
		d.must(d.updates())
		d.must(sees(&d.seen, d.version))
		if info, err := sharedseg.Stat(d.name, d.place().Place()); err != nil || d.alone && d.action == "kill" && (info.Writers != 1 || info.Readers != 0) {
			d.Fatalf("Stat = %+v, %v", info, err)
		}
		return
	case kept:
		d.must(d.actor.open())
		d.must(d.load())
		if d.s.Created() || d.version < acked {
			d.Fatalf("version %d was stored, the current one is %d, Created is %v", acked, d.version, d.s.Created())
		}
		d.must(d.updates())
		d.must(d.actor.close())
		return
	case swept:
		_, err := sharedseg.Sweep(d.place().Place())
		d.must(err)
	}
	if d.alone {
		if info, err := sharedseg.Stat(d.name, d.place().Place()); err == nil && info.Live() {
			d.Fatalf("Stat = %+v", info)
		}
		if s, err := segment.Attach(d.name, d.codec, d.place()); !errors.Is(err, fs.ErrNotExist) {
			if err == nil {
				s.Close()
			}
			d.Fatal("Attach:", err)
		}
	}
	d.must(d.actor.open())
	if d.alone && (!d.s.Created() || d.s.Version() != 0) {
		d.Fatalf("Created is %v at version %d", d.s.Created(), d.s.Version())
	}
	d.must(d.load())
	d.must(d.updates())
	d.must(d.load())
	d.must(d.actor.close())
	if d.alone {
		d.gone()
	}
}

// gone fails the test unless the last handle to close has freed the name.
func (d *driver) gone() {
	if _, err := os.Lstat(d.path()); !errors.Is(err, fs.ErrNotExist) {
		d.Fatal("the name still exists:", err)
	}
}

// Offsets and sizes from docs/format.md.
const (
	slotsOff    = 28
	strideOff   = 48
	slotAreaOff = 56
	rotorOff    = 96
	endOff      = 200
	memberOff   = 320
	memberSize  = 8
	slotHeader  = 64
)

func (d *driver) generations() []byte {
	b := make([]byte, memberSize*layout.Members)
	_, err := d.file.ReadAt(b, memberOff)
	d.must(err)
	return b
}

func generation(table []byte, slot int) uint32 {
	return binary.NativeEndian.Uint32(table[memberSize*slot:])
}

// sealed reads the slots and trusts their headers: the current version must be
// in its slot. A value that its header calls published must be whole, if the
// header is the same before and after the copy.
func (d *driver) sealed() error {
	var failed error
	read := func(off uint64, n int) []byte {
		b := make([]byte, n)
		_, err := d.file.ReadAt(b, int64(off))
		failed = errors.Join(failed, err)
		return b
	}
	word := func(off uint64) uint64 { return binary.NativeEndian.Uint64(read(off, 8)) }
	slots := uint64(binary.NativeEndian.Uint32(read(slotsOff, 4)))
	stride, area := word(strideOff), word(slotAreaOff)
	if failed != nil {
		return failed
	}
	end := word(endOff)
	if version := word(area + end%slots*stride); version != end && word(endOff) == end {
		return fmt.Errorf("the slot of the current version %d has version %d", end, version)
	}
	for slot := range slots {
		at := area + slot*stride
		end, version := word(endOff), word(at)
		var v value
		_, err := binary.Decode(read(at+slotHeader, binary.Size(v)), binary.NativeEndian, &v)
		if failed = errors.Join(failed, err); failed != nil {
			return failed
		}
		if word(at) != version || version == 0 || version > end {
			continue
		}
		if err := v.check(); err != nil {
			return fmt.Errorf("version %d in slot %d: %w", version, slot, err)
		}
		if version%slots != slot || d.counts && v.N != version && !d.skips {
			return fmt.Errorf("slot %d has version %d, of update %d", slot, version, v.N)
		}
	}
	return failed
}

// succeed opens a handle in each member slot that the victim had, and in the
// one that it may have been about to claim. No other process opens the segment.
func (d *driver) succeed(before []byte) {
	now := d.generations()
	rotor := make([]byte, 4)
	_, err := d.file.ReadAt(rotor, rotorOff)
	d.must(err)
	next := int(binary.NativeEndian.Uint32(rotor))
	for slot := 1; slot < layout.Members; slot++ { // the driver has slot 0
		if slot != next && generation(now, slot) == generation(before, slot) {
			continue
		}
		binary.NativeEndian.PutUint32(rotor, uint32(slot))
		_, err := d.file.WriteAt(rotor, rotorOff)
		d.must(err)
		d.must(d.actor.beside(func(*actor) error { return nil }))
		if got, old := generation(d.generations(), slot), generation(now, slot); got != old+1 {
			d.Fatalf("generation %d of slot %d was followed by %d", old, slot, got)
		}
	}
}

// The functions that the driver runs beside a victim. Each ends with its
// context, without an error.

// until repeats do until ctx is done, with a pause after each call.
func until(ctx context.Context, pause time.Duration, do func() error) error {
	for ctx.Err() == nil {
		if err := do(); err != nil && ctx.Err() == nil {
			return err
		}
		time.Sleep(pause)
	}
	return nil
}

// hold locks and unlocks the segment repeatedly.
func hold(ctx context.Context, d *driver) error {
	return until(ctx, 100*time.Microsecond, func() error {
		return d.update(ctx, func() { time.Sleep(time.Millisecond) })
	})
}

// borrowAll repeatedly borrows all slots except that of the current value.
func borrowAll(ctx context.Context, d *driver) error {
	return until(ctx, time.Millisecond, func() (err error) {
		var all []*segment.Borrowed[value]
		defer func() {
			for _, b := range all {
				err = errors.Join(err, b.Release())
			}
		}()
		for range segment.DefaultSlots - 1 {
			b, err := d.s.Borrow(ctx)
			if err != nil {
				return err
			}
			all = append(all, b)
			short, cancel := context.WithTimeout(ctx, 2*time.Millisecond)
			err = d.update(short, func() {})
			cancel()
			if err != nil && !errors.Is(err, context.DeadlineExceeded) {
				return err
			}
		}
		time.Sleep(2 * time.Millisecond)
		return nil
	})
}

// leaveRows repeatedly lets processes die with a value borrowed, and makes the
// next handles that open the segment claim their member slots.
func leaveRows(ctx context.Context, d *driver) error {
	rotor := make([]byte, 4)
	binary.NativeEndian.PutUint32(rotor, 1) // the driver has slot 0
	return until(ctx, 0, func() error {
		p := spawn(d.T)
		defer p.Kill()
		d.command(p, "kill", d.op, step.PinHeld, 1)
		select {
		case <-p.ended:
		case <-ctx.Done():
			return nil
		}
		for range 20 {
			if _, err := d.file.WriteAt(rotor, rotorOff); err != nil {
				return err
			}
			time.Sleep(time.Millisecond)
		}
		return nil
	})
}

// tell repeatedly stores a new value.
func tell(ctx context.Context, d *driver) error {
	return until(ctx, 2*time.Millisecond, func() error { return d.update(ctx, func() {}) })
}

// die repeatedly lets processes die while they hold the lock.
func die(ctx context.Context, d *driver) error {
	return until(ctx, 0, func() error {
		p := spawn(d.T)
		defer p.Kill()
		d.command(p, "kill", d.op, step.LockTaken, 1)
		select {
		case <-p.ended:
		case <-ctx.Done():
		}
		return nil
	})
}

// holdMutex is hold for a mutex.
func holdMutex(ctx context.Context, d *driver) error {
	return until(ctx, 100*time.Microsecond, func() error {
		if err := d.m.Lock(ctx); err != nil {
			return err
		}
		time.Sleep(time.Millisecond)
		return d.increment()
	})
}

// abandonMutex repeatedly closes a handle that has locked the mutex. It pauses
// for longer than waiters park, so that these come first.
func abandonMutex(ctx context.Context, d *driver) error {
	return until(ctx, 6*time.Millisecond, func() error {
		m, err := ipcsync.OpenMutex(d.name, &ipcsync.Options{Dir: d.dir, Repair: d.repair})
		if err != nil {
			return err
		}
		err = m.Lock(ctx)
		return errors.Join(err, m.Close())
	})
}

// holdRegistry repeatedly locks the registry for longer than others try before
// they take a ticket.
func holdRegistry(ctx context.Context, d *driver) error {
	return until(ctx, 100*time.Microsecond, func() error {
		o, err := mapping.Enter(&mapping.Place{Name: d.name, Dir: d.dir}, false, false, proctest.Patience)
		if err != nil {
			return err
		}
		time.Sleep(5 * time.Millisecond)
		o.UnlockRegistry()
		return o.Close()
	})
}

// litter repeatedly puts a left-over segment under the victim's name.
func litter(ctx context.Context, d *driver) error {
	hidden := filepath.Join(d.dir, ".litter")
	return until(ctx, 200*time.Microsecond, func() error {
		if err := os.WriteFile(hidden, d.stale, 0o600); err != nil {
			return err
		}
		err := unix.Renameat2(unix.AT_FDCWD, hidden, unix.AT_FDCWD, d.path(), unix.RENAME_NOREPLACE)
		if errors.Is(err, fs.ErrExist) {
			return os.Remove(hidden)
		}
		return err
	})
}

// makeNames opens and closes segments whose name the victim removes.
func makeNames(ctx context.Context, d *driver) error {
	return until(ctx, 100*time.Microsecond, func() error {
		p := &player{actor: &actor{flavour: d.flavour, name: d.name, dir: d.dir, counts: d.counts}}
		return live(p)
	})
}

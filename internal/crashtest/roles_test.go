//go:build sharedseg_steps && linux

package crashtest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sharedseg/sharedseg/internal/proctest"
	"github.com/sharedseg/sharedseg/internal/step"
	"github.com/sharedseg/sharedseg/segment"
	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) {
	proctest.Main(m, map[string]func([]string) error{"victim": victim, "peer": peer})
}

// enter prepares a player for an operation.
func (op *operation) enter(name, dir string) (p *player, err error) {
	p = new(player)
	if op.scene == others {
		p.locker, err = openLocker(name, dir)
		return p, err
	}
	if op.scene == mutual || op.scene == orphaned {
		p.keeper, err = openKeeper(name, dir)
		if err == nil && op.scene == mutual {
			err = p.keeper.open()
		}
		return p, err
	}
	if op.scene == queued || op.scene == brief {
		p.clerk = newClerk(name, dir, op.flavour == encoded)
		if op.scene == queued {
			err = p.openQueue()
		}
		return p, err
	}
	p.actor = &actor{flavour: op.flavour, name: name, dir: dir, counts: op.counts, skips: op.skips}
	if op.scene == steady {
		if err = p.actor.open(); err == nil {
			err = p.updates()
		}
	}
	return p, err
}

func (op *operation) leave(p *player) error {
	switch op.scene {
	case others:
		return p.locker.close()
	case mutual:
		return errors.Join(p.m.Close(), p.b.Close())
	case orphaned:
		return p.b.Close()
	case steady:
		return p.actor.close()
	case queued:
		return p.q.Close()
	}
	return nil
}

// victim repeats operation number OP on NAME in DIR until it passes STEP for
// the NTH time. There ACTION is done to it. All these come from its input. It
// reports when it is about to be killed or stopped, which versions it has
// stored, and when it has finished.
func victim([]string) error {
	for line := proctest.Await(); line != ""; line = proctest.Await() {
		var i, nth int
		var at step.Step
		var action, name, dir string
		if _, err := fmt.Sscan(line, &i, &at, &nth, &action, &name, &dir); err != nil {
			return err
		}
		op := operations[i]
		v, err := op.enter(name, dir)
		if err != nil {
			return err
		}
		var sprung atomic.Bool
		step.Arm(at, nth, func() {
			os.Stdout.WriteString("at\n")
			sprung.Store(true) // set here, as this may be another goroutine than the one that checks it
			obey(action)
		})
		for begun := time.Now(); !sprung.Load(); {
			if time.Since(begun) > proctest.Patience {
				return fmt.Errorf("step %v was never reached", at)
			}
			if err := op.do(v); err != nil {
				return err
			}
			fmt.Println(v.acked())
		}
		if err := op.leave(v); err != nil {
			return err
		}
		fmt.Println("done")
	}
	return nil
}

// obey kills or stops this process. It sends the signal to its own thread, so
// that the thread passes no further step.
func obey(action string) {
	if action == "kill" {
		unix.Kill(unix.Getpid(), unix.SIGKILL)
		select {}
	}
	runtime.LockOSThread()
	unix.Tgkill(unix.Getpid(), unix.Gettid(), unix.SIGSTOP)
	runtime.UnlockOSThread()
}

// peer does various things with NAME in DIR beside operation OP until its input
// ends. It returns the first error.
func peer(args []string) error {
	i, err := strconv.Atoi(args[0])
	if err != nil {
		return err
	}
	op, name, dir := operations[i], args[1], args[2]
	p, err := op.enter(name, dir)
	if err != nil {
		return err
	}
	var over atomic.Bool
	go func() {
		proctest.Await()
		over.Store(true)
	}()
	watched := func() error { return nil }
	if op.scene == steady {
		watched = p.watch(new(atomic.Uint64))
	}
	fmt.Println("ready")
	for !over.Load() {
		if err := op.something(p); err != nil {
			return err
		}
		time.Sleep(time.Duration(rand.IntN(300)) * time.Microsecond)
	}
	if err := errors.Join(watched(), op.leave(p)); err != nil {
		return err
	}
	if lines, _ := proctest.Mappings(name); lines != nil {
		return fmt.Errorf("mappings left: %q", lines)
	}
	if fds := proctest.Descriptors(name); fds != nil {
		return fmt.Errorf("descriptors left: %q", fds)
	}
	return nil
}

// something does one of the things that suit the operation.
func (op *operation) something(p *player) error {
	switch {
	case op.scene == others:
		ctx, cancel := patience()
		defer cancel()
		return p.locker.any(ctx)
	case op.scene == mutual && rand.IntN(2) == 0:
		return p.tries()
	case op.scene == mutual:
		return p.locks()
	case op.scene == orphaned:
		time.Sleep(time.Duration(rand.IntN(50)) * time.Millisecond) // otherwise the mutex would always be open
		if rand.IntN(4) == 0 {
			return p.inherit() // this takes a while
		}
		return p.visitMutex()
	case op.scene == steady:
		return p.dabble()
	case op.scene == queued:
		return p.mail()
	case op.scene == brief:
		return liveQueue(p)
	}
	if err := p.actor.open(); err != nil {
		return err
	}
	for range rand.IntN(4) {
		var err error
		if op.scene == renamed {
			err = p.updates() // another handle may belong to another segment
		} else {
			err = p.dabble()
		}
		if err != nil {
			return err
		}
	}
	return errors.Join(p.load(), p.actor.close())
}

// dabble does one thing with an open segment, at random.
func (p *player) dabble() error {
	n := 5
	if p.skips {
		n = 8
	}
	switch rand.IntN(n) {
	case 0:
		return p.load()
	case 1:
		return p.updates()
	case 2:
		return p.stores()
	case 3:
		return p.actor.beside(func(b *actor) error { return b.load() })
	case 5:
		return p.peeks()
	case 6:
		return p.lends()
	case 7:
		return p.discards()
	}
	return p.read(func(r *segment.Reader[value]) error {
		ctx, cancel := context.WithTimeout(context.Background(), time.Millisecond)
		defer cancel()
		_, err := r.Wait(ctx, p.version)
		if errors.Is(err, context.DeadlineExceeded) {
			err = nil
		}
		return err
	})
}

// watch watches the segment and stores the last version seen in seen. The
// returned function ends that. It returns an error unless the watcher sees the
// version that is current by then.
func (p *player) watch(seen *atomic.Uint64) func() error {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() {
		for {
			version, err := p.s.Wait(ctx, seen.Load())
			if err != nil {
				ended <- err
				return
			}
			seen.Store(version)
		}
	}()
	return func() error {
		err := sees(seen, p.s.Version())
		cancel()
		if e := <-ended; !errors.Is(e, context.Canceled) {
			err = errors.Join(err, e)
		}
		return err
	}
}

// sees waits until a watcher has seen a version.
func sees(seen *atomic.Uint64, version uint64) error {
	for begun := time.Now(); seen.Load() < version; time.Sleep(100 * time.Microsecond) {
		if time.Since(begun) > proctest.Patience {
			return fmt.Errorf("a watcher is stuck at version %d, the current one is %d", seen.Load(), version)
		}
	}
	return nil
}

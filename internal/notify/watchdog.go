package notify

import (
	"time"

	"github.com/sharedseg/sharedseg/internal/step"
)

// watchdog is a goroutine that, from time to time, sets the flags and looks at
// the words of groups that are parked, because a publisher that should have
// woken them may have died. The groups could instead park for a shorter time,
// but that costs much more than a look: the kernel has to find each word again,
// and the Go runtime watches each thread that goes back to sleep for 10 ms.
type watchdog struct {
	set    *set
	roused chan struct{}
}

// longPark is how long a group parks, so that an idle process does not depend
// on its watchdog alone.
const longPark = time.Minute

// limit returns how long a group parks at most. It is short if the group sleeps
// on a plain futex, because it cannot be kicked if the memory vanished.
func (s *set) limit() time.Duration {
	if s.words() == 1 {
		return untilTick(s.last)
	}
	return max(longPark, s.last)
}

// epoch is the origin of the ticks at which a process does its periodic work,
// so that it wakes up less often.
var epoch = time.Now()

// untilTick returns the time until the next multiple of pause since epoch.
func untilTick(pause time.Duration) time.Duration { return toTick(time.Since(epoch), pause) }

func toTick(now, pause time.Duration) time.Duration { return pause - now%pause }

// watch makes the watchdog look after a new group. The set's mutex is held.
func (s *set) watch() {
	if s.watchdog == nil {
		s.watchdog = &watchdog{s, make(chan struct{}, 1)}
		go s.watchdog.run()
	} else if s.drowsy.Load() {
		s.watchdog.rouse()
	}
}

// note makes the watchdog look at g soon, after a change.
func (g *group) note() {
	g.active.Store(true)
	if g.set.drowsy.Load() {
		g.set.mu.Lock()
		defer g.set.mu.Unlock()
		g.set.watchdog.rouse() // there is one as long as there is a group
	}
}

func (d *watchdog) rouse() {
	select {
	case d.roused <- struct{}{}:
	default:
	}
}

func (d *watchdog) run() {
	s := d.set
	timer := time.NewTimer(0)
	defer timer.Stop()
	var groups []*group
	for {
		s.mu.Lock()
		clear(groups)
		groups = append(groups[:0], s.groups...)
		if len(groups) == 0 {
			s.watchdog = nil
			s.mu.Unlock()
			return
		}
		s.mu.Unlock()
		s.drowsy.Store(true) // before the looks at active
		now, pause := time.Since(epoch), s.last
		for _, g := range groups {
			switch {
			case g.active.Swap(false):
				g.pause = s.first
			case g.due <= now:
				g.check()
				g.pause = min(2*g.pause, s.last)
			default:
				pause = min(pause, g.due-now)
				continue
			}
			g.due = now + toTick(now, g.pause)
			pause = min(pause, g.due-now)
		}
		s.drowsy.Store(pause > s.first)
		timer.Reset(pause)
		select {
		case <-timer.C:
		case <-d.roused:
		}
	}
}

// check does for a parked group what the group would do after its park, and
// kicks the group if there is more to do.
func (g *group) check() {
	if !g.awake.TryLock() {
		return // it is not parked
	}
	defer g.awake.Unlock()
	more := false
	for _, n := range g.owned {
		if n.subscribers.Load() == 0 || n.ended.Load() {
			more = true
			continue
		}
		n.moved = false
		if err := n.src.Use(n.rearm); err != nil {
			n.fail(err)
			more = true
		}
		more = more || n.moved
	}
	if more {
		g.kick()
	}
}

// doRearm sets the flag and then looks at the word of a Notifier whose owner is
// parked.
func (n *Notifier) doRearm() error {
	n.src.Flag.Store(1)
	step.At(step.WatchArmed)
	n.moved = n.src.Word.Load() != n.seen
	return nil
}

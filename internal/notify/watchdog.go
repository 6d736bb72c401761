package notify

import (
	"time"

	"github.com/sharedseg/sharedseg/internal/step"
)

// watchdog is a goroutine that sets the flags and looks at the words of groups
// that are parked, now and then, as a publisher that was to wake them may have
// died. The groups could as well end their parks, but that is dearer than a
// look by far: the kernel has to find each word again, and the Go runtime
// watches each thread that goes back to sleep for 10 ms.
type watchdog struct {
	set    *set
	roused chan struct{}
}

// A group parks for that long, so that a process that is idle need not trust in
// its watchdog alone.
const longPark = time.Minute

// limit is how long a group parks at most. One that sleeps on a plain futex in
// memory that vanished cannot be kicked.
func (s *set) limit() time.Duration {
	if s.words() == 1 {
		return untilTick(s.last)
	}
	return max(longPark, s.last)
}

// All that a process does now and then it does at the same time, to be awake
// less often.
var epoch = time.Now()

// untilTick is how long to sleep so that it is pause at most.
func untilTick(pause time.Duration) time.Duration { return toTick(time.Since(epoch), pause) }

func toTick(now, pause time.Duration) time.Duration { return pause - now%pause }

// watch has a watchdog look after a new group. The set's mutex is held.
func (s *set) watch() {
	if s.guard == nil {
		s.guard = &watchdog{s, make(chan struct{}, 1)}
		go s.guard.run()
	} else if s.drowsy.Load() {
		s.guard.rouse()
	}
}

// note has the watchdog look at g soon, as after a change.
func (g *group) note() {
	g.active.Store(true)
	if g.set.drowsy.Load() {
		g.set.mu.Lock()
		defer g.set.mu.Unlock()
		g.set.guard.rouse() // there is one as long as there is a group
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
			s.guard = nil
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

// check does what a group that is parked would do if its park ended, and ends
// it if there is more to do.
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

// doRearm sets the flag, and then looks at the word, of a Notifier whose owner
// is parked.
func (n *Notifier) doRearm() error {
	n.src.Flag.Store(1)
	step.At(step.WatchArmed)
	n.moved = n.src.Word.Load() != n.seen
	return nil
}

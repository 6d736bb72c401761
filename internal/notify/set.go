package notify

import (
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sharedseg/sharedseg/internal/park"
	"github.com/sharedseg/sharedseg/internal/step"
)

const (
	maxThreads = 32 // threads of a process that are parked at the same time
	fewThreads = 8  // up to this number of threads, each word gets its own
	fewWords   = 16 // beyond fewThreads, a thread gets this many words before another is added
)

// set has the waiting threads of a process, and what each of them waits for. A
// thread belongs to a group, which is a goroutine that watches the words of
// several Notifiers and parks on all of them at once, or to a goroutine that
// waits by itself. The poller has the words that cannot be parked on, or that
// are too many. The watchdog looks after groups that are parked.
//
// The set's mutex may be locked while a Notifier's is held, but not the other
// way round.
type set struct {
	words func() int // as park.Words
	// A publisher that dies between Disarm and Notify delays a waiter by first,
	// or by up to last if nothing has happened for that long. More frequent
	// looks would cost CPU time.
	first, last time.Duration

	mu       sync.Mutex
	threads  int
	idle     []*park.Sleeper // of threads that have ended
	groups   []*group
	poller   *poller     // nil if it has nothing to do
	watchdog *watchdog   // of the groups; nil if there are none
	drowsy   atomic.Bool // whether the watchdog sleeps for longer than first

	full atomic.Bool // no thread was left for some of the poller's words, and none has become free since
}

var process = set{words: park.Words, first: 100 * time.Millisecond, last: time.Second}

// NoLimits makes the sleeps of this process last until they are ended, for
// tests that show that no wake-up is lost. It must be called before the first
// wait.
func NoLimits() { process.first, process.last = time.Hour, time.Hour }

// takeThread counts a new thread, unless there are most already, and returns
// its Sleeper, or nil.
func (s *set) takeThread(most int) *park.Sleeper {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.take(most)
}

func (s *set) take(most int) *park.Sleeper {
	if s.threads >= most {
		return nil
	}
	s.threads++
	if last := len(s.idle) - 1; last >= 0 {
		sleeper := s.idle[last]
		s.idle = s.idle[:last]
		return sleeper
	}
	return park.NewSleeper(s.words())
}

// returnThread undoes takeThread.
func (s *set) returnThread(sleeper *park.Sleeper) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.release(sleeper)
}

func (s *set) release(sleeper *park.Sleeper) {
	s.threads--
	s.idle = append(s.idle, sleeper)
	s.full.Store(false)
}

// place gives n an owner. The mutex of n is held.
func (s *set) place(n *Notifier) {
	if n.arm == nil {
		n.arm, n.rearm, n.poll = n.doArm, n.doRearm, n.doPoll
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.parks(n) || !s.join(n) {
		s.joinPoller(n)
	}
}

// parks reports whether a thread can park on the word of n.
func (s *set) parks(n *Notifier) bool { return n.src.Flag != nil && s.words() > 0 }

// join makes a group the owner of n. It starts a new group while there are few
// threads, or while the existing groups have many words. Otherwise it chooses
// the group with the fewest words. It reports false if all groups are full.
func (s *set) join(n *Notifier) bool {
	var g *group
	for _, other := range s.groups {
		if other.size < s.words() && (g == nil || other.size < g.size) {
			g = other
		}
	}
	most := maxThreads
	if g != nil && g.size < fewWords {
		most = fewThreads
	}
	sleeper := s.take(most)
	if sleeper == nil && g == nil {
		s.full.Store(true)
		return false
	}
	if sleeper != nil {
		g = &group{set: s, sleeper: sleeper}
		g.active.Store(true)
		s.groups = append(s.groups, g)
		s.watch()
	}
	g.size++
	g.joining = append(g.joining, n)
	n.owner = g
	if sleeper != nil {
		go g.run()
	} else {
		g.kick()
	}
	return true
}

// A group is a goroutine that owns Notifiers and parks on all of their words at
// once.
type group struct {
	set     *set
	sleeper *park.Sleeper

	// Guarded by the set's mutex.
	size    int         // number of owned and joining
	joining []*Notifier // owned, but not yet seen by the goroutine

	// awake is held by the goroutine except while it is parked. It guards owned
	// and spots.
	awake sync.Mutex
	owned []*Notifier
	spots []*park.Spot // of owned

	active atomic.Bool // whether there was a change since the watchdog's last look

	// Used by the watchdog only.
	pause time.Duration // between its looks at the group
	due   time.Duration // time of its next look, since epoch
}

func (g *group) kick() { g.sleeper.Kick() }

func (g *group) run() {
	g.awake.Lock()
	defer g.awake.Unlock()
	for g.gather() {
		moved := false
		for _, n := range g.owned {
			moved = n.observe(n.arm) || moved
		}
		if moved {
			g.note()
			// Let the goroutines run that were told: a parked goroutine keeps
			// its P from others for a while.
			runtime.Gosched()
			continue
		}
		step.At(step.WatchParking)
		g.awake.Unlock()
		g.sleeper.Sleep(g.spots, g.set.limit())
		g.awake.Lock()
		step.At(step.WatchAwake)
	}
}

// gather releases Notifiers without subscribers and adds those that have
// joined. If none is left, the group ends and gather returns false.
func (g *group) gather() bool {
	before := len(g.owned)
	g.owned = slices.DeleteFunc(g.owned, (*Notifier).release)
	left := before - len(g.owned)

	s := g.set
	s.mu.Lock()
	defer s.mu.Unlock()
	if left > 0 {
		g.size -= left
		s.full.Store(false)
	}
	g.owned = append(g.owned, g.joining...)
	clear(g.joining)
	g.joining = g.joining[:0]
	if len(g.owned) == 0 {
		s.groups = slices.DeleteFunc(s.groups, func(other *group) bool { return other == g })
		s.release(g.sleeper)
		return false
	}
	clear(g.spots)
	g.spots = g.spots[:0]
	for _, n := range g.owned {
		g.spots = append(g.spots, &n.spot)
	}
	return true
}

// observe calls look within Use. It tells the subscribers if the word has
// changed or Use failed, and reports whether it told them.
func (n *Notifier) observe(look func() error) bool {
	n.moved = false
	if err := n.src.Use(look); err != nil {
		n.fail(err)
		return true
	}
	if n.moved {
		n.tell()
	}
	return n.moved
}

// doArm sets the flag and then looks at the word.
func (n *Notifier) doArm() error {
	n.src.Flag.Store(1)
	step.At(step.WatchArmed)
	now := n.src.Word.Load()
	n.moved = now != n.seen || !n.spot.Prepare(n.src.Sleep, now)
	n.seen = now
	return nil
}

// doPoll looks at the word.
func (n *Notifier) doPoll() error {
	now := n.src.Word.Load()
	n.moved = now != n.seen
	n.seen = now
	return nil
}

// release ends the ownership of n if n has no subscribers any more, and reports
// whether it did.
func (n *Notifier) release() bool {
	if n.subscribers.Load() > 0 && !n.ended.Load() {
		return false
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.subscribers.Load() > 0 && n.failed == nil {
		return false
	}
	n.owner = nil
	n.spot.Close()
	return true
}

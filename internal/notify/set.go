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
	maxThreads = 32 // of a process that are parked at one time
	fewThreads = 8  // up to which a word has a thread of its own
	fewWords   = 16 // of a thread, up to which words share one rather than have another
)

// set is the threads of a process that wait, and what each waits for. A thread
// is that of a group, a goroutine that looks at the words of several Notifiers
// and parks on all of them at once, or of a goroutine that waits by itself,
// while it does. Words that cannot be parked on, or are too many, are the
// poller's. The watchdog looks after groups that are parked.
//
// A mutex of a Notifier may be held when the set's is locked, never the other
// way round.
type set struct {
	words func() int // as of park.Words
	// A publisher that dies between disarming and waking delays a waiter by
	// first, or by up to last if nothing happened for as long: more looks would
	// cost CPU.
	first, last time.Duration

	mu      sync.Mutex
	threads int
	idle    []*park.Sleeper // of threads that ended
	groups  []*group
	poller  *poller     // nil if it has nothing to do
	guard   *watchdog   // of the groups; nil if there are none
	drowsy  atomic.Bool // the watchdog sleeps for long

	full atomic.Bool // the poller has words for want of threads, and none has become free since
}

var process = set{words: park.Words, first: 100 * time.Millisecond, last: time.Second}

// takeThread counts a thread in, unless that many are there, and returns what
// it sleeps with, or nil.
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

// returnThread counts a thread out that takeThread counted in.
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

// place gives n, whose mutex is held, an owner.
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

// parks reports whether a thread can be woken when the word of n changes.
func (s *set) parks(n *Notifier) bool { return n.src.Flag != nil && s.words() > 0 }

// join makes a group the owner of n: a new one while threads are few, or while
// those that are there have many words, else the one with the fewest. It
// reports false if all are full.
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

// A group is a goroutine that owns Notifiers, and parks on the words of all of
// them at once.
type group struct {
	set     *set
	sleeper *park.Sleeper

	// The set's mutex guards these.
	size    int         // owned and joining
	joining []*Notifier // owned, but the goroutine has not seen them yet

	// The goroutine's, and while it is parked the watchdog's.
	awake sync.Mutex
	owned []*Notifier
	spots []*park.Spot // of owned

	active     atomic.Bool   // there was a change since the watchdog looked
	pause, due time.Duration // the watchdog's: between its looks, and until the next, since epoch
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
			// Those that were told come first: parked, this goroutine would
			// keep its P from them for a while.
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

// gather releases the Notifiers without subscribers and takes in those that
// have joined. Without any the group ends, and gather reports false.
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

// observe has Use look at the word, and tells the subscribers if it changed, or
// that it cannot be looked at. It reports whether it told them.
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

// doArm sets the flag, and then looks at the word.
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

// release ends the ownership of n if nobody subscribes any more, and reports
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

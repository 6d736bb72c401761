package notify

import (
	"slices"
	"time"
)

const (
	pollFirst = 20 * time.Microsecond
	pollLast  = time.Millisecond
	pollEach  = 4 * time.Microsecond // of pause for each word, at least
)

// poller is a goroutine that owns the Notifiers whose words cannot be parked
// on, and those that no thread is left for. It looks at all of them, after
// pauses that grow while nothing changes. A look takes 50 to 200 ns, so it
// takes 5 % of a processor at most, however many they are.
type poller struct {
	set     *set
	kicked  chan struct{}
	joining []*Notifier // owned, but the goroutine has not seen them yet; the set's mutex guards it
	owned   []*Notifier // the goroutine's
}

// joinPoller makes the poller the owner of n. The mutexes of both are held.
func (s *set) joinPoller(n *Notifier) {
	p := s.poller
	if p == nil {
		p = &poller{set: s, kicked: make(chan struct{}, 1)}
		s.poller = p
		defer func() { go p.run() }()
	}
	p.joining = append(p.joining, n)
	n.owner = p
	p.kick()
}

func (p *poller) kick() {
	select {
	case p.kicked <- struct{}{}:
	default:
	}
}

func (p *poller) run() {
	timer := time.NewTimer(0)
	defer timer.Stop()
	pause := pollFirst
	for {
		active, left := p.gather()
		if !left {
			return
		}
		for _, n := range p.owned {
			active = n.observe(n.poll) || active
		}
		if active {
			pause = pollFirst
		}
		timer.Reset(max(pause, time.Duration(len(p.owned))*pollEach))
		select {
		case <-timer.C:
		case <-p.kicked:
		}
		pause = min(2*pause, pollLast)
	}
}

// gather releases the Notifiers without subscribers, hands those that can be
// parked on to groups that have room, and takes in those that have joined.
// Without any left the poller ends.
func (p *poller) gather() (joined, left bool) {
	p.owned = slices.DeleteFunc(p.owned, func(n *Notifier) bool { return n.release() || p.handOver(n) })
	s := p.set
	s.mu.Lock()
	defer s.mu.Unlock()
	joined = len(p.joining) > 0
	p.owned = append(p.owned, p.joining...)
	clear(p.joining)
	p.joining = p.joining[:0]
	left = len(p.owned) > 0
	if !left {
		s.poller = nil
	}
	return joined, left
}

// handOver makes a group the owner of n if one has room.
func (p *poller) handOver(n *Notifier) bool {
	s := p.set
	if !s.parks(n) || s.full.Load() {
		return false
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.join(n)
}

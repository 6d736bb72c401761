package notify

import (
	"slices"
	"time"
)

const (
	pollFirst = 20 * time.Microsecond
	pollLast  = time.Millisecond
	pollEach  = 4 * time.Microsecond // shortest pause for each word
)

// poller is a goroutine that owns the Notifiers whose words cannot be parked
// on, and those for which no thread is left. It looks at all of their words,
// after pauses that grow while nothing changes. A look takes 50 to 200 ns, so
// the poller uses at most 5 % of a processor, however many words it has.
type poller struct {
	set     *set
	kicked  chan struct{}
	joining []*Notifier // owned, but not yet seen by the goroutine; guarded by the set's mutex
	owned   []*Notifier // used by the goroutine only
}

// joinPoller makes the poller the owner of n. The mutexes of n and of the set
// are held.
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

// gather releases Notifiers without subscribers, hands over to groups what they
// have room for, and adds the Notifiers that have joined. If none is left the
// poller ends.
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

// Leader has one of several processes lead, and the next take over when it
// dies.
//
//	go run ./examples/leader
//
// starts three members as processes of their own, and kills whoever leads,
// three times. To play with it in several terminals, in any order:
//
//	leader member    leads when it is its turn, and then appends to the ledger ten times a second, until Ctrl-C
//	leader show      prints the ledger
//
// Whoever holds the mutex leads. When its process ends, however it may, the
// kernel says so, and the next has the mutex within milliseconds. Nobody takes
// it from a process that lives, however long that one is stopped.
//
// Each leader has a number higher than those before it, and everything it
// writes carries the number. The ledger refuses what has a lower one than it
// has seen: a write that was begun by a leader that has meanwhile given up is
// late, and does no harm. Such a fencing number protects whatever checks it, a
// file server on another machine as well.
package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/sharedseg/sharedseg"
	"github.com/sharedseg/sharedseg/codec"
	"github.com/sharedseg/sharedseg/segment"
	"github.com/sharedseg/sharedseg/sync"
)

const usage = `usage:
  leader           start three members, and kill whoever leads, three times
  leader member    lead when it is its turn, until Ctrl-C
  leader show      print the ledger
`

// Ledger is what only the leader writes.
type Ledger struct {
	Term    uint64 // the highest number that has written
	Leaders uint64 // how many numbers were given out
	Entries uint64
	Last    int64 // process ID of whoever wrote last
}

// ErrFenced is returned when a leader writes that is none any more.
var ErrFenced = errors.New("a later leader has written")

// A Member may lead.
type Member struct {
	lead   *ipcsync.Mutex
	ledger *segment.Segment[Ledger]
	term   uint64 // its number, as a leader
}

// Open opens a member of the group of that name.
func Open(name string) (*Member, error) {
	// The ledger changes in one step, so a leader that dies leaves nothing to
	// repair.
	lead, err := ipcsync.OpenMutex(name+".lead", &ipcsync.Options{Repair: func() error { return nil }})
	if err != nil {
		return nil, err
	}
	ledger, err := segment.Open(name, codec.Fixed[Ledger](), nil)
	if err != nil {
		return nil, errors.Join(err, lead.Close())
	}
	return &Member{lead: lead, ledger: ledger}, nil
}

// Close closes the member, which no longer leads.
func (m *Member) Close() error {
	err := m.Resign()
	if errors.Is(err, sharedseg.ErrNotOwner) {
		err = nil
	}
	return errors.Join(err, m.ledger.Close(), m.lead.Close())
}

// Lead waits until the member leads, and gives it a number.
func (m *Member) Lead(ctx context.Context) error {
	if err := m.lead.Lock(ctx); err != nil {
		return err
	}
	return m.ledger.Update(func(l *Ledger) error {
		l.Leaders++
		m.term = l.Leaders
		return nil
	})
}

// Resign has another lead.
func (m *Member) Resign() error { return m.lead.Unlock() }

// Append writes an entry. It returns ErrFenced if a later leader has written.
func (m *Member) Append() error {
	return m.ledger.Update(func(l *Ledger) error {
		if m.term < l.Term {
			return fmt.Errorf("%w: number %d, and this is %d", ErrFenced, l.Term, m.term)
		}
		l.Term = m.term
		l.Entries++
		l.Last = int64(os.Getpid())
		return nil
	})
}

// member leads when it is its turn.
func member(ctx context.Context, name string) error {
	m, err := Open(name)
	if err != nil {
		return err
	}
	defer m.Close()
	if err := m.Lead(ctx); err != nil {
		return err
	}
	if err := m.Append(); err != nil {
		return err
	}
	fmt.Printf("process %d leads, with number %d\n", os.Getpid(), m.term)
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(100 * time.Millisecond):
			if err := m.Append(); err != nil {
				return err
			}
		}
	}
}

// show prints the ledger.
func show(name string) error {
	r, err := segment.OpenReader(name, codec.Fixed[Ledger](), nil)
	if err != nil {
		return err
	}
	defer r.Close()
	l, err := r.Load()
	if err != nil {
		return err
	}
	fmt.Printf("%d entries; number %d wrote last, process %d\n", l.Entries, l.Term, l.Last)
	return nil
}

// demo starts three members, and kills whoever leads.
func demo(ctx context.Context, name string) error {
	m, err := Open(name) // it keeps the ledger
	if err != nil {
		return err
	}
	defer m.Close()
	exe, err := os.Executable()
	if err != nil {
		return err
	}
	leads := make(chan *exec.Cmd, 3)
	for range cap(leads) {
		cmd := exec.CommandContext(ctx, exe, "child")
		cmd.Stderr = os.Stderr
		out, err := cmd.StdoutPipe()
		if err != nil {
			return err
		}
		if err := cmd.Start(); err != nil {
			return err
		}
		defer cmd.Process.Kill()
		go func() {
			for lines := bufio.NewScanner(out); lines.Scan(); {
				if strings.Contains(lines.Text(), "leads") {
					leads <- cmd
				}
			}
		}()
	}
	for number := 1; number <= cap(leads); number++ {
		leader := <-leads
		fmt.Printf("number %d leads\n", number)
		if err := leader.Process.Kill(); err != nil {
			return err
		}
		leader.Wait()
	}

	// A leader that resigns in the middle of something, and goes on with it.
	if err := m.Lead(ctx); err != nil {
		return err
	}
	next, err := Open(name)
	if err != nil {
		return err
	}
	defer next.Close()
	if err := m.Resign(); err != nil {
		return err
	}
	if err := errors.Join(next.Lead(ctx), next.Append()); err != nil {
		return err
	}
	fmt.Printf("number %d is late: %v\n", m.term, m.Append())
	return nil
}

func main() { os.Exit(run("com.example.leader", os.Args[1:])) }

func run(name string, args []string) int {
	// Ctrl-C ends ctx, and not the process, so that everything that is open
	// gets closed.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	var err error
	switch {
	case len(args) == 0:
		err = demo(ctx, name+"-demo")
	case len(args) == 1 && args[0] == "child": // demo starts it
		err = member(ctx, name+"-demo")
	case len(args) == 1 && args[0] == "member":
		err = member(ctx, name)
	case len(args) == 1 && args[0] == "show":
		err = show(name)
	default:
		fmt.Fprint(os.Stderr, usage)
		return 2
	}
	if err != nil && !errors.Is(err, context.Canceled) {
		fmt.Fprintln(os.Stderr, "leader:", err)
		return 1
	}
	return 0
}

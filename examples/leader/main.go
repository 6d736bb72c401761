// Leader elects one of several processes to lead, and another when it dies.
//
//	go run ./examples/leader
//
// This starts three members as separate processes and kills the leader three
// times. It prints each leader's number, and finally shows that a late write by
// a former leader is refused. To use it from several terminals, start these in
// any order:
//
//	go install ./examples/leader
//	leader member    waits until it leads, then appends to the ledger ten times a second, until Ctrl-C
//	leader show      prints the ledger
//
// The process that holds the mutex leads. When its process ends, for whatever
// reason, another one gets the mutex within milliseconds. The mutex is never
// taken from a live process, even one that is stopped for a long time.
//
// Each leader gets a number from the ledger, higher than those of all leaders
// before it, and writes it with every entry. The ledger refuses a number that
// is lower than the last one that it gave. So a write that a leader started
// before it resigned does no harm when it arrives late. Such a number is called
// a fencing token. It also protects a resource elsewhere, such as a file server
// on another machine, if each leader first tells it the number, and the
// resource then refuses lower ones.
package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
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
  leader           start three members, and kill the leader three times
  leader member    wait to lead, then lead until Ctrl-C
  leader show      print the ledger
`

// Ledger is written by the leader only.
type Ledger struct {
	Term    uint64 // the number of the last leader
	Entries uint64
	Last    int64 // process ID of the last writer
}

// ErrFenced is returned when a former leader writes.
var ErrFenced = errors.New("another leads by now")

// A Member is a candidate to lead.
type Member struct {
	lead   *ipcsync.Mutex
	ledger *segment.Segment[Ledger]
	term   uint64 // its number as a leader
}

// Open opens a member of the group with that name.
func Open(name string) (*Member, error) {
	// An Update of the ledger is one step, so a leader that dies leaves nothing
	// to repair.
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

// Close closes the member. If it was the leader, it no longer is.
func (m *Member) Close() error {
	err := m.Resign()
	if errors.Is(err, sharedseg.ErrNotOwner) {
		err = nil
	}
	return errors.Join(err, m.ledger.Close(), m.lead.Close())
}

// Lead waits until the member leads, and gives it a new number.
func (m *Member) Lead(ctx context.Context) error {
	if err := m.lead.Lock(ctx); err != nil {
		return err
	}
	return m.ledger.Update(func(l *Ledger) error {
		l.Term++
		m.term = l.Term
		return nil
	})
}

// Resign gives up the lead, so that another member can lead.
func (m *Member) Resign() error { return m.lead.Unlock() }

// Append writes an entry. It returns ErrFenced if another member has become the
// leader since.
func (m *Member) Append() error {
	return m.ledger.Update(func(l *Ledger) error {
		if m.term < l.Term {
			return fmt.Errorf("%w: its number is %d, not %d", ErrFenced, l.Term, m.term)
		}
		l.Entries++
		l.Last = int64(os.Getpid())
		return nil
	})
}

// member waits until it leads, and then leads until ctx is done.
func member(ctx context.Context, name string) error {
	m, err := Open(name)
	if err != nil {
		return err
	}
	defer m.Close()
	fmt.Printf("Process %d waits to lead.\n", os.Getpid())
	if err := m.Lead(ctx); err != nil {
		return err
	}
	if err := m.Append(); err != nil {
		return err
	}
	fmt.Printf("Process %d leads with number %d.\n", os.Getpid(), m.term)
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
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("no ledger yet: run leader member in another terminal (%w)", err)
	}
	if err != nil {
		return err
	}
	defer r.Close()
	l, err := r.Load()
	if err != nil {
		return err
	}
	fmt.Printf("The ledger has %d entries. Process %d wrote the last one. The last leader has number %d.\n", l.Entries, l.Last, l.Term)
	return nil
}

// demo starts three members, and kills each one when it leads.
func demo(ctx context.Context, name string) error {
	m, err := Open(name) // also keeps the ledger open
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
				if strings.Contains(lines.Text(), "leads with") {
					leads <- cmd
				}
			}
		}()
	}
	for number := 1; number <= cap(leads); number++ {
		leader := <-leads
		fmt.Printf("Number %d leads, and is killed.\n", number)
		if err := leader.Process.Kill(); err != nil {
			return err
		}
		leader.Wait()
	}

	// Then a leader resigns but writes again, as a slow one could.
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
	fmt.Printf("Number %d resigned, number %d leads. A late write by number %d is refused: %v\n", m.term, next.term, m.term, m.Append())
	return nil
}

func main() {
	// All processes that open this name are members of the same group.
	os.Exit(run("com.example.leader", os.Args[1:]))
}

// run executes the command line, using the group with that name, and returns
// the exit code.
func run(name string, args []string) int {
	// Ctrl-C cancels ctx instead of ending the process, so everything that is
	// open gets closed.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	var err error
	switch {
	case len(args) == 0:
		err = demo(ctx, name+"-demo")
	case len(args) == 1 && args[0] == "child": // started by demo
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

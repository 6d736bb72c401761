// Log hands each entry that one process writes to any number of others, in
// order.
//
//	go run ./examples/log
//
// starts a writer and three followers as processes of their own: one that keeps
// up with the writer, one that is slow, and one that comes late. It ends after
// about three seconds. To play with it in several terminals, in any order, and
// to kill and restart what you like:
//
//	log write             writes an entry every 50 ms, until Ctrl-C
//	log follow [AFTER]    prints the entries that are there, then each new one
//	log slow [AFTER]      the same, but takes its time with each
//
// AFTER is the number of the last entry that a follower need not see: one that
// was killed goes on where it was.
//
// Watch returns the newest value, and Follow returns each of them, as long as
// the segment has it: the log is as long as Options.Slots says. The writer does
// not know of its followers, and never waits for one. A follower that falls
// behind by more than the log's length, or comes that late, is told what it
// missed.
package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/sharedseg/sharedseg/codec"
	"github.com/sharedseg/sharedseg/segment"
)

const usage = `usage:
  log                   start a writer and three followers, for about three seconds
  log write             write an entry every 50 ms, until Ctrl-C
  log follow [AFTER]    print the entries after number AFTER, then each new one
  log slow [AFTER]      the same, but take 150 ms for each
The entries are there for as long as a write, follow or slow is running.
`

const (
	period      = 50 * time.Millisecond
	slowness    = 3 * period
	demoEntries = 30 // how many entries the demo writes
)

// options say how many entries there is room for. That a follower falls behind
// is to be seen here. Where it is not, let there be thousands: each takes
// Options.Capacity, and 64 bytes.
func options() *segment.Options { return &segment.Options{Slots: 8, Capacity: 100} }

func main() {
	// All processes that open this name share the same memory.
	os.Exit(run("sharedseg-log", os.Args[1:]))
}

// run does what the command line says, with the segment of that name, and
// returns the exit code.
func run(name string, args []string) int {
	// Ctrl-C ends ctx, and not the process, so that everything that is open
	// gets closed.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()

	after := uint64(0)
	if len(args) == 2 && (args[0] == "follow" || args[0] == "slow") {
		if n, err := strconv.ParseUint(args[1], 10, 64); err == nil {
			after, args = n, args[:1]
		}
	}
	// The demo has a segment of its own, so that it does not disturb what runs
	// in other terminals.
	demoName := name + "-demo"
	var err error
	switch {
	case len(args) == 0:
		err = demo(ctx, demoName)
	case len(args) == 1 && args[0] == "write":
		err = write(ctx, name, math.MaxUint64)
	case len(args) == 1 && args[0] == "follow":
		err = follow(ctx, name, "Follower", after, math.MaxUint64, 0)
	case len(args) == 1 && args[0] == "slow":
		err = follow(ctx, name, "Slow follower", after, math.MaxUint64, slowness)
	case len(args) == 1 && args[0] == "demo-write": // demo starts these
		err = write(ctx, demoName, demoEntries)
	case len(args) == 1 && args[0] == "demo-follow":
		err = follow(ctx, demoName, "Follower", 0, demoEntries, 0)
	case len(args) == 1 && args[0] == "demo-slow":
		err = follow(ctx, demoName, "Slow follower", 0, demoEntries, slowness)
	case len(args) == 1 && args[0] == "demo-late":
		err = follow(ctx, demoName, "Late follower", 0, demoEntries, 0)
	default:
		fmt.Fprint(os.Stderr, usage)
		return 2
	}
	if err != nil && !errors.Is(err, context.Canceled) { // which is Ctrl-C
		fmt.Fprintln(os.Stderr, "log:", err)
		return 1
	}
	return 0
}

// write writes entries up to the one with the number last, or until ctx is
// done.
func write(ctx context.Context, name string, last uint64) (err error) {
	// Open attaches to the log if a follower has it open already, and creates
	// it if there is none.
	s, err := segment.Open(name, codec.String(), options())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()

	fmt.Printf("Writer %d is running.\n", os.Getpid())
	ticker := time.NewTicker(period)
	defer ticker.Stop()
	// The number of an entry is its version. There is one writer, so it knows
	// the next one.
	for n := s.Version() + 1; n <= last; n++ {
		if err := s.Store(fmt.Sprintf("entry %d, from writer %d", n, os.Getpid())); err != nil {
			return err
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return nil
		}
	}
	return nil
}

// follow prints the entries after number after, and what it missed of them, up
// to the one with the number last, or until ctx is done. It takes some time for
// each.
func follow(ctx context.Context, name, who string, after, last uint64, takes time.Duration) (err error) {
	s, err := segment.Open(name, codec.String(), options())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()

	who = fmt.Sprintf("%s %d", who, os.Getpid())
	fmt.Println(who, "is running.")
	for entry, err := range s.Follow(ctx, after) {
		if missed, ok := errors.AsType[*segment.MissedError](err); ok {
			// It goes on with the oldest entry that is still there.
			fmt.Printf("%s: missed %d to %d\n", who, missed.First, missed.Last)
			continue
		}
		if err != nil {
			return err
		}
		fmt.Printf("%s: %d: %s\n", who, entry.Number, entry.Value)
		if entry.Number >= last {
			return nil
		}
		time.Sleep(takes)
	}
	return nil
}

// demo runs a writer and three followers until all have seen the last entry.
func demo(ctx context.Context, name string) (err error) {
	// This process keeps the log open when the writer has ended. Create, unlike
	// Open, fails with fs.ErrExist if another demo is running.
	s, err := segment.Create(name, codec.String(), options())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()

	exe, err := os.Executable()
	if err != nil {
		return err
	}
	ctx, end := context.WithCancelCause(ctx) // which kills the children
	defer end(nil)
	var children sync.WaitGroup
	start := func(arg string) {
		cmd := exec.CommandContext(ctx, exe, arg)
		cmd.Stdout = os.Stdout
		cmd.Stderr = os.Stderr
		children.Go(func() {
			if err := cmd.Run(); err != nil {
				end(fmt.Errorf("child process: %w", err)) // the others would wait for ever
			}
		})
	}
	start("demo-follow")
	start("demo-slow")
	start("demo-write")
	if _, err := s.Wait(ctx, demoEntries/2); err == nil {
		start("demo-late")
	}
	children.Wait()
	return context.Cause(ctx)
}

// Log delivers each entry that one process writes to any number of others, in
// order.
//
//	go run ./examples/log
//
// This starts a writer and three followers as separate processes: one keeps up
// with the writer, one is slow, and one starts late. It ends after about three
// seconds. Each follower prints the entries that it read, and which ones it
// missed. To use it from several terminals, start, kill and restart these in
// any order:
//
//	go install ./examples/log
//	log write             writes an entry every 50 ms, until Ctrl-C
//	log follow [AFTER]    prints the entries in the log, then each new one, until Ctrl-C
//	log slow [AFTER]      the same, but takes 150 ms for each entry
//
// AFTER is the number of the last entry that the follower does not need: a
// follower that was killed continues where it stopped.
//
// Watch yields the newest value only. Follow yields every value, as long as the
// segment still holds it: the log is as long as Options.Slots says. The writer
// does not know its followers, and never waits for them. A follower that falls
// behind by more than the length of the log, or starts too late, is told which
// entries it missed.
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
  log follow [AFTER]    print the entries after number AFTER, then each new one, until Ctrl-C
  log slow [AFTER]      the same, but take 150 ms for each entry
The entries exist for as long as a write, follow or slow is running.
`

const (
	period      = 50 * time.Millisecond
	slowness    = 3 * period
	demoEntries = 30 // how many entries the demo writes
)

// options sets the length of the log. It is short here, to show what happens
// when a follower falls behind. A real log would have thousands of slots. Each
// takes Options.Capacity and 64 bytes.
func options() *segment.Options { return &segment.Options{Slots: 8, Capacity: 100} }

func main() {
	// All processes that open this name share the same memory.
	os.Exit(run("sharedseg-log", os.Args[1:]))
}

// run executes the command line, using the segment with that name, and returns
// the exit code.
func run(name string, args []string) int {
	// Ctrl-C cancels ctx instead of ending the process, so everything that is
	// open gets closed.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()

	after := uint64(0)
	if len(args) == 2 && (args[0] == "follow" || args[0] == "slow") {
		if n, err := strconv.ParseUint(args[1], 10, 64); err == nil {
			after, args = n, args[:1]
		}
	}
	// The demo uses its own segment, so it does not disturb what runs in other
	// terminals.
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
	case len(args) == 1 && args[0] == "demo-write": // started by demo, like the next three
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
	if err != nil && !errors.Is(err, context.Canceled) { // Canceled means Ctrl-C
		fmt.Fprintln(os.Stderr, "log:", err)
		return 1
	}
	return 0
}

// write writes entries up to number last, or until ctx is done.
func write(ctx context.Context, name string, last uint64) (err error) {
	// Open attaches to the log if a follower already has it open, and creates
	// it otherwise.
	s, err := segment.Open(name, codec.String(), options())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()

	fmt.Printf("Writer %d is running.\n", os.Getpid())
	ticker := time.NewTicker(period)
	defer ticker.Stop()
	// The number of an entry is its version. This is the only writer, so it
	// knows the next number.
	for n := s.Version() + 1; n <= last; n++ {
		if err := s.Store(fmt.Sprintf("line %d of writer %d", n, os.Getpid())); err != nil {
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

// follow prints the entries after number after, up to number last or until ctx
// is done. It also prints which ones it missed. It spends the time takes on
// each entry.
func follow(ctx context.Context, name, role string, after, last uint64, takes time.Duration) (err error) {
	s, err := segment.Open(name, codec.String(), options())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()

	follower := fmt.Sprintf("%s %d", role, os.Getpid())
	fmt.Println(follower, "is running.")
	for entry, err := range s.Follow(ctx, after) {
		if missed, ok := errors.AsType[*segment.MissedError](err); ok {
			// Follow continues with the oldest entry that the log still holds.
			fmt.Printf("%s: missed entries %d to %d\n", follower, missed.First, missed.Last)
			continue
		}
		if err != nil {
			return err
		}
		fmt.Printf("%s: entry %d: %s\n", follower, entry.Number, entry.Value)
		if entry.Number >= last {
			return nil
		}
		time.Sleep(takes)
	}
	return nil
}

// demo runs a writer and three followers until all have seen the last entry.
func demo(ctx context.Context, name string) (err error) {
	// This process keeps the log open after the writer has ended. Unlike Open,
	// Create fails with fs.ErrExist if another demo is running.
	s, err := segment.Create(name, codec.String(), options())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()

	exe, err := os.Executable()
	if err != nil {
		return err
	}
	ctx, end := context.WithCancelCause(ctx) // end kills the children
	defer end(nil)
	var children sync.WaitGroup
	start := func(arg string) {
		cmd := exec.CommandContext(ctx, exe, arg)
		cmd.Stdout = os.Stdout
		cmd.Stderr = os.Stderr
		children.Go(func() {
			if err := cmd.Run(); err != nil {
				end(fmt.Errorf("child process: %w", err)) // the others would wait forever
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

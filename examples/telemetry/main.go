// Telemetry shares the latest measurement of one process with any number of
// others.
//
//	go run ./examples/telemetry
//
// This starts a writer and two watchers as separate processes, and ends after
// about a second. Each watcher prints the samples that it sees. To use it from
// several terminals, start these in any order:
//
//	go install ./examples/telemetry
//	telemetry write    measures ten times a second, until Ctrl-C
//	telemetry watch    prints each sample as it is published, until Ctrl-C
//	telemetry read     prints the latest sample
//
// A sample is a struct of numbers. codec.Fixed copies it as it is laid out in
// memory: it does not encode or allocate, and a Store makes a system call only
// if a process waits. The writer never waits for readers, and readers never see
// half a sample. A watcher that is slower than the writer misses samples, but
// never the latest.
package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"os/exec"
	"os/signal"
	"syscall"
	"time"

	"github.com/sharedseg/sharedseg/codec"
	"github.com/sharedseg/sharedseg/segment"
)

const usage = `usage:
  telemetry          start a writer and two watchers, for about a second
  telemetry write    measure ten times a second, until Ctrl-C
  telemetry watch    print each sample as it is published, until Ctrl-C
  telemetry read     print the latest sample
The samples exist for as long as a write or a watch is running.
`

// Sample is the value that the processes share. It can have fields that are
// numbers, bools, and arrays and structs of them. It cannot have pointers,
// which mean nothing in another process, nor strings and slices, which contain
// pointers. All processes must use the same fields: a process whose Sample
// differs cannot open the segment.
type Sample struct {
	N    uint64  // 1, 2, 3 …
	Time int64   // nanoseconds since 1970
	Temp float64 // °C
	Load float64 // 0 to 1
}

func (s Sample) String() string {
	return fmt.Sprintf("sample %d at %s: %.2f °C, load %.2f", s.N, time.Unix(0, s.Time).Format("15:04:05.000"), s.Temp, s.Load)
}

const (
	period      = 100 * time.Millisecond
	demoSamples = 10 // how many samples the demo writes
)

func main() {
	// All processes that open this name share the same memory.
	os.Exit(run("sharedseg-telemetry", os.Args[1:]))
}

// run executes the command line, using the segment with that name, and returns
// the exit code.
func run(name string, args []string) int {
	// Ctrl-C cancels ctx instead of ending the process, so everything that is
	// open gets closed.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()

	// The demo uses its own segment, so it does not disturb what runs in other
	// terminals.
	demoName := name + "-demo"
	var err error
	switch {
	case len(args) == 0:
		err = demo(ctx, demoName)
	case len(args) == 1 && args[0] == "write":
		err = write(ctx, name, math.MaxUint64)
	case len(args) == 1 && args[0] == "watch":
		err = watch(ctx, name, math.MaxUint64)
	case len(args) == 1 && args[0] == "read":
		err = read(name)
	case len(args) == 1 && args[0] == "demo-write": // started by demo, like the next two
		err = write(ctx, demoName, demoSamples)
	case len(args) == 1 && args[0] == "demo-watch":
		err = watch(ctx, demoName, demoSamples)
	case len(args) == 1 && args[0] == "demo-read":
		err = read(demoName)
	default:
		fmt.Fprint(os.Stderr, usage)
		return 2
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "telemetry:", err)
		return 1
	}
	return 0
}

// write publishes the samples 1 to last, or until ctx is done.
func write(ctx context.Context, name string, last uint64) (err error) {
	// Open attaches to the segment if a watcher already has it open, and
	// creates it otherwise.
	s, err := segment.Open(name, codec.Fixed[Sample](), nil)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()

	fmt.Printf("Writer %d is running.\n", os.Getpid())
	ticker := time.NewTicker(period)
	defer ticker.Stop()
	for n := uint64(1); ; n++ {
		if err := s.Store(measure(n)); err != nil {
			return err
		}
		if n == last {
			return nil
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return nil // Ctrl-C
		}
	}
}

// measure stands in for a real sensor.
func measure(n uint64) Sample {
	x := float64(n) / 10
	return Sample{N: n, Time: time.Now().UnixNano(), Temp: 20 + 5*math.Sin(x), Load: 0.5 + 0.5*math.Cos(x)}
}

// watch prints the samples up to number last, or until ctx is done.
func watch(ctx context.Context, name string, last uint64) (err error) {
	s, err := segment.Open(name, codec.Fixed[Sample](), nil)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()

	fmt.Printf("Watcher %d is running.\n", os.Getpid())
	for sample, err := range s.Watch(ctx) {
		if errors.Is(err, context.Canceled) {
			return nil // Ctrl-C
		}
		if err != nil {
			return err
		}
		fmt.Printf("Watcher %d: %v\n", os.Getpid(), sample)
		if sample.N == last {
			return nil
		}
	}
	return nil
}

// read prints the latest sample.
func read(name string) (err error) {
	// A Reader maps the memory read-only, so it needs only read permission.
	// OpenReader does not create the segment.
	r, err := segment.OpenReader(name, codec.Fixed[Sample](), nil)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("no samples: run telemetry write in another terminal (%w)", err)
	}
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.Close()) }()

	var sample Sample
	version, err := r.LoadInto(&sample)
	if err != nil {
		return err
	}
	if version == 0 {
		return errors.New("no samples yet: run telemetry write in another terminal")
	}
	fmt.Println("Latest:", sample)
	return nil
}

// demo runs a writer and two watchers until they have seen the last sample, and
// then a reader.
func demo(ctx context.Context, name string) (err error) {
	// This process keeps the segment open, so a watcher that starts late, and
	// the reader after the writer's end, still find the latest sample. Unlike
	// Open, Create fails with fs.ErrExist if another demo is running.
	s, err := segment.Create(name, codec.Fixed[Sample](), nil)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()

	exe, err := os.Executable()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx) // cancel kills the child processes
	defer cancel()
	command := func(arg string) *exec.Cmd {
		cmd := exec.CommandContext(ctx, exe, arg)
		cmd.Stdout = os.Stdout
		cmd.Stderr = os.Stderr
		return cmd
	}

	watcher1, watcher2 := command("demo-watch"), command("demo-watch")
	if err := watcher1.Start(); err != nil {
		return err
	}
	if err := watcher2.Start(); err != nil {
		cancel()
		return errors.Join(err, watcher1.Wait())
	}
	err = command("demo-write").Run()
	if err != nil {
		cancel() // the watchers would wait forever
	}
	err = errors.Join(err, watcher1.Wait(), watcher2.Wait())
	if err == nil {
		err = command("demo-read").Run()
	}
	if err != nil {
		return fmt.Errorf("child process: %w", err)
	}
	return nil
}

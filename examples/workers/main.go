// Workers distributes jobs from a producer to four workers. Each job goes to
// exactly one of them, even when workers are killed.
//
//	go run ./examples/workers
//
// This starts a producer and four workers as separate processes, kills a worker
// while it works on a job, shows which worker gets that job next, and ends when
// all jobs are done. To use it from several terminals, start these in any
// order:
//
//	go install ./examples/workers
//	workers produce    sends twenty jobs a second, until Ctrl-C
//	workers work       does one job after the other, until Ctrl-C
//
// Kill any of them with kill -9: no job is lost. A job belongs to its worker
// until the worker calls Done. A slow worker keeps its job. When a worker dies,
// the kernel releases the locks of its process, and the next worker gets its
// job at once. The worker may have done part of the job, so doing a job twice
// must do no harm.
package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/sharedseg/sharedseg/codec"
	"github.com/sharedseg/sharedseg/queue"
)

const usage = `usage:
  workers            start a producer and four workers, kill a worker, and end when all jobs are done
  workers produce    send twenty jobs a second, until Ctrl-C
  workers work       do one job after the other, until Ctrl-C
The jobs exist for as long as a produce or a work is running.
`

// Job is a message from the producer to a worker.
type Job struct{ N uint64 }

const (
	pause    = 50 * time.Millisecond // between two jobs of the producer
	effort   = 60 * time.Millisecond // the time that a job takes
	demoJobs = 20
)

func main() {
	// All processes that open this name share the same queue.
	os.Exit(run("sharedseg-workers", os.Args[1:]))
}

// run executes the command line, using the queue with that name, and returns
// the exit code.
func run(name string, args []string) int {
	// Ctrl-C cancels ctx instead of ending the process, so everything that is
	// open gets closed.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()

	// The demo uses its own queue, so it does not disturb what runs in other
	// terminals.
	demoName := name + "-demo"
	var err error
	switch {
	case len(args) == 0:
		err = demo(ctx, demoName)
	case len(args) == 1 && args[0] == "produce":
		err = produce(ctx, name, math.MaxUint64)
	case len(args) == 1 && args[0] == "work":
		err = work(ctx, name)
	case len(args) == 1 && args[0] == "demo-produce": // started by demo, like the next one
		err = produce(ctx, demoName, demoJobs)
	case len(args) == 1 && args[0] == "demo-work":
		err = work(ctx, demoName)
	default:
		fmt.Fprint(os.Stderr, usage)
		return 2
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "workers:", err)
		return 1
	}
	return 0
}

// produce sends the jobs 1 to last and then shuts the queue, or sends until ctx
// is done.
func produce(ctx context.Context, name string, last uint64) (err error) {
	// Open attaches to the queue if a worker already has it open, and creates
	// it otherwise.
	q, err := queue.Open(name, codec.Fixed[Job](), nil)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, q.Close()) }()

	fmt.Printf("Producer %d is running.\n", os.Getpid())
	ticker := time.NewTicker(pause)
	defer ticker.Stop()
	for n := uint64(1); n <= last; n++ {
		// Send waits while the queue is full. When it returns, the job is in
		// the queue, whatever happens to this process.
		if err := q.Send(ctx, Job{n}); errors.Is(err, context.Canceled) {
			return nil // Ctrl-C
		} else if err != nil {
			return err
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return nil // Ctrl-C
		}
	}
	return q.Shut()
}

// work does jobs until the queue is shut and empty, or ctx is done.
func work(ctx context.Context, name string) (err error) {
	q, err := queue.Open(name, codec.Fixed[Job](), nil)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, q.Close()) }()

	fmt.Printf("Worker %d is running.\n", os.Getpid())
	for {
		d, err := q.Receive(ctx)
		switch {
		case err == io.EOF: // the producer has shut the queue, and all jobs are done
			return nil
		case errors.Is(err, context.Canceled):
			return nil // Ctrl-C
		case err != nil:
			return err
		}
		job, err := d.Value()
		if err != nil {
			return err
		}
		if n := d.Attempt(); n > 1 {
			fmt.Printf("Worker %d starts job %d, whose worker died (attempt %d).\n", os.Getpid(), job.N, n)
		} else {
			fmt.Printf("Worker %d starts job %d.\n", os.Getpid(), job.N)
		}
		time.Sleep(effort) // stands in for real work
		if err := d.Done(); err != nil {
			return err
		}
		fmt.Printf("Worker %d has finished job %d.\n", os.Getpid(), job.N)
	}
}

// demo runs a producer and four workers until all jobs are done, and kills one
// of the workers.
func demo(ctx context.Context, name string) (err error) {
	// Unlike Open, Create fails with fs.ErrExist if another demo is running.
	q, err := queue.Create(name, codec.Fixed[Job](), nil)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, q.Close()) }()

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

	victim := command("demo-work")
	victim.Stdout = nil
	output, err := victim.StdoutPipe()
	if err != nil {
		return err
	}
	if err := victim.Start(); err != nil {
		return err
	}
	var workers []*exec.Cmd
	for range 3 {
		w := command("demo-work")
		if err := w.Start(); err != nil {
			return err
		}
		workers = append(workers, w)
	}
	producer := command("demo-produce")
	if err := producer.Start(); err != nil {
		return err
	}
	for lines := bufio.NewScanner(output); lines.Scan(); {
		fmt.Println(lines.Text())
		if strings.Contains(lines.Text(), "starts job") {
			victim.Process.Kill()
			fmt.Printf("Killed worker %d.\n", victim.Process.Pid)
			break
		}
	}
	victim.Wait() // its error says that it was killed
	err = producer.Wait()
	if err != nil {
		cancel() // the workers would wait forever
	}
	for _, w := range workers {
		err = errors.Join(err, w.Wait())
	}
	if err != nil {
		return fmt.Errorf("child process: %w", err)
	}
	if n := q.Len(); n != 0 {
		return fmt.Errorf("%d jobs are left", n)
	}
	fmt.Println("All jobs are done.")
	return nil
}

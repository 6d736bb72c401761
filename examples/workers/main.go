// Workers hands jobs from a producer to four workers, each job to exactly one
// of them, even when workers are killed.
//
//	go run ./examples/workers
//
// starts a producer and four workers as processes of their own, kills a worker
// in the midst of a job, shows who gets the job instead, and ends when all jobs
// are done. To play with it in several terminals, in any order:
//
//	workers produce    sends twenty jobs a second, until Ctrl-C
//	workers work       does one job after the other, until Ctrl-C
//
// Kill any of them with kill -9: nothing is lost. A job is a worker's until the
// worker says Done. The kernel tells that its process is dead, so a slow worker
// keeps its job, and a dead one's goes to the next at once. A worker that was
// killed may have done some of the job, so doing a job twice must do no harm.
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
  workers            start a producer and four workers, kill one of them, and end when all jobs are done
  workers produce    send twenty jobs a second, until Ctrl-C
  workers work       do one job after the other, until Ctrl-C
The jobs are there for as long as a produce or a work is running.
`

// Job is what the producer sends.
type Job struct{ N uint64 }

const (
	pause    = 50 * time.Millisecond // between two jobs of the producer
	effort   = 60 * time.Millisecond // that a worker needs for one
	demoJobs = 20
)

func main() {
	// All processes that open this name share the same queue.
	os.Exit(run("sharedseg-workers", os.Args[1:]))
}

// run does what the command line says, with the queue of that name, and returns
// the exit code.
func run(name string, args []string) int {
	// Ctrl-C ends ctx, and not the process, so that everything that is open
	// gets closed.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()

	// The demo has a queue of its own, so that it does not disturb what runs in
	// other terminals.
	demoName := name + "-demo"
	var err error
	switch {
	case len(args) == 0:
		err = demo(ctx, demoName)
	case len(args) == 1 && args[0] == "produce":
		err = produce(ctx, name, math.MaxUint64)
	case len(args) == 1 && args[0] == "work":
		err = work(ctx, name)
	case len(args) == 1 && args[0] == "demo-produce": // demo starts these
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

// produce sends the jobs from 1 to last, and says that there will be no more;
// or it sends until ctx is done.
func produce(ctx context.Context, name string, last uint64) (err error) {
	// Open attaches to the queue if a worker has it open already, and creates
	// it if there is none.
	q, err := queue.Open(name, codec.Fixed[Job](), nil)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, q.Close()) }()

	fmt.Printf("Producer %d is running.\n", os.Getpid())
	ticker := time.NewTicker(pause)
	defer ticker.Stop()
	for n := uint64(1); n <= last; n++ {
		// Send waits while the queue is full. When it returns, the job is
		// there, whatever becomes of this process.
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

// work does jobs until there are no more, or ctx is done.
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
		case err == io.EOF: // the producer has said that there will be no more, and all are done
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
			fmt.Printf("Worker %d takes over job %d, whose worker is gone (attempt %d).\n", os.Getpid(), job.N, n)
		} else {
			fmt.Printf("Worker %d begins job %d.\n", os.Getpid(), job.N)
		}
		time.Sleep(effort) // it stands for real work
		if err := d.Done(); err != nil {
			return err
		}
		fmt.Printf("Worker %d has done job %d.\n", os.Getpid(), job.N)
	}
}

// demo runs a producer and four workers until all jobs are done, and kills a
// worker meanwhile.
func demo(ctx context.Context, name string) (err error) {
	// Create, unlike Open, fails with fs.ErrExist if another demo is running.
	q, err := queue.Create(name, codec.Fixed[Job](), nil)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, q.Close()) }()

	exe, err := os.Executable()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx) // ends the child processes
	defer cancel()
	command := func(arg string) *exec.Cmd {
		cmd := exec.CommandContext(ctx, exe, arg)
		cmd.Stdout = os.Stdout
		cmd.Stderr = os.Stderr
		return cmd
	}

	victim := command("demo-work")
	victim.Stdout = nil
	said, err := victim.StdoutPipe()
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
	for lines := bufio.NewScanner(said); lines.Scan(); {
		fmt.Println(lines.Text())
		if strings.Contains(lines.Text(), "begins job") {
			victim.Process.Kill()
			fmt.Printf("Worker %d is killed.\n", victim.Process.Pid)
			break
		}
	}
	victim.Wait() // it says that it was killed
	err = producer.Wait()
	if err != nil {
		cancel() // the workers would wait for ever
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

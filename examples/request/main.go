// Request asks a server, and gets an answer: one queue of requests, and a queue
// of replies for each client.
//
//	go run ./examples/request
//
// starts a server and two clients as processes of their own, kills the server
// while it has a request, starts another, which answers it, and ends when both
// clients have their answers. To play with it in several terminals:
//
//	request serve      answers requests, until Ctrl-C
//	request ask N      asks for the square of N, and waits for two seconds
//
// A server that is killed takes no request with it: the next server gets it. A
// client that is killed, or does not wait any longer, takes its queue of
// replies with it, so the server finds nobody to answer, and goes on. A request
// may be answered twice, by a server that was killed right after its reply and
// the next. So each has a number.
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
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/sharedseg/sharedseg/codec"
	"github.com/sharedseg/sharedseg/queue"
)

const usage = `usage:
  request            start a server and two clients, and kill the server
  request serve      answer requests, until Ctrl-C
  request ask N      ask for the square of N
Requests are there for as long as a serve or an ask is running.
`

// Request is what clients send.
type Request struct {
	ReplyTo string // the client's queue of replies
	Number  uint64 // of the client's requests
	N       int
}

// Reply is what the server sends to a client.
type Reply struct {
	Number uint64
	Square int
}

const (
	effort    = 50 * time.Millisecond // that an answer takes
	timeOut   = 2 * time.Second       // of a client
	replyRoom = 100 * time.Millisecond
)

func main() { os.Exit(run("sharedseg-request", os.Args[1:])) }

// run does what the command line says, with the queue of requests of that name,
// and returns the exit code.
func run(name string, args []string) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	demoName := name + "-demo"
	var err error
	switch {
	case len(args) == 0:
		err = demo(ctx, demoName)
	case len(args) == 1 && args[0] == "serve":
		err = serve(ctx, name)
	case len(args) == 2 && args[0] == "ask":
		err = ask(ctx, name, args[1], timeOut)
	case len(args) == 1 && args[0] == "demo-serve": // demo starts these
		err = serve(ctx, demoName)
	case len(args) == 2 && args[0] == "demo-ask":
		err = ask(ctx, demoName, args[1], time.Minute) // until the other server is there
	default:
		fmt.Fprint(os.Stderr, usage)
		return 2
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "request:", err)
		return 1
	}
	return 0
}

// serve answers requests until ctx is done.
func serve(ctx context.Context, name string) (err error) {
	requests, err := queue.Open(name, codec.JSON[Request](), nil)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, requests.Close()) }()

	fmt.Printf("Server %d is running.\n", os.Getpid())
	for {
		d, err := requests.Receive(ctx)
		if errors.Is(err, context.Canceled) {
			return nil // Ctrl-C
		} else if err != nil {
			return err
		}
		r, err := d.Value()
		if err != nil {
			fmt.Printf("Server %d cannot read a request: %v\n", os.Getpid(), err)
		} else {
			fmt.Printf("Server %d has a request, the square of %d (attempt %d).\n", os.Getpid(), r.N, d.Attempt())
			time.Sleep(effort) // it stands for real work
			if err := reply(r.ReplyTo, Reply{r.Number, r.N * r.N}); err != nil {
				fmt.Printf("Server %d cannot reply: %v\n", os.Getpid(), err)
			}
		}
		// Only now: a server that is killed before that leaves the request to
		// the next.
		if err := d.Done(); err != nil {
			return err
		}
	}
}

// reply sends an answer. A client that is gone is fs.ErrNotExist, one that does
// not look at its replies is not waited for.
func reply(to string, r Reply) (err error) {
	q, err := queue.Attach(to, codec.Fixed[Reply](), nil)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, q.Close()) }()
	ctx, cancel := context.WithTimeout(context.Background(), replyRoom)
	defer cancel()
	return q.Send(ctx, r)
}

// ask sends a request and prints the answer.
func ask(ctx context.Context, name, arg string, limit time.Duration) (err error) {
	n, err := strconv.Atoi(arg)
	if err != nil {
		return err
	}
	requests, err := queue.Open(name, codec.JSON[Request](), nil)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, requests.Close()) }()

	// The name is this process's own. The queue goes with it, also if it is
	// killed.
	replyTo := fmt.Sprintf("%s-reply-%d", name, os.Getpid())
	replies, err := queue.Create(replyTo, codec.Fixed[Reply](), &queue.Options{Depth: 4})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, replies.Close()) }()

	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	r := Request{ReplyTo: replyTo, Number: 1, N: n}
	if err := requests.Send(ctx, r); err != nil {
		return err
	}
	fmt.Printf("Client %d asks for the square of %d.\n", os.Getpid(), n)
	for got, err := range replies.All(ctx) {
		if errors.Is(err, context.DeadlineExceeded) {
			return fmt.Errorf("no server has answered within %v (%w)", limit, err)
		}
		if err != nil {
			return err
		}
		if got.Number == r.Number { // else it is the answer to an earlier request, given up or answered twice
			fmt.Printf("Client %d: the square of %d is %d.\n", os.Getpid(), n, got.Square)
			return nil
		}
	}
	return fs.ErrClosed
}

// demo runs a server and two clients, kills the server while it has a request,
// and starts another.
func demo(ctx context.Context, name string) (err error) {
	requests, err := queue.Create(name, codec.JSON[Request](), nil)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, requests.Close()) }()

	exe, err := os.Executable()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx) // ends the child processes
	defer cancel()
	command := func(args ...string) *exec.Cmd {
		cmd := exec.CommandContext(ctx, exe, args...)
		cmd.Stdout = os.Stdout
		cmd.Stderr = os.Stderr
		return cmd
	}

	first := command("demo-serve")
	first.Stdout = nil
	said, err := first.StdoutPipe()
	if err != nil {
		return err
	}
	one, two, second := command("demo-ask", "7"), command("demo-ask", "12"), command("demo-serve")
	for _, cmd := range []*exec.Cmd{first, one, two} {
		if err := cmd.Start(); err != nil {
			return err
		}
	}
	for lines := bufio.NewScanner(said); lines.Scan(); {
		fmt.Println(lines.Text())
		if strings.Contains(lines.Text(), "has a request") {
			first.Process.Kill()
			fmt.Printf("Server %d is killed.\n", first.Process.Pid)
			break
		}
	}
	first.Wait() // it says that it was killed
	if err := second.Start(); err != nil {
		return err
	}
	err = errors.Join(one.Wait(), two.Wait())
	second.Process.Kill()
	second.Wait()
	if err != nil {
		return fmt.Errorf("child process: %w", err)
	}
	return nil
}

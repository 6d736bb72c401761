// Request sends requests to a server and waits for replies. All clients share a
// queue of requests, and each client has its own queue of replies.
//
//	go run ./examples/request
//
// This starts a server and two clients as separate processes, and kills the
// server while it works on a request. Then it starts another server, which
// answers that request too. It ends when both clients have their replies. To
// use it from several terminals:
//
//	go install ./examples/request
//	request serve      answers requests, until Ctrl-C
//	request ask N      asks for the square of N, and waits up to two seconds
//
// When a server is killed, its request is not lost: the next server receives
// it. When a client is killed or stops waiting, its queue of replies ends with
// it. The server notices that when it replies, and continues. A request can be
// answered twice, if a server is killed after its reply and before Done. So
// each request has a number, which the reply repeats.
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
  request            start a server and two clients, kill the server, and start another
  request serve      answer requests, until Ctrl-C
  request ask N      ask for the square of N, and wait up to two seconds
Requests exist for as long as a serve or an ask is running.
`

// Request is a message from a client to the server.
type Request struct {
	ReplyTo string // the name of the client's queue of replies
	Number  uint64 // counts the client's requests
	N       int
}

// Reply is a message from the server to a client.
type Reply struct {
	Number uint64
	Square int
}

const (
	effort    = 50 * time.Millisecond  // the time that a request takes
	timeout   = 2 * time.Second        // how long a client waits
	replyTime = 100 * time.Millisecond // how long the server waits for room in a client's queue
)

func main() {
	// All processes that open this name share the same queue of requests.
	os.Exit(run("sharedseg-request", os.Args[1:]))
}

// run executes the command line, using the queue of requests with that name,
// and returns the exit code.
func run(name string, args []string) int {
	// Ctrl-C cancels ctx instead of ending the process, so everything that is
	// open gets closed.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()

	// The demo uses its own queues, so it does not disturb what runs in other
	// terminals.
	demoName := name + "-demo"
	var err error
	switch {
	case len(args) == 0:
		err = demo(ctx, demoName)
	case len(args) == 1 && args[0] == "serve":
		err = serve(ctx, name)
	case len(args) == 2 && args[0] == "ask":
		err = ask(ctx, name, args[1], timeout)
	case len(args) == 1 && args[0] == "demo-serve": // started by demo, like the next one
		err = serve(ctx, demoName)
	case len(args) == 2 && args[0] == "demo-ask":
		err = ask(ctx, demoName, args[1], time.Minute) // long enough for the second server to start
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
			fmt.Printf("Server %d works on the square of %d (attempt %d).\n", os.Getpid(), r.N, d.Attempt())
			time.Sleep(effort) // stands in for real work
			if err := reply(r.ReplyTo, Reply{r.Number, r.N * r.N}); err != nil {
				fmt.Printf("Server %d cannot reply: %v\n", os.Getpid(), err)
			}
		}
		// Done comes last: if this server is killed before, the next one
		// receives the request.
		if err := d.Done(); err != nil {
			return err
		}
	}
}

// reply sends a reply. It returns an error matching fs.ErrNotExist if the
// client is gone. If the client's queue stays full, it gives up after
// replyTime.
func reply(to string, r Reply) (err error) {
	q, err := queue.Attach(to, codec.Fixed[Reply](), nil)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, q.Close()) }()
	ctx, cancel := context.WithTimeout(context.Background(), replyTime)
	defer cancel()
	return q.Send(ctx, r)
}

// ask sends a request and prints the reply.
func ask(ctx context.Context, name, arg string, limit time.Duration) (err error) {
	n, err := strconv.Atoi(arg)
	if err != nil {
		return fmt.Errorf("%q is not a number", arg)
	}
	requests, err := queue.Open(name, codec.JSON[Request](), nil)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, requests.Close()) }()

	// No other process uses this name. The queue ends with this process, even
	// if it is killed.
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
			return fmt.Errorf("no reply within %v: is a server running? (%w)", limit, err)
		}
		if err != nil {
			return err
		}
		// A client that sends more than one request can get a reply to an
		// earlier one.
		if got.Number == r.Number {
			fmt.Printf("Client %d: the square of %d is %d.\n", os.Getpid(), n, got.Square)
			return nil
		}
	}
	return fs.ErrClosed
}

// demo runs a server and two clients, kills the server while it works on a
// request, and starts another.
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
	ctx, cancel := context.WithCancel(ctx) // cancel kills the child processes
	defer cancel()
	command := func(args ...string) *exec.Cmd {
		cmd := exec.CommandContext(ctx, exe, args...)
		cmd.Stdout = os.Stdout
		cmd.Stderr = os.Stderr
		return cmd
	}

	first := command("demo-serve")
	first.Stdout = nil
	output, err := first.StdoutPipe()
	if err != nil {
		return err
	}
	one, two, second := command("demo-ask", "7"), command("demo-ask", "12"), command("demo-serve")
	for _, cmd := range []*exec.Cmd{first, one, two} {
		if err := cmd.Start(); err != nil {
			return err
		}
	}
	for lines := bufio.NewScanner(output); lines.Scan(); {
		fmt.Println(lines.Text())
		if strings.Contains(lines.Text(), "works on") {
			first.Process.Kill()
			fmt.Printf("Killed server %d.\n", first.Process.Pid)
			break
		}
	}
	first.Wait() // its error says that it was killed
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

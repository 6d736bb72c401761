// Stringbuf shares a string between processes.
//
//	go run ./examples/stringbuf
//
// This writes a string to shared memory and starts itself again as a child
// process, which reads the string and prints it. To use it from two terminals:
//
//	go install ./examples/stringbuf
//	stringbuf set TEXT    puts TEXT into shared memory, and keeps it there until Ctrl-C
//	stringbuf get         prints the text
//	stringbuf watch       prints the text, and then each new one, until Ctrl-C
//
// The shared memory exists for as long as at least one process has it open. So
// set keeps running, because nothing else would keep its text. A watch keeps it
// too.
package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/signal"
	"syscall"

	"github.com/sharedseg/sharedseg/codec"
	"github.com/sharedseg/sharedseg/segment"
)

const usage = `usage:
  stringbuf             write a string, and let a child process read it
  stringbuf set TEXT    put TEXT into shared memory, and keep it there until Ctrl-C
  stringbuf get         print the text
  stringbuf watch       print the text, and then each new one, until Ctrl-C
The shared memory exists for as long as a set or a watch is running.
`

func main() {
	// All processes that open this name share the same memory.
	os.Exit(run("dllmemfilemap", os.Args[1:]))
}

// run executes the command line, using the segment with that name, and returns
// the exit code.
func run(name string, args []string) int {
	// Ctrl-C cancels ctx instead of ending the process, so everything that is
	// open gets closed.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()

	var err error
	switch {
	case len(args) == 0:
		err = parent(ctx, name)
	case len(args) == 1 && args[0] == "child": // started by parent
		err = child(name)
	case len(args) == 2 && args[0] == "set":
		err = set(ctx, name, args[1])
	case len(args) == 1 && args[0] == "get":
		err = get(name)
	case len(args) == 1 && args[0] == "watch":
		err = watch(ctx, name)
	default:
		fmt.Fprint(os.Stderr, usage)
		return 2
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "stringbuf:", err)
		return 1
	}
	return 0
}

// open opens the shared memory for reading and writing, and creates it if it
// does not exist. It has room for 4096 bytes, as the Options, nil here, do not
// set another capacity. UTF16 encodes the string as a C program on Windows
// would. If only Go programs share it, use codec.String.
func open(name string) (*segment.Segment[string], error) {
	return segment.Open(name, codec.UTF16(), nil)
}

// parent writes a string, and starts a process that reads it.
func parent(ctx context.Context, name string) (err error) {
	s, err := open(name)
	if err != nil {
		return err
	}
	// The child can read the string only while this process has the segment
	// open, so it stays open until the child has exited.
	defer func() { err = errors.Join(err, s.Close()) }()

	fmt.Println("Process is writing to shared memory...")
	if err := s.StoreContext(ctx, "This is a test string"); err != nil {
		return err
	}

	exe, err := os.Executable()
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, exe, "child")
	cmd.Stdout = os.Stdout
	cmd.Stderr = os.Stderr
	if err := cmd.Run(); err != nil { // starts the child and waits for it
		return fmt.Errorf("child process: %w", err)
	}
	return nil
}

// child runs in the child process.
func child(name string) error {
	text, err := read(name)
	if err != nil {
		return err
	}
	fmt.Println("Child process read from shared memory:", text)
	return nil
}

// set writes text and keeps it until ctx is done.
func set(ctx context.Context, name, text string) (err error) {
	s, err := open(name)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()

	if err := s.StoreContext(ctx, text); err != nil {
		return err
	}
	fmt.Println("The text is in shared memory until you press Ctrl-C.")
	<-ctx.Done()
	return nil
}

// get prints the current text.
func get(name string) error {
	text, err := read(name)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("no text yet: run stringbuf set TEXT in another terminal, and leave it running (%w)", err)
	}
	if err != nil {
		return err
	}
	fmt.Println(text)
	return nil
}

// read returns the current text, which is "" if none was written yet.
func read(name string) (text string, err error) {
	// A Reader cannot write. Unlike open, OpenReader does not create the
	// segment: if it does not exist, the error matches fs.ErrNotExist.
	r, err := segment.OpenReader(name, codec.UTF16(), nil)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, r.Close()) }()

	return r.Load()
}

// watch prints the current text, and then each new one, until ctx is done.
func watch(ctx context.Context, name string) (err error) {
	// open instead of OpenReader, so that watch can be started before set.
	s, err := open(name)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()

	fmt.Println("Watching. Press Ctrl-C to end.")
	for text, err := range s.Watch(ctx) {
		if errors.Is(err, context.Canceled) {
			return nil // Ctrl-C
		}
		if err != nil {
			return err
		}
		fmt.Println(text)
	}
	return nil
}

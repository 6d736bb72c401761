// Frames shares the pictures of a camera with viewers, without copying them.
//
//	go run ./examples/frames
//
// starts a camera and two viewers as processes of their own, one of which is
// slow. It kills the slow one and later the camera, starts others in their
// places, and ends after about three seconds. To play with it in several
// terminals, in any order, and to kill and restart what you like:
//
//	frames camera    takes 60 pictures a second, until Ctrl-C
//	frames view      looks at the newest picture again and again, until Ctrl-C
//	frames slow      the same, but looks at each for 100 ms
//
// A picture has 8 MB. The camera fills it where the viewers find it, in the
// shared memory: Loan. A viewer looks at it there, and meanwhile nobody writes
// to it: Borrow. Neither costs more for a large value than for a small one. A
// viewer that is slower than the camera misses pictures, and counts them. The
// camera does not wait for viewers as long as there is a slot that none of them
// looks at. What a process had borrowed, or was filling, is free when it is
// killed.
package main

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"math"
	"os"
	"os/exec"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"github.com/sharedseg/sharedseg/codec"
	"github.com/sharedseg/sharedseg/segment"
)

const usage = `usage:
  frames           start a camera and two viewers, kill and replace some, for three seconds
  frames camera    take 60 pictures a second, until Ctrl-C
  frames view      look at the newest picture again and again, until Ctrl-C
  frames slow      the same, but look at each for 100 ms
The pictures are there for as long as a camera, view or slow is running.
`

// Frame is a picture, as it lies in the shared memory. It may hold what
// codec.Fixed permits except bools, as nobody would look whether a bool that
// another process wrote is one.
type Frame struct {
	N      uint64 // 1, 2, 3 …
	Pixels [1080][1920]uint32
}

const (
	viewers    = 2
	period     = time.Second / 60
	slowness   = 100 * time.Millisecond // in which all other slots are used again
	demoFrames = 150                    // how many the demo takes
)

// options say how many pictures there is room for: one for each viewer to look
// at, the newest, and the one that the camera fills. With more viewers than
// that the camera may have to wait until one of them has looked enough.
func options() *segment.Options { return &segment.Options{Slots: viewers + 2} }

func main() {
	// All processes that open this name share the same memory.
	os.Exit(run("sharedseg-frames", os.Args[1:]))
}

// run does what the command line says, with the segment of that name, and
// returns the exit code.
func run(name string, args []string) int {
	// Ctrl-C ends ctx, and not the process, so that everything that is open
	// gets closed.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()

	// The demo has a segment of its own, so that it does not disturb what runs
	// in other terminals.
	demoName := name + "-demo"
	var err error
	switch {
	case len(args) == 0:
		err = demo(ctx, demoName)
	case len(args) == 1 && args[0] == "camera":
		err = camera(ctx, name, math.MaxUint64)
	case len(args) == 1 && args[0] == "view":
		err = view(ctx, name, "Viewer", math.MaxUint64, 0)
	case len(args) == 1 && args[0] == "slow":
		err = view(ctx, name, "Slow viewer", math.MaxUint64, slowness)
	case len(args) == 1 && args[0] == "demo-camera": // demo starts these
		err = camera(ctx, demoName, demoFrames)
	case len(args) == 1 && args[0] == "demo-view":
		err = view(ctx, demoName, "Viewer", demoFrames, 0)
	case len(args) == 1 && args[0] == "demo-slow":
		err = view(ctx, demoName, "Slow viewer", demoFrames, slowness)
	default:
		fmt.Fprint(os.Stderr, usage)
		return 2
	}
	if err != nil && !errors.Is(err, context.Canceled) { // which is Ctrl-C
		fmt.Fprintln(os.Stderr, "frames:", err)
		return 1
	}
	return 0
}

// camera takes pictures up to the one with the number last, or until ctx is
// done.
func camera(ctx context.Context, name string, last uint64) (err error) {
	// Open attaches to the segment if a viewer has it open already, and creates
	// it if there is none.
	s, err := segment.Open(name, codec.Fixed[Frame](), options())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()

	// If a camera was killed, its last picture is still there. This one goes on
	// with the next.
	borrowed, err := s.Borrow(ctx)
	if err != nil {
		return err
	}
	n := borrowed.Value().N + 1 // 1 if nothing was published yet
	if err := borrowed.Release(); err != nil {
		return err
	}
	fmt.Printf("Camera %d is running, from frame %d.\n", os.Getpid(), n)
	ticker := time.NewTicker(period)
	defer ticker.Stop()
	for ; n <= last; n++ {
		if err := shoot(ctx, s, n); err != nil {
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

// shoot takes a picture.
func shoot(ctx context.Context, s *segment.Segment[Frame], n uint64) error {
	// From here to Publish no other process can publish: it should be short. If
	// this process dies in between, it has changed nothing.
	loan, err := s.Loan(ctx)
	if err != nil {
		return err
	}
	defer loan.Discard() // which does nothing after Publish

	frame := loan.Value() // an old picture, or what a killed camera had of one
	frame.N = n
	expose(frame)
	_, err = loan.Publish(len(loan.Bytes()))
	return err
}

// expose stands for a real camera. Its pictures have one colour, another one
// each time.
func expose(frame *Frame) {
	for y := range frame.Pixels {
		row := &frame.Pixels[y]
		for x := range row {
			row[x] = uint32(frame.N)
		}
	}
}

// view looks at the newest picture, and then at each newer one, up to the one
// with the number last, or until ctx is done. It takes some time for each. It
// says once a second how many it has looked at, and how many it has missed.
func view(ctx context.Context, name, who string, last uint64, takes time.Duration) (err error) {
	s, err := segment.Open(name, codec.Fixed[Frame](), options())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()

	who = fmt.Sprintf("%s %d", who, os.Getpid())
	fmt.Println(who, "is running.")
	seen, missed, before, start := 0, uint64(0), uint64(0), time.Now()
	for frame, err := range newest(ctx, s) {
		if err != nil {
			return err
		}
		if err := look(frame, takes); err != nil {
			return err
		}
		if before != 0 && frame.N > before {
			missed += frame.N - before - 1
		}
		seen++
		before = frame.N
		if t := time.Since(start); t >= time.Second || before == last {
			fmt.Printf("%s: frame %d, %.0f frames per second, %d missed\n", who, before, float64(seen)/t.Seconds(), missed)
			seen, missed, start = 0, 0, time.Now()
		}
		if before == last {
			return nil
		}
	}
	return nil
}

// newest is s.Watch in place: the newest picture, and then each newer one. A
// picture is there until the end of the loop's body. It is not to be written
// to.
func newest(ctx context.Context, s *segment.Segment[Frame]) iter.Seq2[*Frame, error] {
	return func(yield func(*Frame, error) bool) {
		for seen := uint64(0); ; {
			if _, err := s.Wait(ctx, seen); err != nil {
				yield(nil, err)
				return
			}
			borrowed, err := s.Borrow(ctx)
			if err != nil {
				yield(nil, err)
				return
			}
			seen = borrowed.Version()
			more := yield(borrowed.Value(), nil)
			if err := borrowed.Release(); more && err != nil {
				yield(nil, err)
				return
			}
			if !more {
				return
			}
		}
	}
}

// look stands for showing the picture. All of it must be of one frame, for as
// long as it takes.
func look(frame *Frame, takes time.Duration) error {
	n := frame.N
	if err := check(frame, n); err != nil || takes == 0 {
		return err
	}
	time.Sleep(takes)
	return check(frame, n)
}

// check returns an error if any of the picture is not of frame n.
func check(frame *Frame, n uint64) error {
	for y := range frame.Pixels {
		row := &frame.Pixels[y]
		for x := range row {
			if row[x] != uint32(n) {
				return fmt.Errorf("pixel %d, %d of frame %d is of frame %d", x, y, n, row[x])
			}
		}
	}
	return nil
}

// demo runs a camera and two viewers until the viewers have seen the last
// picture. It kills a viewer, and later the camera, and starts others.
func demo(ctx context.Context, name string) (err error) {
	// Create, unlike Open, fails with fs.ErrExist if another demo is running.
	s, err := segment.Create(name, codec.Fixed[Frame](), options())
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
	start := func(arg string) (kill func()) {
		ctx, cancel := context.WithCancel(ctx)
		cmd := exec.CommandContext(ctx, exe, arg)
		cmd.Stdout = os.Stdout
		cmd.Stderr = os.Stderr
		ended := make(chan bool)
		children.Go(func() {
			defer close(ended)
			if err := cmd.Run(); err != nil && ctx.Err() == nil {
				end(fmt.Errorf("child process: %w", err))
			}
		})
		return func() {
			cancel()
			<-ended
		}
	}

	start("demo-view")
	killViewer := start("demo-slow")
	killCamera := start("demo-camera")
	if _, err := s.Wait(ctx, demoFrames/3); err == nil {
		killViewer() // while it has a picture borrowed
		fmt.Println("The slow viewer was killed. Another one starts.")
		start("demo-slow")
	}
	if _, err := s.Wait(ctx, demoFrames*2/3); err == nil {
		killCamera()
		fmt.Println("The camera was killed. Another one starts.")
		start("demo-camera")
	}
	children.Wait()
	return context.Cause(ctx)
}

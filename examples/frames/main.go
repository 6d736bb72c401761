// Frames shares the frames of a camera with viewers, without copying them.
//
//	go run ./examples/frames
//
// This starts a camera and two viewers, one of them slow, as separate
// processes. It kills the slow viewer and later the camera, starts others in
// their place, and ends after about three seconds. Each viewer prints how many
// frames it saw and how many it missed. To use it from several terminals,
// start, kill and restart these in any order:
//
//	go install ./examples/frames
//	frames camera    takes 60 frames a second, until Ctrl-C
//	frames view      looks at the newest frame again and again, until Ctrl-C
//	frames slow      the same, but looks at each frame for 100 ms
//
// A frame has 8 MB. Loan lets the camera fill a frame in the shared memory,
// where the viewers find it. Borrow lets a viewer read the frame there, and no
// process overwrites it until the viewer releases it. Neither takes longer for
// a large value than for a small one. A viewer that is slower than the camera
// misses frames, and counts them. The camera does not wait for viewers as long
// as there is a slot that no viewer is looking at. When a process is killed,
// the slots that it had borrowed or was filling become free.
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
  frames           start a camera and two viewers, kill and replace two of them; takes three seconds
  frames camera    take 60 frames a second, until Ctrl-C
  frames view      look at the newest frame again and again, until Ctrl-C
  frames slow      the same, but look at each frame for 100 ms
The frames exist for as long as a camera, view or slow is running.
`

// Frame is a picture as it is laid out in the shared memory. It can have fields
// of any type that codec.Fixed supports, except bool: values that are used in
// place are not checked, and another process could have written a byte that is
// neither 0 nor 1.
type Frame struct {
	N      uint64 // 1, 2, 3 …
	Pixels [1080][1920]uint32
}

const (
	viewers    = 2
	period     = time.Second / 60
	slowness   = 100 * time.Millisecond // long enough for all other slots to be reused
	demoFrames = 150                    // how many frames the demo takes
)

// options sets the number of slots: one for each viewer to look at, one for the
// newest frame, and one for the camera to fill. With more viewers than that,
// the camera sometimes has to wait until a viewer releases its frame.
func options() *segment.Options { return &segment.Options{Slots: viewers + 2} }

func main() {
	// All processes that open this name share the same memory.
	os.Exit(run("sharedseg-frames", os.Args[1:]))
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
	case len(args) == 1 && args[0] == "camera":
		err = camera(ctx, name, math.MaxUint64)
	case len(args) == 1 && args[0] == "view":
		err = view(ctx, name, "Viewer", math.MaxUint64, 0)
	case len(args) == 1 && args[0] == "slow":
		err = view(ctx, name, "Slow viewer", math.MaxUint64, slowness)
	case len(args) == 1 && args[0] == "demo-camera": // started by demo, like the next two
		err = camera(ctx, demoName, demoFrames)
	case len(args) == 1 && args[0] == "demo-view":
		err = view(ctx, demoName, "Viewer", demoFrames, 0)
	case len(args) == 1 && args[0] == "demo-slow":
		err = view(ctx, demoName, "Slow viewer", demoFrames, slowness)
	default:
		fmt.Fprint(os.Stderr, usage)
		return 2
	}
	if err != nil && !errors.Is(err, context.Canceled) { // Canceled means Ctrl-C
		fmt.Fprintln(os.Stderr, "frames:", err)
		return 1
	}
	return 0
}

// camera takes frames up to number last, or until ctx is done.
func camera(ctx context.Context, name string, last uint64) (err error) {
	// Open attaches to the segment if a viewer already has it open, and creates
	// it otherwise.
	s, err := segment.Open(name, codec.Fixed[Frame](), options())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()

	// After a camera was killed, its last frame is still there. This camera
	// continues with the next number.
	borrowed, err := s.Borrow(ctx)
	if err != nil {
		return err
	}
	n := borrowed.Value().N + 1 // 1 if nothing was published yet
	if err := borrowed.Release(); err != nil {
		return err
	}
	fmt.Printf("Camera %d is running. Its first frame is %d.\n", os.Getpid(), n)
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

// shoot takes a frame and publishes it.
func shoot(ctx context.Context, s *segment.Segment[Frame], n uint64) error {
	// From here to Publish, no other process can publish, so this should be
	// short. If this process dies in between, the published frame stays as it
	// was.
	loan, err := s.Loan(ctx)
	if err != nil {
		return err
	}
	defer loan.Discard() // does nothing after Publish

	frame := loan.Value() // holds an old frame, or the part of one that a killed camera wrote
	frame.N = n
	expose(frame)
	_, err = loan.Publish(len(loan.Bytes()))
	return err
}

// expose stands in for a real camera. Each frame has one colour, different from
// the previous frame's.
func expose(frame *Frame) {
	for y := range frame.Pixels {
		row := &frame.Pixels[y]
		for x := range row {
			row[x] = uint32(frame.N)
		}
	}
}

// view looks at the newest frame and then at each newer one, up to number last
// or until ctx is done. It spends the time takes on each. Once a second it
// prints how many frames it saw, and how many it missed.
func view(ctx context.Context, name, role string, last uint64, takes time.Duration) (err error) {
	s, err := segment.Open(name, codec.Fixed[Frame](), options())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()

	viewer := fmt.Sprintf("%s %d", role, os.Getpid())
	fmt.Println(viewer, "is running.")
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
			fmt.Printf("%s: frame %d, %.0f frames per second, %d missed\n", viewer, before, float64(seen)/t.Seconds(), missed)
			seen, missed, start = 0, 0, time.Now()
		}
		if before == last {
			return nil
		}
	}
	return nil
}

// newest is like s.Watch, without the copy: it yields the newest frame, and
// then each newer one. A frame is valid until the end of the loop's body, and
// must not be written to.
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

// look stands in for displaying the frame. All pixels must be of one frame,
// before and after the pause.
func look(frame *Frame, takes time.Duration) error {
	n := frame.N
	if err := check(frame, n); err != nil || takes == 0 {
		return err
	}
	time.Sleep(takes)
	return check(frame, n)
}

// check returns an error if any pixel is not of frame n.
func check(frame *Frame, n uint64) error {
	for y := range frame.Pixels {
		row := &frame.Pixels[y]
		for x := range row {
			if row[x] != uint32(n) {
				return fmt.Errorf("pixel (%d, %d) of frame %d belongs to frame %d", x, y, n, row[x])
			}
		}
	}
	return nil
}

// demo runs a camera and two viewers until the viewers have seen the last
// frame. On the way it kills and replaces a viewer, and later the camera.
func demo(ctx context.Context, name string) (err error) {
	// Unlike Open, Create fails with fs.ErrExist if another demo is running.
	s, err := segment.Create(name, codec.Fixed[Frame](), options())
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
		killViewer() // while it has borrowed a frame
		fmt.Println("Killed the slow viewer. Starting another one.")
		start("demo-slow")
	}
	if _, err := s.Wait(ctx, demoFrames*2/3); err == nil {
		killCamera()
		fmt.Println("Killed the camera. Starting another one.")
		start("demo-camera")
	}
	children.Wait()
	return context.Cause(ctx)
}

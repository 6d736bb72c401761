// Config shares the settings of a program between its processes, each of which
// may change them.
//
//	go run ./examples/config
//
// starts four processes that change the settings at the same time, 250 times
// each, and shows that no change gets lost. To play with it in two terminals:
//
//	config set KEY VALUE    changes a setting: loglevel or maxconns
//	config get              prints the settings
//	config watch            prints the settings, and again after each change, until Ctrl-C
//	config remove           removes them
//
// Options.Persist keeps the settings when no process has them open, until
// remove or, in shared memory, the computer's restart. A watch that is running
// during a remove goes on with the removed settings, and does not see the next
// ones; on Windows, remove fails while one is running.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"os/signal"
	"reflect"
	"runtime"
	"strconv"
	"strings"
	"syscall"

	"github.com/sharedseg/sharedseg"
	"github.com/sharedseg/sharedseg/codec"
	"github.com/sharedseg/sharedseg/segment"
)

const usage = `usage:
  config                  let several processes change settings at the same time
  config set KEY VALUE    change a setting: loglevel or maxconns
  config get              print the settings
  config watch            print the settings, and again after each change, until Ctrl-C
  config remove           remove the settings; restart a watch that is running
The settings stay until you remove them, or restart the computer.
`

// Config is what the processes share. It may be anything that encoding/json can
// handle; 4096 bytes of JSON is the most, unless Options.Capacity says
// otherwise.
//
// Programs of different versions can share it. encoding/json drops fields that
// a type does not have, so an Update by an older program would remove what only
// a newer one knows. Config keeps those fields, by methods of its own. Fields
// within fields would need the same.
type Config struct {
	Revision int    `json:"revision"` // counts the changes
	LogLevel string `json:"loglevel,omitempty"`
	MaxConns int    `json:"maxconns,omitempty"`

	others map[string]json.RawMessage // fields that this version does not know
}

// plain is a Config that encoding/json treats as any struct.
type plain Config

// UnmarshalJSON decodes the fields that there are, and then, as a map, the
// others.
func (c *Config) UnmarshalJSON(doc []byte) error {
	if err := json.Unmarshal(doc, (*plain)(c)); err != nil {
		return err
	}
	if err := json.Unmarshal(doc, &c.others); err != nil {
		return err
	}
	maps.DeleteFunc(c.others, func(name string, _ json.RawMessage) bool { return known(name) })
	return nil
}

// known reports whether a Config has the field of that name, which may be in
// other letters, as for encoding/json.
func known(name string) bool {
	for field := range reflect.TypeFor[Config]().Fields() {
		own, _, _ := strings.Cut(field.Tag.Get("json"), ",") // each exported field has one
		if field.IsExported() && strings.EqualFold(name, own) {
			return true
		}
	}
	return false
}

// MarshalJSON encodes the fields, and then the others.
func (c Config) MarshalJSON() ([]byte, error) {
	doc, err := json.Marshal(plain(c))
	if err != nil || len(c.others) == 0 {
		return doc, err
	}
	others, err := json.Marshal(c.others)
	if err != nil {
		return nil, err
	}
	doc[len(doc)-1] = ',' // in place of its brace, as revision is always there
	return append(doc, others[1:]...), nil
}

const (
	demoProcesses = 4
	demoUpdates   = 250 // of each process
)

func main() {
	// All processes that open this name share the same memory.
	os.Exit(run("sharedseg-config", os.Args[1:]))
}

// run does what the command line says, with the segment of that name, and
// returns the exit code.
func run(name string, args []string) int {
	// Ctrl-C ends ctx, and not the process, so that everything that is open
	// gets closed.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()

	// The demo has a segment of its own, so that it does not touch the
	// settings.
	demoName := name + "-demo"
	var err error
	switch {
	case len(args) == 0:
		err = demo(ctx, demoName)
	case len(args) == 1 && args[0] == "child": // demo starts it
		err = child(ctx, demoName)
	case len(args) == 3 && args[0] == "set":
		err = set(ctx, name, args[1], args[2])
	case len(args) == 1 && args[0] == "get":
		err = get(name)
	case len(args) == 1 && args[0] == "watch":
		err = watch(ctx, name)
	case len(args) == 1 && args[0] == "remove":
		err = sharedseg.Remove(name, options().Place())
	default:
		fmt.Fprint(os.Stderr, usage)
		return 2
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "config:", err)
		return 1
	}
	return 0
}

// options say that the settings stay when nobody has them open, and where they
// are.
func options() *segment.Options {
	o := &segment.Options{Persist: true}
	if runtime.GOOS == "windows" {
		o.Dir = os.TempDir() // its shared memory goes with the last handle; a file does not
	}
	return o
}

// open opens the settings for reading and writing, and creates them if there
// are none: a zero Config.
func open(name string) (*segment.Segment[Config], error) {
	return segment.Open(name, codec.JSON[Config](), options())
}

// set changes one setting.
func set(ctx context.Context, name, key, value string) (err error) {
	change, err := parse(key, value)
	if err != nil {
		return err
	}
	s, err := open(name)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()

	// Update is one step for all other processes: nobody can change the
	// settings between its reading and its writing, as somebody could between a
	// Load and a Store.
	return s.UpdateContext(ctx, func(c *Config) error {
		change(c)
		c.Revision++
		return nil // an error would leave the settings as they are
	})
}

// parse returns the function that makes a change to a Config.
func parse(key, value string) (change func(c *Config), err error) {
	switch key {
	case "loglevel":
		return func(c *Config) { c.LogLevel = value }, nil
	case "maxconns":
		n, err := strconv.Atoi(value)
		if err != nil {
			return nil, fmt.Errorf("maxconns must be a number: %w", err)
		}
		return func(c *Config) { c.MaxConns = n }, nil
	}
	return nil, fmt.Errorf("there is no setting %q, only loglevel and maxconns", key)
}

// get prints the settings.
func get(name string) (err error) {
	// A Reader cannot write, and OpenReader does not create the segment.
	r, err := segment.OpenReader(name, codec.JSON[Config](), options())
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("there are no settings; make some with config set KEY VALUE (%w)", err)
	}
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.Close()) }()

	c, err := r.Load()
	if err != nil {
		return err
	}
	return show(c)
}

// watch prints the settings, and again after each change, until ctx is done.
func watch(ctx context.Context, name string) (err error) {
	// open rather than OpenReader, so that watch may be started before the
	// first set.
	s, err := open(name)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()

	fmt.Println("Watching. Press Ctrl-C to end.")
	for c, err := range s.Watch(ctx) {
		if errors.Is(err, context.Canceled) {
			return nil // Ctrl-C
		}
		if err != nil {
			return err
		}
		if err := show(c); err != nil {
			return err
		}
	}
	return nil
}

func show(c Config) error {
	return json.NewEncoder(os.Stdout).Encode(c)
}

// demo lets several processes update the same value, and prints what came of
// it.
func demo(ctx context.Context, name string) (err error) {
	// Without Persist the segment goes when the last process closes it. Create,
	// unlike Open, fails with fs.ErrExist if another demo is running.
	s, err := segment.Create(name, codec.JSON[Config](), nil)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()

	exe, err := os.Executable()
	if err != nil {
		return err
	}
	var children []*exec.Cmd
	for range demoProcesses {
		cmd := exec.CommandContext(ctx, exe, "child")
		cmd.Stderr = os.Stderr
		if err = cmd.Start(); err != nil {
			break
		}
		children = append(children, cmd)
	}
	for _, cmd := range children {
		err = errors.Join(err, cmd.Wait())
	}
	if err != nil {
		return fmt.Errorf("child process: %w", err)
	}

	c, err := s.Load()
	if err != nil {
		return err
	}
	fmt.Printf("%d processes made %d updates each, together %d.\n", demoProcesses, demoUpdates, c.Revision)
	if want := demoProcesses * demoUpdates; c.Revision != want {
		return fmt.Errorf("%d updates got lost", want-c.Revision)
	}
	return nil
}

// child is what each of the demo's processes does.
func child(ctx context.Context, name string) (err error) {
	// Attach, unlike Open, fails with fs.ErrNotExist if nobody created the
	// segment.
	s, err := segment.Attach(name, codec.JSON[Config](), nil)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()

	for range demoUpdates {
		err := s.UpdateContext(ctx, func(c *Config) error {
			c.Revision++
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

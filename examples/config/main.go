// Config shares settings between processes, any of which can change them.
//
//	go run ./examples/config
//
// This starts four processes that change the settings 250 times each, all at
// the same time, and shows that no change is lost. To use the settings from
// several terminals:
//
//	go install ./examples/config
//	config set KEY VALUE    changes a setting: loglevel or maxconns
//	config get              prints the settings
//	config watch            prints the settings, and again after each change, until Ctrl-C
//	config remove           removes the settings
//
// Options.Persist keeps the settings while no process has them open. They stay
// until they are removed or, in shared memory, until the computer restarts. A
// watch that is running when the settings are removed stays with the removed
// ones and does not see new ones. On Windows, remove fails while a watch is
// running.
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
  config remove           remove the settings; a running watch must be restarted
The settings stay until you remove them or restart the computer.
`

// Config is the value that the processes share. It can be any type that
// encoding/json supports. Its JSON can have up to 4096 bytes, unless
// Options.Capacity sets another limit.
//
// Different versions of a program can share it. encoding/json drops fields that
// the type does not have, so an Update by an older program would remove the
// fields that only a newer one knows. Config has its own methods to keep such
// fields. They keep unknown fields at the top level only: a nested struct would
// need the same methods.
type Config struct {
	Revision int    `json:"revision"` // counts the changes
	LogLevel string `json:"loglevel,omitempty"`
	MaxConns int    `json:"maxconns,omitempty"`

	others map[string]json.RawMessage // fields unknown to this version
}

// plain is a Config without its methods, which encoding/json treats as any
// struct.
type plain Config

// UnmarshalJSON decodes the known fields, and keeps the others in a map.
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

// known reports whether Config has a field with that name. As in encoding/json,
// case does not matter.
func known(name string) bool {
	for field := range reflect.TypeFor[Config]().Fields() {
		own, _, _ := strings.Cut(field.Tag.Get("json"), ",") // each exported field has a tag
		if field.IsExported() && strings.EqualFold(name, own) {
			return true
		}
	}
	return false
}

// MarshalJSON encodes the known fields, followed by the others.
func (c Config) MarshalJSON() ([]byte, error) {
	doc, err := json.Marshal(plain(c))
	if err != nil || len(c.others) == 0 {
		return doc, err
	}
	others, err := json.Marshal(c.others)
	if err != nil {
		return nil, err
	}
	doc[len(doc)-1] = ',' // replaces the closing brace; revision is always before it
	return append(doc, others[1:]...), nil
}

const (
	demoProcesses = 4
	demoUpdates   = 250 // by each process
)

func main() {
	// All processes that open this name share the same memory.
	os.Exit(run("sharedseg-config", os.Args[1:]))
}

// run executes the command line, using the segment with that name, and returns
// the exit code.
func run(name string, args []string) int {
	// Ctrl-C cancels ctx instead of ending the process, so everything that is
	// open gets closed.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()

	// The demo uses its own segment, so it does not touch the settings.
	demoName := name + "-demo"
	var err error
	switch {
	case len(args) == 0:
		err = demo(ctx, demoName)
	case len(args) == 1 && args[0] == "child": // started by demo
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

// options returns options that keep the settings while no process has them
// open.
func options() *segment.Options {
	o := &segment.Options{Persist: true}
	if runtime.GOOS == "windows" {
		o.Dir = os.TempDir() // shared memory ends with its last handle there; a file does not
	}
	return o
}

// open opens the settings for reading and writing. If there are none, it
// creates them: a zero Config.
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

	// For all other processes an Update is one step: no process can change the
	// settings between its read and its write. Between a Load and a Store one
	// could.
	return s.UpdateContext(ctx, func(c *Config) error {
		change(c)
		c.Revision++
		return nil // an error would leave the settings unchanged
	})
}

// parse returns a function that applies the change to a Config.
func parse(key, value string) (change func(c *Config), err error) {
	switch key {
	case "loglevel":
		return func(c *Config) { c.LogLevel = value }, nil
	case "maxconns":
		n, err := strconv.Atoi(value)
		if err != nil {
			return nil, fmt.Errorf("maxconns must be a number, not %q", value)
		}
		return func(c *Config) { c.MaxConns = n }, nil
	}
	return nil, fmt.Errorf("unknown setting %q: the settings are loglevel and maxconns", key)
}

// get prints the settings.
func get(name string) (err error) {
	// A Reader cannot write, and OpenReader does not create the segment.
	r, err := segment.OpenReader(name, codec.JSON[Config](), options())
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("no settings yet: create them with config set KEY VALUE (%w)", err)
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
	// open instead of OpenReader, so that watch can be started before the first
	// set.
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

// demo has several processes update the same value, and prints the result.
func demo(ctx context.Context, name string) (err error) {
	// Without Persist the segment is removed when the last process closes it.
	// Unlike Open, Create fails with fs.ErrExist if another demo is running.
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
	if want := demoProcesses * demoUpdates; c.Revision != want {
		return fmt.Errorf("%d updates were lost", want-c.Revision)
	}
	fmt.Printf("%d processes made %d updates each. All %d were counted.\n", demoProcesses, demoUpdates, c.Revision)
	return nil
}

// child runs in each of the demo's processes.
func child(ctx context.Context, name string) (err error) {
	// Unlike Open, Attach fails with fs.ErrNotExist if the segment does not
	// exist.
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

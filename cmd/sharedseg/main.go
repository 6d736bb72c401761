// Sharedseg shows shared memory from outside: which names exist, what they
// hold, which processes have them open, and which process holds a lock.
//
//	go run github.com/sharedseg/sharedseg/cmd/sharedseg ls
//
// It does not need the Go types of the values that it shows. Only get, watch
// and set attach to the memory. The other commands do not affect the processes
// that use it. The exit code is 0 on success, 1 on failure, 2 for wrong
// arguments, and 3 if a name does not exist.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/signal"
	"strings"
	"time"

	"github.com/sharedseg/sharedseg"
	"github.com/sharedseg/sharedseg/segment"
)

// The exit codes.
const (
	exitFailed = 1
	exitUsage  = 2
	exitAbsent = 3
)

// command is a command, which the first argument selects.
type command struct {
	name  string
	args  string // for the usage text
	short string
	min   int // number of arguments; max is -1 for any number
	max   int
	// verbatim means that no argument after the first is a flag, whatever it
	// begins with.
	verbatim bool
	flags    func(c *call, f *flag.FlagSet)
	run      func(c *call) error
}

// call is one invocation of a command.
type call struct {
	ctx  context.Context
	out  *output
	args []string
	json bool
	dir  string
	glob bool

	long, quiet, raw, dry bool
	count                 int
	interval              time.Duration
	sort                  string
}

// commands is a function, and not a variable, because the completion command
// also uses it.
func commands() []*command {
	return []*command{
		{name: "ls", args: "[-l] [-q]", short: "list all names", flags: lsFlags, run: runLs},
		{name: "stat", args: "NAME…", short: "show all details of names", min: 1, max: -1, run: runStat},
		{name: "get", args: "[-raw] NAME [FIELD…]", short: "show the value of a segment, or some of its fields", min: 1, max: -1, flags: getFlags, run: runGet},
		{name: "watch", args: "[-n COUNT] NAME…", short: "show values and states as they change, until Ctrl-C", min: 1, max: -1, flags: watchFlags, run: runWatch},
		{name: "set", args: "NAME VALUE | NAME FIELD=VALUE…", short: "store a value, or change some of its fields", min: 2, max: -1, verbatim: true, run: runSet},
		{name: "hz", args: "[-n COUNT] [-i INTERVAL] NAME", short: "show how often a value changes, until Ctrl-C", min: 1, max: 1, flags: hzFlags, run: runHz},
		{name: "top", args: "[-n COUNT] [-i INTERVAL] [-s KEY]", short: "show all names and how they change, until q", flags: topFlags, run: runTop},
		{name: "rm", args: "NAME…", short: "remove names; processes that have them open keep the memory", min: 1, max: -1, run: runRm},
		{name: "sweep", args: "[-n]", short: "remove the names that killed processes left behind", flags: sweepFlags, run: runSweep},
		{name: "completion", args: "bash|zsh|fish", short: "write a script that completes commands and names", min: 1, max: 1, run: runCompletion},
	}
}

func main() {
	// Ctrl-C cancels ctx instead of ending the process, so that the terminal is
	// restored.
	ctx, stop := signal.NotifyContext(context.Background(), ending...)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// run executes the arguments, and returns the exit code.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	if len(args) == 0 {
		fmt.Fprint(stderr, usage())
		return exitUsage
	}
	if name := strings.TrimLeft(args[0], "-"); name == "h" || name == "help" {
		fmt.Fprint(stdout, usage())
		return 0
	}
	for _, cmd := range commands() {
		if cmd.name != args[0] {
			continue
		}
		c := &call{ctx: ctx, out: newOutput(stdout)}
		err := cmd.parse(c, args[1:])
		if errors.Is(err, flag.ErrHelp) {
			fmt.Fprint(stdout, cmd.usage())
			return 0
		}
		if err == nil {
			err = errors.Join(cmd.run(c), c.out.flush())
		}
		return report(stderr, err, "sharedseg "+cmd.name+" -h")
	}
	return report(stderr, usageError(fmt.Sprintf("unknown command %q", args[0])), "sharedseg -h")
}

// A usageError reports wrong arguments.
type usageError string

func (e usageError) Error() string { return string(e) }

// report writes an error and returns its exit code. help is the command that
// shows the usage.
func report(w io.Writer, err error, help string) int {
	if err == nil {
		return 0
	}
	text := err.Error()
	if !strings.HasPrefix(text, "sharedseg: ") {
		text = "sharedseg: " + text
	}
	for line := range strings.Lines(text) {
		fmt.Fprintln(w, safe(strings.TrimSuffix(line, "\n")))
	}
	if _, ok := errors.AsType[usageError](err); ok {
		fmt.Fprintln(w, "sharedseg: see", help)
		return exitUsage
	}
	if absent(err) {
		return exitAbsent
	}
	return exitFailed
}

// absent reports whether err says that a name does not exist. If several errors
// are joined, each of them must say that.
func absent(err error) bool {
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		for _, e := range joined.Unwrap() {
			if !absent(e) {
				return false
			}
		}
		return true
	}
	e, ok := errors.AsType[*sharedseg.Error](err)
	// The errors of list and sweep are about the directory.
	return ok && e.Op != "list" && e.Op != "sweep" && errors.Is(err, fs.ErrNotExist)
}

func (cmd *command) flagSet(c *call) *flag.FlagSet {
	f := flag.NewFlagSet(cmd.name, flag.ContinueOnError)
	f.SetOutput(io.Discard)
	f.BoolVar(&c.json, "json", false, "write one JSON object per line")
	f.StringVar(&c.dir, "dir", "", "use the names in the directory `DIR` (default: the platform's shared memory)")
	f.BoolVar(&c.glob, "global", false, `on Windows, use the names of all sessions, Global\`)
	if cmd.flags != nil {
		cmd.flags(c, f)
	}
	return f
}

// parse accepts flags before and after the other arguments. Nothing after "--"
// is a flag.
func (cmd *command) parse(c *call, args []string) error {
	f := cmd.flagSet(c)
	for len(args) > 0 {
		if err := f.Parse(args); errors.Is(err, flag.ErrHelp) {
			return err
		} else if err != nil {
			return usageError(cmd.name + ": " + err.Error())
		}
		rest := f.Args()
		if ended := len(rest) < len(args) && args[len(args)-len(rest)-1] == "--"; ended || len(rest) > 0 && cmd.verbatim {
			c.args = append(c.args, rest...)
			break
		}
		if args = rest; len(args) > 0 {
			c.args, args = append(c.args, args[0]), args[1:]
		}
	}
	switch n := len(c.args); {
	case n < cmd.min:
		return usageError(cmd.name + ": missing argument")
	case cmd.max >= 0 && n > cmd.max:
		return usageError(fmt.Sprintf("%s: unexpected argument %q", cmd.name, c.args[cmd.max]))
	}
	return nil
}

func (cmd *command) usage() string {
	var b strings.Builder
	fmt.Fprintf(&b, "usage: sharedseg %s %s\n\n%s.\n\nflags:\n", cmd.name, cmd.args, strings.ToUpper(cmd.short[:1])+cmd.short[1:])
	f := cmd.flagSet(new(call))
	f.SetOutput(&b)
	f.PrintDefaults()
	return b.String()
}

func usage() string {
	var b strings.Builder
	b.WriteString("Sharedseg shows what is in shared memory.\n\nusage:\n")
	var rows [][]string
	for _, cmd := range commands() {
		rows = append(rows, []string{"  sharedseg " + cmd.name + " " + cmd.args, cmd.short})
	}
	o := newOutput(&b)
	o.table(rows)
	o.flush()
	b.WriteString(`
All commands accept -json, which writes one JSON object per line, and -dir DIR.
To see the flags of a command, add -h. On a terminal, lines are cut at its
width. The exit code is 1 on failure, 2 for wrong arguments, and 3 if a name does
not exist.
`)
	return b.String()
}

// place returns the place of the names. Its mode includes files of other users
// that this user is permitted to read.
func (c *call) place() *sharedseg.Place {
	return &sharedseg.Place{Dir: c.dir, Mode: 0o666, Global: c.glob}
}

// options returns the options for attaching to a segment.
func (c *call) options(info *sharedseg.Info) *segment.Options {
	o := &segment.Options{Dir: c.dir, Global: c.glob}
	if info.Mode&0o066 != 0 {
		o.Mode = info.Mode
	}
	return o
}

// each calls do for each name, and joins the errors.
func each(names []string, do func(name string) error) error {
	var errs []error
	for _, name := range names {
		errs = append(errs, do(name))
	}
	return errors.Join(errs...)
}

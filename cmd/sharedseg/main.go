// Sharedseg looks at shared memory from outside: which names there are, what
// they hold, who has them open, which lock is held and by whom.
//
//	go run github.com/sharedseg/sharedseg/cmd/sharedseg ls
//
// Except for get, watch and set, it attaches to nothing, and nobody notices it.
// It does not need the Go types of what it shows. Its exit codes are 0, 1 if it
// failed, 2 for wrong arguments, and 3 if there is no such name.
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

// command is what the first argument chooses.
type command struct {
	name  string
	args  string // as the usage shows them
	short string
	min   int // of arguments; max is -1 for any number
	max   int
	// verbatim says that arguments after the first are not flags, whatever they
	// begin with.
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

// commands is a function, as completion uses it, too.
func commands() []*command {
	return []*command{
		{name: "ls", args: "[-l] [-q]", short: "list all names", flags: lsFlags, run: runLs},
		{name: "stat", args: "NAME…", short: "show all that is known of a name", min: 1, max: -1, run: runStat},
		{name: "get", args: "[-raw] NAME [FIELD…]", short: "show the value of a segment, or fields of it", min: 1, max: -1, flags: getFlags, run: runGet},
		{name: "watch", args: "[-n COUNT] NAME…", short: "show each value that is seen, until Ctrl-C", min: 1, max: -1, flags: watchFlags, run: runWatch},
		{name: "set", args: "NAME VALUE | NAME FIELD=VALUE…", short: "store a value, or change fields of it", min: 2, max: -1, verbatim: true, run: runSet},
		{name: "hz", args: "[-n COUNT] [-i INTERVAL] NAME", short: "show how often a value changes, until Ctrl-C", min: 1, max: 1, flags: hzFlags, run: runHz},
		{name: "top", args: "[-n COUNT] [-i INTERVAL] [-s KEY]", short: "show all names and how they change, until q", flags: topFlags, run: runTop},
		{name: "rm", args: "NAME…", short: "take names away; who has them open goes on", min: 1, max: -1, run: runRm},
		{name: "sweep", args: "[-n]", short: "remove what killed processes have left", flags: sweepFlags, run: runSweep},
		{name: "completion", args: "bash|zsh|fish", short: "write a script that completes commands and names", min: 1, max: 1, run: runCompletion},
	}
}

func main() {
	// Ctrl-C ends ctx, and not the process, so that the terminal is restored.
	ctx, stop := signal.NotifyContext(context.Background(), ending...)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// run does what the arguments say, and returns the exit code.
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
	return report(stderr, usageError(fmt.Sprintf("there is no command %q", args[0])), "sharedseg -h")
}

// usageError is an error in the arguments.
type usageError string

func (e usageError) Error() string { return string(e) }

// report writes an error, and returns the exit code that it means. help is the
// command that shows how it is done.
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

// absent reports whether err, or each of several that are joined, says that
// there is no such name.
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
	return ok && e.Op != "list" && e.Op != "sweep" && errors.Is(err, fs.ErrNotExist) // these name the directory
}

func (cmd *command) flagSet(c *call) *flag.FlagSet {
	f := flag.NewFlagSet(cmd.name, flag.ContinueOnError)
	f.SetOutput(io.Discard)
	f.BoolVar(&c.json, "json", false, "write one JSON object a line")
	f.StringVar(&c.dir, "dir", "", "the names in the directory `DIR` (default: the platform's shared memory)")
	f.BoolVar(&c.glob, "global", false, `on Windows, the names of all sessions, Global\`)
	if cmd.flags != nil {
		cmd.flags(c, f)
	}
	return f
}

// parse takes flags from before and behind the other arguments. What stands
// behind "--" is no flag.
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
		return usageError(cmd.name + ": an argument is missing")
	case cmd.max >= 0 && n > cmd.max:
		return usageError(fmt.Sprintf("%s: there is no use for %q", cmd.name, c.args[cmd.max]))
	}
	return nil
}

func (cmd *command) usage() string {
	var b strings.Builder
	fmt.Fprintf(&b, "usage: sharedseg %s %s\n%s.\n", cmd.name, cmd.args, cmd.short)
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
All of them take -json, which writes one object a line, and -dir DIR. -h behind a command shows its flags. Lines are cut at the
terminal's width, and not cut if the output is no terminal. The exit code is 1 for a failure, 2 for wrong arguments, 3 if there is
no such name.
`)
	return b.String()
}

// place is where the names are. Files of other users are shown as far as their
// modes permit it.
func (c *call) place() *sharedseg.Place {
	return &sharedseg.Place{Dir: c.dir, Mode: 0o666, Global: c.glob}
}

// options are those to attach to a segment with.
func (c *call) options(info *sharedseg.Info) *segment.Options {
	o := &segment.Options{Dir: c.dir, Global: c.glob}
	if info.Mode&0o066 != 0 {
		o.Mode = info.Mode
	}
	return o
}

// each calls do for each of some names, and joins the errors.
func each(names []string, do func(name string) error) error {
	var errs []error
	for _, name := range names {
		errs = append(errs, do(name))
	}
	return errors.Join(errs...)
}

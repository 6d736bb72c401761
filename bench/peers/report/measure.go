package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"time"
)

// plan is how to measure.
type plan struct {
	rounds    int
	pattern   string // as of go test -bench
	benchtime string // likewise
	deaths    int
}

// Takeover is as slow as the processes that it starts and kills, and of
// interest are its rare cases. So it is left out of the rounds, and has one of
// its own.
const (
	takeovers  = "^BenchmarkTakeover$"
	allButThem = "^Benchmark([^T]|T[^a])" // as there is no other one with Ta
)

// The environment says how a process catches faults of mapped memory. So each
// round has a second run with the guard, of what the guard may slow down: calls
// of segment, ipcsync.Mutex and queue, from which the first letters tell all
// others.
const (
	trapVar    = "SHAREDSEG_TRAP"
	trapKey    = "/fault=trap"
	notGuarded = takeovers + "|^Benchmark(First|Readers|FanOut|Follow|Watchers|Watched)$|/" + others
	others     = "^impl=([^siq]|s[^e])"
)

const timeout = "2h" // of go test, which is 10 minutes if it is not told

// The keys of the lines that run writes itself.
const (
	configVersion = "goversion"
	configCPUs    = "numcpu"
	configTime    = "benchtime"
	configDeaths  = "deaths"
)

// run measures, and hands on what is printed, in parts that end with a line.
// Lines of its own tell of the circumstances, in the way of the benchmark
// format.
func (p plan) run(root string, output func([]byte) error) error {
	head := fmt.Sprintf("%s: %s\n%s: %d\n%s: %s\n",
		configVersion, runtime.Version(), configCPUs, runtime.NumCPU(), configTime, p.benchtime)
	if err := output([]byte(head)); err != nil {
		return err
	}
	for i := range p.rounds {
		what := fmt.Sprintf("round %d of %d", i+1, p.rounds)
		if err := p.round(root, what, output); err != nil {
			return err
		}
	}
	if p.deaths == 0 {
		return nil
	}
	if err := output(fmt.Appendf(nil, "%s: %d\n", configDeaths, p.deaths)); err != nil {
		return err
	}
	what := fmt.Sprintf("%d deaths", p.deaths)
	for _, s := range []suite{own(root), peers(root)} {
		s.flags, s.args = []string{"-benchtime", "1x", "-skip", allButThem}, []string{"-deaths", strconv.Itoa(p.deaths)}
		if err := p.test(s, what, output); err != nil {
			return err
		}
	}
	return nil
}

// round runs all but Takeover once, with the trap and, where there is one, with
// the guard.
func (p plan) round(root, what string, output func([]byte) error) error {
	flags := []string{"-benchtime", p.benchtime, "-skip"}
	own, guarded, peers := own(root), own(root), peers(root)
	own.flags, peers.flags = append(flags, takeovers), append(flags, takeovers)
	guarded.name += ", guard"
	guarded.env, guarded.flags = []string{trapVar + "=off"}, append(flags, notGuarded)

	trapped := false
	if err := p.test(own, what, func(b []byte) error {
		trapped = trapped || bytes.Contains(b, []byte(trapKey))
		return output(b)
	}); err != nil {
		return err
	}
	if trapped {
		if err := p.test(guarded, what, output); err != nil {
			return err
		}
	}
	return p.test(peers, what, output)
}

// A suite is the benchmarks of a package, and how to run them.
type suite struct {
	name  string
	path  string   // of the package
	dir   string   // of the module
	env   []string // besides that of this process
	flags []string // of go test
	args  []string // of the package's tests
}

func own(root string) suite {
	return suite{name: benchPackage, path: benchPackage, dir: root, env: []string{trapVar + "="}}
}

func peers(root string) suite {
	return suite{name: peersPackage, path: peersPackage, dir: filepath.Join(root, "bench", "peers")}
}

// test runs a suite.
func (p plan) test(s suite, what string, output func([]byte) error) error {
	fmt.Fprintf(os.Stderr, "%s: %s", what, s.name)
	start := time.Now()
	cmd := exec.Command("go", slices.Concat(
		[]string{"test", "-run", "^$", "-bench", p.pattern, "-timeout", timeout}, s.flags, []string{s.path, "-args"}, s.args)...)
	cmd.Dir = s.dir
	cmd.Env = append(os.Environ(), s.env...)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	fmt.Fprintf(os.Stderr, " %v\n", time.Since(start).Round(time.Second))
	if err != nil {
		os.Stderr.Write(out)
		err = fmt.Errorf("%v: %w", cmd, err)
	}
	return errors.Join(err, output(out))
}

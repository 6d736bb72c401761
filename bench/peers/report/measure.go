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

// plan describes how to measure.
type plan struct {
	rounds    int
	pattern   string // for go test -bench
	benchtime string // for go test -benchtime
	deaths    int
}

// Takeover is as slow as the processes that it starts and kills, and its rare
// cases are of interest. So the rounds leave it out, and it runs separately.
const (
	takeovers       = "^BenchmarkTakeover$"
	exceptTakeovers = "^Benchmark([^T]|T[^a])" // no other name begins with Ta
)

// The environment determines how a process catches faults of mapped memory. So
// each round has a second run, with the guard. It includes only calls that the
// guard can slow down, those of segment, ipcsync.Mutex and queue. Their first
// letters distinguish them from all others.
const (
	trapVar    = "SHAREDSEG_TRAP"
	trapKey    = "/fault=trap"
	notGuarded = takeovers + "|^Benchmark(First|Readers|FanOut|Follow|Watchers|Watched)$|/" + others
	others     = "^impl=([^siq]|s[^e])"
)

const timeout = "2h" // for go test, whose default is 10 minutes

// The keys of the configuration lines that run writes.
const (
	configVersion = "goversion"
	configCPUs    = "numcpu"
	configTime    = "benchtime"
	configDeaths  = "deaths"
)

// run runs the benchmarks and passes their output on, in parts that end with a
// line. It adds lines with the circumstances, in the benchmark format.
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
		s.flags, s.args = []string{"-benchtime", "1x", "-skip", exceptTakeovers}, []string{"-deaths", strconv.Itoa(p.deaths)}
		if err := p.test(s, what, output); err != nil {
			return err
		}
	}
	return nil
}

// round runs all benchmarks except Takeover once with the trap and, if the
// platform has it, once with the guard.
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

// A suite describes the benchmarks of a package and how to run them.
type suite struct {
	name  string
	path  string   // the package
	dir   string   // the directory of the module
	env   []string // added to the environment of this process
	flags []string // for go test
	args  []string // for the package's tests
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

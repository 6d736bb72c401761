package main

import (
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

// Takeover is as slow as the processes that it starts and kills, and of interest are its rare cases. So it is left out
// of the rounds, and has one of its own.
const (
	takeovers  = "^BenchmarkTakeover$"
	allButThem = "^Benchmark([^T]|T[^a])" // as there is no other one with Ta
)

const timeout = "2h" // of go test, which is 10 minutes if it is not told

// The keys of the lines that run writes itself.
const (
	configVersion = "goversion"
	configCPUs    = "numcpu"
	configTime    = "benchtime"
	configDeaths  = "deaths"
)

// run measures, and hands on what is printed, in parts that end with a line. Lines of its own tell of the circumstances,
// in the way of the benchmark format.
func (p plan) run(root string, output func([]byte) error) error {
	head := fmt.Sprintf("%s: %s\n%s: %d\n%s: %s\n",
		configVersion, runtime.Version(), configCPUs, runtime.NumCPU(), configTime, p.benchtime)
	if err := output([]byte(head)); err != nil {
		return err
	}
	for i := range p.rounds {
		what := fmt.Sprintf("round %d of %d", i+1, p.rounds)
		if err := p.both(root, what, output, []string{"-benchtime", p.benchtime, "-skip", takeovers}); err != nil {
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
	return p.both(root, what, output, []string{"-benchtime", "1x", "-skip", allButThem}, "-deaths", strconv.Itoa(p.deaths))
}

// both runs the benchmarks of both packages.
func (p plan) both(root, what string, output func([]byte) error, flags []string, args ...string) error {
	for _, pkg := range []struct{ path, dir string }{
		{benchPackage, root},
		{peersPackage, filepath.Join(root, "bench", "peers")},
	} {
		fmt.Fprintf(os.Stderr, "%s: %s", what, pkg.path)
		start := time.Now()
		cmd := exec.Command("go", slices.Concat(
			[]string{"test", "-run", "^$", "-bench", p.pattern, "-timeout", timeout}, flags, []string{pkg.path, "-args"}, args)...)
		cmd.Dir = pkg.dir
		cmd.Stderr = os.Stderr
		out, err := cmd.Output()
		fmt.Fprintf(os.Stderr, " %v\n", time.Since(start).Round(time.Second))
		if err != nil {
			os.Stderr.Write(out)
			err = fmt.Errorf("%v: %w", cmd, err)
		}
		if err := errors.Join(err, output(out)); err != nil {
			return err
		}
	}
	return nil
}

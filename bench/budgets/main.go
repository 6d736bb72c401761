// Command budgets runs the benchmarks and prints the tables of docs/benchmarks.md: what was promised and what is
// measured, and the medians of everything.
//
//	go run ./bench/budgets >tables.md
//
// It runs all benchmarks in turn, several times over, rather than each several times in a row, and compares what
// was measured in the same round: on a machine with other work to do, speeds are comparable for a short time only.
package main

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"runtime"
)

const benchPackage = "github.com/sharedseg/sharedseg/bench"

func main() {
	rounds := flag.Int("count", 5, "run each benchmark `n` times")
	pattern := flag.String("bench", ".", "run only benchmarks matching `regexp`")
	benchtime := flag.String("benchtime", "300ms", "run each benchmark for duration `d`, each time")
	flag.Parse()
	if err := run(*rounds, *pattern, *benchtime); err != nil {
		fmt.Fprintln(os.Stderr, "budgets:", err)
		os.Exit(1)
	}
}

func run(rounds int, pattern, benchtime string) error {
	r := newResults()
	for i := range rounds {
		fmt.Fprintf(os.Stderr, "round %d of %d\n", i+1, rounds)
		cmd := exec.Command("go", "test", "-run", "^$", "-bench", pattern, "-benchtime", benchtime, benchPackage)
		cmd.Stderr = os.Stderr
		out, err := cmd.Output()
		if err != nil {
			os.Stderr.Write(out)
			return fmt.Errorf("%v: %w", cmd, err)
		}
		if err := r.parse(bytes.NewReader(out)); err != nil {
			return err
		}
	}
	fmt.Printf("%s, %s/%s, %d processors (%s). Medians of %d runs of %s each.\n\n",
		runtime.Version(), runtime.GOOS, runtime.GOARCH, runtime.NumCPU(), r.cpu, rounds, benchtime)
	writeBudgets(os.Stdout, r)
	fmt.Println()
	writeMedians(os.Stdout, r)
	return nil
}

// Command report runs the benchmarks of package bench and of the module that it
// belongs to. It writes their results to docs/benchmarks.md, as tables between
// markers, and as charts to docs/charts.
//
//	go -C bench/peers run ./report
//	go -C bench/peers run ./report -save /tmp/bench.txt     # also save the output of the benchmarks
//	go -C bench/peers run ./report -from /tmp/bench.txt     # write it again, without measuring
//
// It runs all benchmarks in turn, in several rounds, and compares measurements
// of the same round. It does not run one benchmark several times in succession,
// because on a machine with other work to do, speeds are comparable only for a
// short time. Benchmarks that -bench leaves out are missing from the tables,
// and their charts are not changed.
package main

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

const (
	rootModule   = "github.com/sharedseg/sharedseg"
	benchPackage = rootModule + "/bench"
	peersPackage = benchPackage + "/peers"
)

func main() {
	var p plan
	flag.IntVar(&p.rounds, "count", 5, "run each benchmark `n` times; an interval needs at least 5")
	flag.StringVar(&p.pattern, "bench", ".", "run only benchmarks matching `regexp`")
	flag.StringVar(&p.benchtime, "benchtime", "300ms", "run each benchmark for duration `d` in each round")
	flag.IntVar(&p.deaths, "deaths", 1000, "kill `n` owners of each lock, once, after the rounds; 0 for none")
	save := flag.String("save", "", "save the output of the benchmarks in `file`")
	from := flag.String("from", "", "run no benchmarks, but read their output from `file`, and from the files in the arguments")
	docs := flag.String("docs", "", "the `directory` of benchmarks.md (default: docs in the repository)")
	flag.Parse()

	files := flag.Args()
	if *from != "" {
		files = append([]string{*from}, files...)
	} else if len(files) > 0 {
		flag.Usage()
		os.Exit(2)
	}
	if err := run(p, files, *save, *docs); err != nil {
		fmt.Fprintln(os.Stderr, "report:", err)
		os.Exit(1)
	}
}

func run(p plan, from []string, save, docs string) error {
	root, err := repository()
	if err != nil {
		return err
	}
	if docs == "" {
		docs = filepath.Join(root, "docs")
	}
	document := filepath.Join(docs, "benchmarks.md")
	if err := checkMarkers(document); err != nil {
		return err // before the benchmarks, which take long
	}
	var r *results
	if len(from) > 0 {
		r, err = read(from)
	} else {
		r, err = measureAll(p, root, save)
	}
	if err != nil {
		return err
	}
	if len(r.names) == 0 {
		return errors.New("no results")
	}
	return errors.Join(updateDocument(document, r), writeCharts(filepath.Join(docs, "charts"), r))
}

// repository returns the directory of the module that is measured.
func repository() (string, error) {
	cmd := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", rootModule)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("%v: %w", cmd, err)
	}
	return strings.TrimSpace(string(out)), nil
}

// measureAll executes the plan p, and writes the output to the file save,
// unless that is "".
func measureAll(p plan, root, save string) (r *results, err error) {
	var saved io.Writer = io.Discard
	if save != "" {
		f, failed := os.Create(save)
		if failed != nil {
			return nil, failed
		}
		defer func() { err = errors.Join(err, f.Close()) }()
		saved = f
	}
	var all bytes.Buffer
	err = p.run(root, func(output []byte) error {
		all.Write(output)
		if _, err := saved.Write(output); err != nil {
			return err
		}
		// Parse the whole output, as a configuration line applies to all lines
		// after it.
		r = newResults()
		return r.parse(bytes.NewReader(all.Bytes()), "go test")
	})
	return r, err
}

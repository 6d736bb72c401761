// Command report runs the benchmarks, those of package bench and those of the
// module that this is in, and writes what docs/benchmarks.md has of them: the
// tables, between its markers, and the charts in docs/charts.
//
//	go -C bench/peers run ./report
//	go -C bench/peers run ./report -save /tmp/bench.txt     # and keep what the benchmarks print
//	go -C bench/peers run ./report -from /tmp/bench.txt     # write it again, without measuring
//
// It runs all benchmarks in turn, several times over, rather than each several
// times in a row, and compares what was measured in the same round: on a
// machine with other work to do, speeds are comparable for a short time only.
// Benchmarks that are left out by -bench are missing from the tables, and leave
// their charts as they were.
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
	flag.IntVar(&p.rounds, "count", 5, "run each benchmark `n` times; fewer than 5 are too few for an interval")
	flag.StringVar(&p.pattern, "bench", ".", "run only benchmarks matching `regexp`")
	flag.StringVar(&p.benchtime, "benchtime", "300ms", "run each benchmark for duration `d`, each time")
	flag.IntVar(&p.deaths, "deaths", 1000, "let `n` owners of each lock die, once, after the rounds; 0 for none")
	save := flag.String("save", "", "write what the benchmarks print to `file`")
	from := flag.String("from", "", "run nothing, but read what they printed from `file`, and from those in the arguments")
	docs := flag.String("docs", "", "the `directory` of benchmarks.md (default docs of the repository)")
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
		return err // now, and not after all that measuring
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
		return errors.New("there are no results")
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

// measureAll does what p says, and writes what is printed to the file save, if
// that has a name.
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
		r = newResults() // of all, as lines of configuration hold for what comes after them
		return r.parse(bytes.NewReader(all.Bytes()), "go test")
	})
	return r, err
}

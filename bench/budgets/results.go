package main

import (
	"bufio"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
)

// results are measurements by benchmark, the names of which are without "Benchmark" and the number of processors.
type results struct {
	cpu    string
	names  []string // in the order of the first run
	values map[measure][]float64
}

// measure is one of the figures that a benchmark yields.
type measure struct{ bench, unit string }

func newResults() *results { return &results{values: map[measure][]float64{}} }

// parse adds the output of go test -bench. https://go.dev/design/14313-benchmark-format
func (r *results) parse(in io.Reader) error {
	lines := bufio.NewScanner(in)
	for lines.Scan() {
		if cpu, ok := strings.CutPrefix(lines.Text(), "cpu: "); ok {
			r.cpu = cpu
		}
		fields := strings.Fields(lines.Text())
		if len(fields) < 4 || !strings.HasPrefix(fields[0], "Benchmark") {
			continue
		}
		name := benchName(fields[0])
		if !slices.Contains(r.names, name) {
			r.names = append(r.names, name)
		}
		for pair := range slices.Chunk(fields[2:], 2) {
			v, err := strconv.ParseFloat(pair[0], 64)
			if err != nil || len(pair) != 2 {
				return fmt.Errorf("no benchmark result: %q", lines.Text())
			}
			m := measure{name, pair[1]}
			r.values[m] = append(r.values[m], v)
		}
	}
	return lines.Err()
}

func benchName(s string) string {
	s = strings.TrimPrefix(s, "Benchmark")
	if i := strings.LastIndexByte(s, '-'); i >= 0 {
		if _, err := strconv.Atoi(s[i+1:]); err == nil {
			return s[:i]
		}
	}
	return s
}

// median is NaN if m was not measured.
func (r *results) median(m measure) float64 { return median(r.values[m]) }

// ratio is the median of the ratios of two measures in each run.
func (r *results) ratio(m, base measure) float64 {
	a, b := r.values[m], r.values[base]
	ratios := make([]float64, min(len(a), len(b)))
	for i := range ratios {
		ratios[i] = a[i] / b[i]
	}
	return median(ratios)
}

func median(v []float64) float64 {
	if len(v) == 0 {
		return math.NaN()
	}
	v = slices.Sorted(slices.Values(v))
	mid := len(v) / 2
	if len(v)%2 == 0 {
		return (v[mid-1] + v[mid]) / 2
	}
	return v[mid]
}

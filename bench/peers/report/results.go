package main

import (
	"fmt"
	"io"
	"math"
	"os"
	"slices"
	"strings"

	"golang.org/x/perf/benchfmt"
	"golang.org/x/perf/benchmath"
)

// results are measurements by benchmark. The names of benchmarks are without
// "Benchmark" and the number of processors.
type results struct {
	config map[string]string // the configuration lines, key: value; the last one of each key
	names  []string          // in order of first appearance
	parts  map[string]benchmark
	values map[measure][]float64 // by round: the n-th is from the n-th result with that name
}

// measure is one of the values that a benchmark reports.
type measure struct{ bench, unit string }

// benchmark is a parsed name: its base, and pairs of key and value.
type benchmark struct {
	base string
	keys map[string]string
	pkg  string
}

func newResults() *results {
	return &results{
		config: make(map[string]string),
		parts:  make(map[string]benchmark),
		values: make(map[measure][]float64),
	}
}

// read returns the results in files.
func read(files []string) (*results, error) {
	r := newResults()
	for _, name := range files {
		f, err := os.Open(name)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		if err := r.parse(f, name); err != nil {
			return nil, err
		}
	}
	return r, nil
}

// parse adds the output of go test -bench.
// https://go.dev/design/14313-benchmark-format
func (r *results) parse(in io.Reader, file string) error {
	lines := benchfmt.NewReader(in, file)
	for lines.Scan() {
		switch line := lines.Result().(type) {
		case *benchfmt.SyntaxError:
			return line
		case *benchfmt.Result:
			for _, c := range line.Config {
				r.config[c.Key] = string(c.Value)
			}
			if err := r.addResult(line); err != nil {
				return err
			}
		}
	}
	return lines.Err()
}

func (r *results) addResult(line *benchfmt.Result) error {
	name, parts := parseName(line.Name)
	parts.pkg = line.GetConfig("pkg")
	if known, ok := r.parts[name]; !ok {
		r.names = append(r.names, name)
		r.parts[name] = parts
	} else if known.pkg != parts.pkg {
		return fmt.Errorf("%s is a benchmark of both %s and %s", name, known.pkg, parts.pkg)
	}
	for _, v := range line.Values {
		if v.OrigUnit != "" { // the reader has converted it to seconds or bytes
			v.Value, v.Unit = v.OrigValue, v.OrigUnit
		}
		m := measure{name, v.Unit}
		r.values[m] = append(r.values[m], v.Value)
	}
	return nil
}

// parseName also returns the name without the number of processors. A value can
// contain slashes.
func parseName(full benchfmt.Name) (name string, b benchmark) {
	base, parts := full.Parts()
	name, b = string(base), benchmark{base: string(base), keys: make(map[string]string)}
	last := ""
	for _, part := range parts {
		if part[0] == '-' {
			break
		}
		name += string(part)
		key, value, ok := strings.Cut(string(part[1:]), "=")
		switch {
		case ok:
			b.keys[key] = value
			last = key
		case last != "":
			b.keys[last] += string(part)
		}
	}
	return name, b
}

// median returns the median of m, or NaN if m was not measured.
func (r *results) median(m measure) float64 { return summary(r.values[m]).Center }

// ratios returns the ratios of two measures, by round.
func (r *results) ratios(m, base measure) []float64 {
	a, b := r.values[m], r.values[base]
	ratios := make([]float64, min(len(a), len(b)))
	for i := range ratios {
		ratios[i] = a[i] / b[i]
	}
	return ratios
}

// confidence is the confidence of the intervals. The interval of five rounds is
// from the lowest value to the highest.
const confidence = 0.9

// summary returns the median and an interval for it. The interval is infinite
// if there are too few values, and the median of no values is NaN.
func summary(values []float64) benchmath.Summary {
	if len(values) == 0 {
		return benchmath.Summary{Center: math.NaN()}
	}
	sample := benchmath.NewSample(slices.Clone(values), &benchmath.DefaultThresholds)
	return benchmath.AssumeNothing.Summary(sample, confidence)
}

// spread returns the interval as benchstat writes it, in per cent of the
// median. It is empty if the interval is infinite or has the width zero.
func spread(s benchmath.Summary) string {
	if math.IsInf(s.Lo, 0) || math.IsInf(s.Hi, 0) || s.Lo == s.Hi {
		return ""
	}
	return " ± " + s.PctRangeString()
}

package sharedseg_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"strings"
	"testing"

	"github.com/sharedseg/sharedseg/codec"
	"github.com/sharedseg/sharedseg/internal/proctest"
	"github.com/sharedseg/sharedseg/segment"
)

// readme runs the README's first example.
func readme(ctx context.Context, name string) error {
	// README
	s, err := segment.Open(name, codec.JSON[map[string]float64](), nil) // attach, or create
	if err != nil {
		return err
	}
	defer s.Close()

	err = s.Store(map[string]float64{"tea": 2.5}) // publish a value to all processes
	if err != nil {
		return err
	}
	prices, err := s.Load() // the current value, never torn
	if err != nil {
		return err
	}
	fmt.Println(prices["tea"])

	err = s.Update(func(p *map[string]float64) error { // read, change, write: one step for all processes
		if *p == nil { // nothing was stored yet
			*p = map[string]float64{}
		}
		(*p)["tea"] += 0.1
		return nil
	})
	if err != nil {
		return err
	}

	for prices, err := range s.Watch(ctx) { // the current value, then each newer one
		if err != nil {
			return err
		}
		fmt.Println(prices["tea"])
	}
	// END
	return nil
}

// readmeUpdate runs the README's Update alone.
func readmeUpdate(s *segment.Segment[map[string]float64]) (err error) {
	// README
	err = s.Update(func(p *map[string]float64) error { // read, change, write: one step for all processes
		if *p == nil { // nothing was stored yet
			*p = map[string]float64{}
		}
		(*p)["tea"] += 0.1
		return nil
	})
	if err != nil {
		return err
	}
	// END
	return nil
}

// TestReadme runs the README's first example, and its Update on an empty
// segment. What runs is what the README shows, but for the name.
func TestReadme(t *testing.T) {
	page, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	source, err := os.ReadFile("readme_test.go")
	if err != nil {
		t.Fatal(err)
	}
	_, block, _ := strings.Cut(string(page), "```go\n")
	block, _, _ = strings.Cut(block, "```\n")
	parts := strings.Split(string(source), "\t// README\n")[1:]
	for i, part := range parts {
		part, _, _ = strings.Cut(part, "\t// END\n")
		part = strings.ReplaceAll("\n"+part, "\n\t", "\n")[1:]
		part = strings.Replace(part, "Open(name,", `Open("prices",`, 1)
		if i == 0 && block != part || !strings.Contains(block, part) {
			t.Errorf("the README has\n%s\nwhat runs here is\n%s", block, part)
		}
	}
	if len(parts) != 2 {
		t.Errorf("%d parts run", len(parts))
	}

	name := proctest.Name(t)
	s, err := segment.Open(name, codec.JSON[map[string]float64](), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	tea := func(want float64) {
		t.Helper()
		if prices, err := s.Load(); err != nil || math.Abs(prices["tea"]-want) > 1e-9 {
			t.Errorf("Load = %v, %v; want tea at %v", prices, err, want)
		}
	}
	if err := readmeUpdate(s); err != nil {
		t.Error(err)
	}
	tea(0.1)
	ctx, cancel := context.WithTimeout(t.Context(), proctest.Patience)
	defer cancel()
	ended := make(chan error)
	go func() { ended <- readme(ctx, name) }()
	_, err = s.Wait(ctx, 2)
	cancel()
	if err != nil {
		t.Error(err)
	}
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	tea(2.6)
}

package natsbridge_test

import (
	"testing"

	"github.com/sharedseg/sharedseg/internal/doctest"
)

// TestBlocks builds all Go that the README and the package comment show.
func TestBlocks(t *testing.T) {
	blocks, err := doctest.Page("README.md")
	if err != nil {
		t.Fatal(err)
	}
	comment, err := doctest.PackageComment(".")
	if err != nil {
		t.Fatal(err)
	}
	if len(blocks) == 0 {
		t.Error("the README has no block of Go")
	}
	doctest.Build(t, append(blocks, comment...))
}

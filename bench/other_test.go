//go:build !linux

package bench

import "testing"

// What other platforms leave out.

var (
	fileLocks   = map[string]lockOpener{}
	rawOpenings []opening
	rawReaders  = map[string]readerKind{}
)

func (s *sample[T]) baselines(*testing.B, direction) {}

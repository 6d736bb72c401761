//go:build !linux

package bench

import (
	"testing"

	"github.com/sharedseg/sharedseg/bench/internal/harness"
)

// The mechanisms that other platforms leave out.

var (
	fileLocks   = harness.Locks{}
	rawOpenings []opening
	rawReaders  = map[string]readerKind{}
	rawFollows  = map[string]followKind{}
	rawQueues   = harness.Queues{}
)

func (s *sample[T]) baselines(*testing.B, direction) {}

func rawWords[T words]() map[string]func(name string) (sharedWords[T], error) { return nil }

func usageOf(pid int) usage { return usage{} }

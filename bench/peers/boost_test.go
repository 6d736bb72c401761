//go:build linux && cgo

package peers

import (
	"github.com/sharedseg/sharedseg/bench/internal/harness"
	"github.com/sharedseg/sharedseg/bench/peers/internal/boost"
)

func init() {
	queues["boost"] = harness.NamedQueue(func(name string, size int) (harness.Queue, error) {
		return boost.Open(name, depth, size)
	})
	echoes["boost"] = queues.Echo("boost")
}
